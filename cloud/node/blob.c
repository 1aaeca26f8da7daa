/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of blobs: what is there. How they come is in blob_put.c, root disks are made in
 * blob_clone.c. */
#include "cloud/node/blob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cloud/node/blob_priv.h"
#include "cloud/node/file.h"
#include "vmm/base/cleanup.h"

/* Calls each() with every name in the folder. 0 or a negative errno. */
static int each_name(
	struct blobs *b, void (*each)(struct blobs *b, const char *name, void *arg), void *arg)
{
	int fd = openat(b->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		int r = -errno;

		cleanup_closep(&fd);
		return r;
	}
	while ((e = readdir(d)))
		each(b, e->d_name, arg);
	closedir(d);
	return 0;
}

static void sweep(struct blobs *b, const char *name, void *arg)
{
	size_t n = strlen(name);

	if (n > 4 && strcmp(name + n - 4, ".new") == 0)
		unlinkat(b->dir, name, 0);
}

int blobs_new(
	struct ev_loop *loop, struct log *log, int dir, const char *name, struct blobs **ret_blobs)
{
	struct blobs *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	*b = (struct blobs){.loop = loop, .log = log};
	list_init(&b->puts);
	list_init(&b->clones);
	r = b->dir = file_open_folder(dir, name, 0755);
	if (r >= 0)
		r = each_name(b, sweep, NULL);
	if (r == 0)
		r = ev_thread_new("_blobs", &b->unpacker);
	if (r == 0)
		r = ev_thread_new("_clones", &b->copier);
	if (r < 0) {
		blobs_free(b);
		return r;
	}
	*ret_blobs = b;
	return 0;
}

void blobs_free(struct blobs *b)
{
	if (!b)
		return;
	list_for_each_safe (it, &b->clones) {
		blob_clone_cancel(container_of(it, struct blob_clone, node));
	}
	/* What the threads have in hand comes back before they go. */
	while (!list_empty(&b->puts) || !list_empty(&b->clones))
		ev_run_once(b->loop, 100);
	ev_thread_free(b->unpacker);
	ev_thread_free(b->copier);
	cleanup_closep(&b->dir);
	free(b);
}

void blobs_watch(struct blobs *b, void (*changed)(void *arg), void *arg)
{
	b->changed = changed;
	b->arg = arg;
}

static void list_one(struct blobs *b, const char *name, void *arg)
{
	if (digest_ok(name))
		json_array_append_new(arg, json_string(name));
}

json_t *blobs_list(struct blobs *b)
{
	json_t *all = json_array();
	int r = all ? each_name(b, list_one, all) : 0;

	if (r < 0)
		log_line(b->log, LOG_ERROR, "blobs", "cannot be listed: %s", strerrordesc_np(-r));
	return all;
}

void blob_delete(struct blobs *b, struct link_req *r, const char *digest)
{
	if (!digest_ok(digest) || (unlinkat(b->dir, digest, 0) < 0 && errno == ENOENT)) {
		link_problem(r, 404, "there is no such blob here");
		return;
	}
	if (blob_here(b, digest)) {
		link_problem(r, 500, "the blob cannot be removed: %s", strerrordesc_np(errno));
		return;
	}
	link_reply(r, 204, NULL);
	if (b->changed)
		b->changed(b->arg);
}

bool blob_here(struct blobs *b, const char *digest)
{
	return digest_ok(digest) && faccessat(b->dir, digest, F_OK, 0) == 0;
}

uint64_t blob_bytes(struct blobs *b, const char *digest)
{
	struct stat s;

	return digest_ok(digest) && fstatat(b->dir, digest, &s, AT_SYMLINK_NOFOLLOW) == 0
		       ? (uint64_t)s.st_blocks * 512
		       : 0;
}

int blob_open(struct blobs *b, const char *digest)
{
	int fd = digest_ok(digest) ? openat(b->dir, digest, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;

	if (!digest_ok(digest))
		return -ENOENT;
	return fd < 0 ? -errno : fd;
}

int blob_path(struct blobs *b, const char *digest, char *buf, size_t cap)
{
	char link[40], folder[4096];
	ssize_t n;

	if (!blob_here(b, digest))
		return -ENOENT;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", b->dir);
	n = readlink(link, folder, sizeof(folder));
	if (n < 0 || n == sizeof(folder))
		return n < 0 ? -errno : -ENAMETOOLONG;
	n = snprintf(buf, cap, "%.*s/%s", (int)n, folder, digest);
	return (size_t)n < cap ? 0 : -ENAMETOOLONG;
}
