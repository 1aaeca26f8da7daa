/* SPDX-License-Identifier: Apache-2.0 */
/* The layout's files (OCI image-spec 1.1, image-layout.md): oci-layout, index.json, blobs/sha256.
 * Everything gets its name by rename(2), whole; a blob's name is its digest. What a descriptor says
 * is checked against the bytes before anybody believes them. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cloud/image/internal.h"
#include "vmm/base/cleanup.h"

void layout_blob_path(const char *dir, const char *digest, char ret_path[PATH_MAX])
{
	snprintf(ret_path, PATH_MAX, "%s/blobs/sha256/%s", dir, digest + strlen("sha256:"));
}

static int write_text(int fd, const char *text, size_t n)
{
	while (n) {
		ssize_t w = write(fd, text, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		text += w;
		n -= w;
	}
	return 0;
}

int layout_temp(const char *dir, char ret_path[PATH_MAX], int *ret_fd, struct err *e)
{
	int fd;

	snprintf(ret_path, PATH_MAX, "%s/.part-XXXXXX", dir);
	fd = mkostemp(ret_path, O_CLOEXEC);
	if (fd < 0)
		return err_set(e, ERR_HOST, -errno, "%s: cannot write: %s", dir, strerror(errno));
	fchmod(fd, 0644);
	*ret_fd = fd;
	return 0;
}

int layout_put_file(const char *dir, const char *path, const char *digest, struct err *e)
{
	char to[PATH_MAX];

	layout_blob_path(dir, digest, to);
	if (rename(path, to) < 0) {
		int code = -errno;

		unlink(path);
		return err_set(e, ERR_HOST, code, "%s: %s", to, strerror(-code));
	}
	return 0;
}

/* Replaces dir/name (NULL: the blob of these bytes' digest). */
static int put_text(
	const char *dir, const char *name, const char *digest, const char *text, struct err *e)
{
	char temp[PATH_MAX], to[PATH_MAX];
	cleanup_fd int fd = -1;
	int r = layout_temp(dir, temp, &fd, e);

	if (r < 0)
		return r;
	r = write_text(fd, text, strlen(text));
	if (!r && fsync(fd) < 0)
		r = -errno;
	if (r < 0) {
		unlink(temp);
		return err_set(e, ERR_HOST, r, "%s: cannot write: %s", dir, strerror(-r));
	}
	if (!name)
		return layout_put_file(dir, temp, digest, e);
	snprintf(to, sizeof(to), "%s/%s", dir, name);
	if (rename(temp, to) < 0)
		return err_set(e, ERR_HOST, -errno, "%s: %s", to, strerror(errno));
	return 0;
}

int layout_init(const char *dir, struct err *e)
{
	char path[PATH_MAX];
	static const char *const folders[] = {"", "/blobs", "/blobs/sha256"};

	for (unsigned i = 0; i < ARRAY_SIZE(folders); i++) {
		snprintf(path, sizeof(path), "%s%s", dir, folders[i]);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return err_set(e, ERR_HOST, -errno, "%s: %s", path, strerror(errno));
	}
	snprintf(path, sizeof(path), "%s/index.json", dir);
	if (access(path, F_OK) < 0) {
		int r = put_text(dir, "index.json", NULL,
			"{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_INDEX "\",\"manifests\":[]}",
			e);

		if (r < 0)
			return r;
	}
	snprintf(path, sizeof(path), "%s/oci-layout", dir);
	if (access(path, F_OK) == 0)
		return layout_check(dir, e);
	return put_text(dir, "oci-layout", NULL, "{\"imageLayoutVersion\":\"1.0.0\"}", e);
}

/* A JSON file of at most IMAGE_JSON_MAX; digest and size NULL/-1: whatever they are. */
static int load_json(
	const char *path, const char *digest, json_int_t size, json_t **ret_doc, struct err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char sum[DIGEST_LEN];
	struct stat st;
	json_error_t why;
	json_t *doc;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, ERR_USAGE, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size > IMAGE_JSON_MAX)
		return err_set(e, ERR_USAGE, -EFBIG, "%s: not a file of at most %u MiB", path,
			IMAGE_JSON_MAX >> 20);
	if (digest && st.st_size != size)
		return err_set(e, ERR_USAGE, -EBADMSG,
			"blob %s: truncated or changed: %lld bytes, its descriptor says %lld",
			digest, (long long)st.st_size, (long long)size);
	r = digest ? digest_file(fd, sum, NULL) : 0;
	if (r < 0)
		return err_set(e, ERR_HOST, r, "%s: %s", path, strerror(-r));
	if (digest && strcmp(sum, digest))
		return err_set(e, ERR_USAGE, -EILSEQ, "blob %s: wrong digest: its bytes have %s",
			digest, sum);
	lseek(fd, 0, SEEK_SET);
	doc = json_loadfd(fd, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(doc)) {
		json_decref(doc);
		return err_set(e, ERR_USAGE, -EBADMSG, "%s: not a JSON object: %.100s", path,
			doc ? "another type" : why.text);
	}
	*ret_doc = doc;
	return 0;
}

int layout_check(const char *dir, struct err *e)
{
	char path[PATH_MAX];
	json_t *doc = NULL;
	const char *version;
	int r;

	snprintf(path, sizeof(path), "%s/oci-layout", dir);
	r = load_json(path, NULL, -1, &doc, e);
	if (r < 0)
		return r;
	version = json_string_value(json_object_get(doc, "imageLayoutVersion"));
	if (!version || strncmp(version, "1.", 2))
		r = err_set(e, ERR_USAGE, -EINVAL,
			"%s: no OCI image layout of version 1 (imageLayoutVersion)", dir);
	json_decref(doc);
	return r;
}

/* What every descriptor must have (image-spec 1.1, descriptor.md). */
static int descriptor_read(
	const json_t *d, const char **ret_digest, json_int_t *ret_size, struct err *e)
{
	const char *digest = json_string_value(json_object_get(d, "digest"));
	const json_t *size = json_object_get(d, "size");

	if (!digest_ok(digest))
		return err_set(e, ERR_USAGE, -EINVAL,
			"descriptor: digest '%.80s' is not allowed; allowed: sha256: and 64 "
			"hexadecimal digits",
			digest ? digest : "");
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return err_set(e, ERR_USAGE, -EINVAL, "descriptor of %s: no size", digest);
	*ret_digest = digest;
	*ret_size = json_integer_value(size);
	return 0;
}

int layout_get_json(const char *dir, const json_t *descriptor, json_t **ret_doc, struct err *e)
{
	char path[PATH_MAX];
	const char *digest;
	json_int_t size;
	int r = descriptor_read(descriptor, &digest, &size, e);

	if (r < 0)
		return r;
	layout_blob_path(dir, digest, path);
	return load_json(path, digest, size, ret_doc, e);
}

int layout_put_json(const char *dir, const json_t *doc, const char *media, json_t **ret_descriptor,
	struct err *e)
{
	cleanup_free char *text = json_dumps(doc, JSON_COMPACT);
	char digest[DIGEST_LEN];
	int r;

	if (!text || digest_bytes(text, strlen(text), digest) < 0)
		return -ENOMEM;
	r = put_text(dir, NULL, digest, text, e);
	if (r < 0)
		return r;
	*ret_descriptor = json_pack("{s:s, s:s, s:I}", "mediaType", media, "digest", digest, "size",
		(json_int_t)strlen(text));
	return *ret_descriptor ? 0 : -ENOMEM;
}

/* Copies bytes; the digest is of what was read. */
static int copy_fd(int in, int out, struct digest *sum)
{
	cleanup_free char *buf = malloc(1 << 17);
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	while ((n = read(in, buf, 1 << 17)) > 0 || (n < 0 && errno == EINTR)) {
		int r = n > 0 ? write_text(out, buf, n) : 0;

		if (r < 0)
			return r;
		if (n > 0)
			digest_add(sum, buf, n);
	}
	return n < 0 ? -errno : 0;
}

static int copy_checked(
	const char *dir, int in, const char *digest, const struct stat *st, struct err *e)
{
	struct digest *sum = digest_new();
	cleanup_fd int out = -1;
	char temp[PATH_MAX], got[DIGEST_LEN] = "";
	int r = sum ? layout_temp(dir, temp, &out, e) : -ENOMEM;

	if (r < 0) {
		digest_free(sum);
		return r;
	}
	r = copy_fd(in, out, sum);
	digest_end(sum, got);
	digest_free(sum);
	if (r < 0)
		err_set(e, ERR_HOST, r, "copying %s: %s", digest, strerror(-r));
	else if (strcmp(got, digest))
		r = err_set(e, ERR_USAGE, -EILSEQ, "blob %s: wrong digest: its bytes have %s",
			digest, got);
	if (r < 0) {
		unlink(temp);
		return r;
	}
	return layout_put_file(dir, temp, digest, e);
}

int layout_copy(const char *from, const char *dir, const json_t *descriptor, struct err *e)
{
	char path[PATH_MAX], to[PATH_MAX], got[DIGEST_LEN];
	const char *digest;
	struct stat st;
	json_int_t size;
	cleanup_fd int in = -1;
	int r = descriptor_read(descriptor, &digest, &size, e);

	if (r < 0)
		return r;
	layout_blob_path(from, digest, path);
	layout_blob_path(dir, digest, to);
	in = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (in < 0 || fstat(in, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, ERR_USAGE, in < 0 ? -errno : -EINVAL,
			"blob %s: the layout does not have it", digest);
	if (st.st_size != size)
		return err_set(e, ERR_USAGE, -EBADMSG,
			"blob %s: truncated or changed: %lld bytes, its descriptor says %lld",
			digest, (long long)st.st_size, (long long)size);
	if (strcmp(from, dir))
		return copy_checked(dir, in, digest, &st, e);
	r = digest_file(in, got, NULL);
	if (r < 0)
		return err_set(e, ERR_HOST, r, "%s: %s", path, strerror(-r));
	return strcmp(got, digest)
		       ? err_set(e, ERR_USAGE, -EILSEQ, "blob %s: wrong digest: its bytes have %s",
				 digest, got)
		       : 0;
}

/* ---- references ---- */

static const char *ref_of(const json_t *descriptor)
{
	return json_string_value(
		json_object_get(json_object_get(descriptor, "annotations"), REF_NAME));
}

static int load_index(const char *dir, json_t **ret_index, struct err *e)
{
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%s/index.json", dir);
	r = load_json(path, NULL, -1, ret_index, e);
	if (r < 0)
		return r;
	if (json_is_array(json_object_get(*ret_index, "manifests")))
		return 0;
	json_decref(*ret_index);
	return err_set(e, ERR_USAGE, -EINVAL, "%s: no \"manifests\"", path);
}

int layout_find(const char *dir, const char *ref, json_t **ret_descriptor, struct err *e)
{
	json_t *index, *d, *list, *hit = NULL;
	size_t i;
	int r = load_index(dir, &index, e);

	if (r < 0)
		return r;
	list = json_object_get(index, "manifests");
	json_array_foreach (list, i, d) {
		const char *name = ref_of(d);

		if (ref ? name && !strcmp(name, ref) : json_array_size(list) == 1)
			hit = d;
	}
	if (hit)
		*ret_descriptor = json_incref(hit);
	else if (ref)
		r = err_set(e, ERR_NOT_FOUND, -ENOENT, "%s: has no reference '%s'", dir, ref);
	else
		r = err_set(e, ERR_USAGE, -EINVAL, "%s: has %zu images; name one as PATH:REFERENCE",
			dir, json_array_size(list));
	json_decref(index);
	return r;
}

int layout_set(const char *dir, const char *ref, const json_t *descriptor, struct err *e)
{
	json_t *index, *list, *d, *next;
	cleanup_free char *text = NULL;
	int r = load_index(dir, &index, e);

	if (r < 0)
		return r;
	list = json_object_get(index, "manifests");
	for (size_t i = json_array_size(list); i-- > 0;) {
		d = json_array_get(list, i);
		if (ref_of(d) && !strcmp(ref_of(d), ref))
			json_array_remove(list, i);
	}
	if (descriptor) {
		next = json_pack("{s:O, s:O, s:O, s:{s:s}}", "mediaType",
			json_object_get(descriptor, "mediaType"), "digest",
			json_object_get(descriptor, "digest"), "size",
			json_object_get(descriptor, "size"), "annotations", REF_NAME, ref);
		json_array_append_new(list, next);
	}
	text = json_dumps(index, JSON_COMPACT);
	json_decref(index);
	return text ? put_text(dir, "index.json", NULL, text, e) : -ENOMEM;
}
