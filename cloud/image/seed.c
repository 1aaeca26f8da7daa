/* SPDX-License-Identifier: Apache-2.0 */
/* The NoCloud seed (cloud-init's documentation, "NoCloud": a disk labelled cidata, ISO 9660 or FAT,
 * with meta-data, user-data and network-config in its root). Text goes into YAML double-quoted with
 * JSON's escapes, which YAML 1.2 takes as they are. */
#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <string.h>
#include "cloud/image/image.h"
#include "vmm/base/cleanup.h"

#define USER_DATA_MAX (512u << 10)
#define SEED_SPARE    (1u << 20) /* what the file system itself may take */

static void archive_write_freep(struct archive **a)
{
	archive_write_free(*a);
}

/* s as a quoted YAML scalar. */
static void put_quoted(FILE *f, const char *s)
{
	json_t *text = json_string(s);
	cleanup_free char *dump = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;

	fputs(dump ? dump : "\"\"", f);
	json_decref(text);
}

static void put_meta_data(FILE *f, const json_t *instance, const json_t *keys)
{
	const json_t *key;
	size_t i;

	fprintf(f, "instance-id: %s\n", json_string_value(json_object_get(instance, "id")));
	fprintf(f, "local-hostname: %s\n", json_string_value(json_object_get(instance, "name")));
	if (json_array_size(keys))
		fputs("public-keys:\n", f);
	json_array_foreach (keys, i, key) {
		const char *text = json_string_value(key);
		size_t n = text ? strcspn(text, "\r\n") : 0;
		cleanup_free char *line = text ? strndup(text, n) : NULL;

		fputs("  - ", f);
		put_quoted(f, line ? line : "");
		fputc('\n', f);
	}
}

/* Network configuration, version 2: the address comes by DHCP. */
static void put_network_config(FILE *f, const json_t *instance)
{
	const char *mac = json_string_value(json_object_get(instance, "mac"));

	fputs("version: 2\n", f);
	if (!mac)
		return;
	fputs("ethernets:\n  eth0:\n    match:\n      macaddress: ", f);
	put_quoted(f, mac);
	fputs("\n    dhcp4: true\n", f);
}

static int add_file(struct archive *a, const char *name, const char *text, size_t len)
{
	struct archive_entry *entry = archive_entry_new();
	int r;

	if (!entry)
		return -ENOMEM;
	archive_entry_set_pathname(entry, name);
	archive_entry_set_size(entry, len);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0400);
	archive_entry_set_mtime(entry, 0, 0);
	r = archive_write_header(a, entry) == ARCHIVE_OK &&
			    archive_write_data(a, text, len) == (la_ssize_t)len
		    ? 0
		    : -EIO;
	archive_entry_free(entry);
	return r;
}

static int write_iso(struct archive *a, const char *const texts[3], const size_t lens[3], void *buf,
	size_t cap, size_t *ret_len)
{
	static const char *const names[3] = {"meta-data", "user-data", "network-config"};

	/* Rock Ridge keeps the names as they are. */
	if (archive_write_set_format_iso9660(a) != ARCHIVE_OK ||
		archive_write_set_options(a, "volume-id=cidata,!pad,!joliet") != ARCHIVE_OK ||
		archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
		archive_write_open_memory(a, buf, cap, ret_len) != ARCHIVE_OK)
		return -EIO;
	for (unsigned i = 0; i < 3; i++) {
		int r = add_file(a, names[i], texts[i], lens[i]);

		if (r < 0)
			return r;
	}
	return archive_write_close(a) == ARCHIVE_OK ? 0 : -EIO;
}

static void put_file(FILE *f, unsigned which, const json_t *instance, const json_t *keys)
{
	const json_t *user = json_object_get(instance, "user_data");

	if (which == 0)
		put_meta_data(f, instance, keys);
	else if (which == 2)
		put_network_config(f, instance);
	else if (json_is_string(user) && json_string_length(user))
		fwrite(json_string_value(user), 1, json_string_length(user), f);
	else
		fputs("#cloud-config\n", f);
}

int seed_make(
	const json_t *instance, const json_t *keys, void **ret, size_t *ret_len, struct err *e)
{
	CLEANUP(archive_write_freep) struct archive *a = archive_write_new();
	cleanup_free char *text0 = NULL, *text1 = NULL, *text2 = NULL;
	cleanup_free void *buf = NULL;
	char **texts[3] = {&text0, &text1, &text2};
	size_t lens[3], cap = SEED_SPARE, len = 0;

	if (!json_is_string(json_object_get(instance, "id")) ||
		!json_is_string(json_object_get(instance, "name")))
		return err_set(e, ERR_HOST, -EINVAL, "seed: an instance needs its id and name");
	if (json_string_length(json_object_get(instance, "user_data")) > USER_DATA_MAX)
		return err_set(e, ERR_USAGE, -EFBIG, "user_data: at most %u KiB are allowed",
			USER_DATA_MAX >> 10);
	for (unsigned i = 0; i < 3; i++) {
		FILE *f = open_memstream(texts[i], &lens[i]);

		if (!f)
			return -ENOMEM;
		put_file(f, i, instance, keys);
		if (fclose(f))
			return -ENOMEM;
		cap += lens[i];
	}
	buf = malloc(cap);
	if (!a || !buf)
		return -ENOMEM;
	if (write_iso(a, (const char *const[]){text0, text1, text2}, lens, buf, cap, &len) < 0)
		return err_set(e, ERR_HOST, -EIO, "seed: cannot be made: %s",
			archive_error_string(a) ? archive_error_string(a) : "no memory");
	*ret_len = len;
	*ret = steal_ptr(&buf);
	return 0;
}
