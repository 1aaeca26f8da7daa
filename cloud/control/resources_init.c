/* SPDX-License-Identifier: Apache-2.0 */
/* What a first start makes, so that `POST /v1/instances {"name", "image"}` is enough. Later starts
 * leave alone what was changed or deleted since: project "default" being there is the mark. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cloud/control/operation.h"
#include "cloud/control/resources.h"
#include "vmm/base/cleanup.h"

static int make(struct objects *os, enum kind k, const char *name, json_t *more)
{
	struct change c = {.event = "created", .actor = "first start"};
	json_t *doc;
	char id[32];

	obj_new_id(k, id);
	doc = json_pack("{s:s, s:s, s:s*, s:{}}", "id", id, "name", name, "project",
		kind_in_project(k) ? "default" : NULL, "labels");
	if (more)
		json_object_update_new(doc, more);
	return obj_put(os, k, doc, &c, NULL);
}

static int make_flavors(struct objects *os)
{
	static const struct {
		const char *name;
		int cpus, memory_mib;
	} flavors[] = {
		{"micro", 1, 64}, {"small", 1, 256}, {"medium", 2, 1024}, {"large", 4, 4096}};
	int r = 0;

	for (unsigned i = 0; !r && i < sizeof(flavors) / sizeof(flavors[0]); i++)
		r = make(os, KIND_FLAVOR, flavors[i].name,
			json_pack("{s:i, s:i, s:n}", "cpus", flavors[i].cpus, "memory_mib",
				flavors[i].memory_mib, "root_gib"));
	return r;
}

/* "id_ed25519.pub" to "id-ed25519". */
static void key_name(const char *file, char ret_name[64])
{
	size_t n = 0;

	for (const char *p = file; *p && strcmp(p, ".pub") && n < 60; p++) {
		char ch = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
		bool keep = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9');

		if (keep || n)
			ret_name[n++] = keep ? ch : '-';
	}
	while (n && ret_name[n - 1] == '-')
		n--;
	ret_name[n] = '\0';
}

/* A file that is no key of ours (a certificate, an option before the key) is left out. */
static int make_key(struct objects *os, int folder, const char *file)
{
	cleanup_fd int fd = openat(folder, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char line[8193], name[64], fingerprint[64];
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

	if (n <= 0 || (size_t)n == sizeof(line) - 1)
		return 0;
	line[n] = '\0';
	key_name(file, name);
	if (!*name || strlen(line) != (size_t)n || ssh_key_check(line, fingerprint, NULL) ||
		obj_find(os, KIND_KEY, "default", name))
		return 0;
	return make(os, KIND_KEY, name,
		json_pack("{s:o, s:s}", "public_key", json_stringn(line, strcspn(line, "\r\n")),
			"fingerprint", fingerprint));
}

int keys_from_home(struct objects *os, const char *home)
{
	cleanup_free char *path = NULL;
	struct dirent *d;
	DIR *dir;
	int r = 0;

	if (asprintf(&path, "%s/.ssh", home) < 0)
		return -ENOMEM;
	dir = opendir(path);
	while (dir && !r && (d = readdir(dir))) {
		size_t n = strlen(d->d_name);

		if (n > 4 && !strcmp(d->d_name + n - 4, ".pub"))
			r = make_key(os, dirfd(dir), d->d_name);
	}
	if (dir)
		closedir(dir);
	return r;
}

static int first_start(struct objects *os)
{
	const char *home = getenv("HOME");
	struct change c = {.event = "created", .actor = "first start"};
	char id[32];
	int r;

	obj_new_id(KIND_PROJECT, id);
	r = project_make(os, "default",
		json_pack("{s:s, s:s, s:{}}", "id", id, "name", "default", "labels"), &c, NULL);
	if (!r)
		r = make_flavors(os);
	if (!r && home && *home)
		r = keys_from_home(os, home);
	return r;
}

/* Times of one form compare as text, to the second. */
void tokens_trim(struct objects *os)
{
	struct change c = {.event = "expired"};
	struct obj *o = obj_next(os, KIND_TOKEN, NULL), *next;
	char now[32];

	obj_now(now);
	for (; o; o = next) {
		const char *at = doc_text(o->doc, "expires_at");

		next = obj_next(os, KIND_TOKEN, o);
		if (*at && strncmp(at, now, strlen("2026-01-01T00:00:00")) < 0)
			obj_delete(os, o, &c);
	}
}

int resources_init(struct control *c, struct err *e)
{
	struct objects *os = c->objects;
	int r = 0;

	if (!obj_find(os, KIND_PROJECT, NULL, "default")) {
		r = objects_begin(os);
		if (!r)
			r = first_start(os);
		if (!r)
			r = objects_commit(os);
		else
			objects_rollback(os);
	}
	if (!r)
		r = operations_init(os);
	tokens_trim(os);
	return r ? err_set(e, ERR_HOST, r, "the first objects: %s", strerror(-r)) : 0;
}
