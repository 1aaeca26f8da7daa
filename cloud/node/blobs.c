/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs: kernels, initramfs and root disks by their digest. They come as packed streams
 * (cloud/base/packed.h) and get their name only when all of it came and its digest is right. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cloud/base/packed.h"
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"
#include "vmm/base/cleanup.h"

#define TEMP "new-"

struct upload {
	struct list link;
	struct node *node;
	struct link_stream *s;
	struct unpack *unpack;
	int fd, error;
	char digest[DIGEST_LEN];
};

json_t *blobs_list(struct node *n)
{
	int copy = openat(n->blobs_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	json_t *list = json_array();
	struct dirent *x;

	while (d && (x = readdir(d)))
		if (digest_ok(x->d_name))
			json_array_append_new(list, json_string(x->d_name));
	if (d)
		closedir(d);
	return list;
}

void blobs_sweep(struct node *n)
{
	int copy = openat(n->blobs_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *x;

	while (d && (x = readdir(d)))
		if (!strncmp(x->d_name, TEMP, strlen(TEMP)))
			unlinkat(n->blobs_dir, x->d_name, 0);
	if (d)
		closedir(d);
}

static void temp_name(const struct upload *u, char buf[DIGEST_LEN + 8])
{
	snprintf(buf, DIGEST_LEN + 8, TEMP "%s", u->digest);
}

static void drop(struct upload *u)
{
	char temp[DIGEST_LEN + 8];

	if (u->fd < 0)
		return;
	temp_name(u, temp);
	unlinkat(u->node->blobs_dir, temp, 0);
	close(u->fd);
	u->fd = -1;
}

static const char *reason(int error)
{
	return error == -EBADMSG  ? "it is no packed file, or is cut off"
	       : error == -EILSEQ ? "its digest is another one"
	       : error == -ENOSPC ? "no space left on the host"
				  : strerrordesc_np(-error);
}

static void say(struct upload *u, int error)
{
	char line[200];
	int n = error ? snprintf(line, sizeof(line), "{\"error\":\"%s\"}\n", reason(error))
		      : snprintf(line, sizeof(line), "{\"ok\":true}\n");

	link_stream_write(u->s, line, (size_t)n);
	link_stream_end(u->s);
}

/* A file with the name is whole, also after a crash of the host. */
static int keep(struct upload *u)
{
	char temp[DIGEST_LEN + 8];
	uint64_t size;
	int r = unpack_end(u->unpack, u->digest, &size);

	temp_name(u, temp);
	if (r == 0 && (fsync(u->fd) < 0 || renameat(u->node->blobs_dir, temp, u->node->blobs_dir,
						   u->digest) < 0))
		r = -errno;
	if (r == 0) {
		close(u->fd);
		u->fd = -1;
	}
	return r;
}

static void on_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	struct upload *u = arg;

	link_stream_took(s, n);
	if (u->error)
		return;
	u->error = unpack_feed(u->unpack, p, n);
	if (u->error) {
		drop(u);
		say(u, u->error);
	}
}

static void on_eof(struct link_stream *s, void *arg)
{
	struct upload *u = arg;

	if (u->error)
		return;
	u->error = keep(u);
	drop(u);
	say(u, u->error);
	u->error = u->error ? u->error : 1;
}

static void on_closed(struct link_stream *s, int error, void *arg)
{
	struct upload *u = arg;

	drop(u);
	list_del(&u->link);
	unpack_free(u->unpack);
	free(u);
}

static const struct link_stream_ops ops = {.data = on_data, .eof = on_eof, .closed = on_closed};

static bool in_flight(struct node *n, const char *digest)
{
	list_for_each (it, &n->uploads) {
		struct upload *u = container_of(it, struct upload, link);

		if (!strcmp(u->digest, digest) && u->fd >= 0)
			return true;
	}
	return false;
}

static int upload_begin(struct node *n, const char *digest, struct upload **ret)
{
	struct upload *u = calloc(1, sizeof(*u));
	char temp[DIGEST_LEN + 8];
	int r;

	if (!u)
		return -ENOMEM;
	u->node = n;
	snprintf(u->digest, sizeof(u->digest), "%s", digest);
	temp_name(u, temp);
	u->fd = openat(
		n->blobs_dir, temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0400);
	r = u->fd < 0 ? -errno : unpack_new(u->fd, PACKED_LIMIT, &u->unpack);
	if (r < 0) {
		drop(u);
		free(u);
		return r;
	}
	list_add(&n->uploads, &u->link);
	*ret = u;
	return 0;
}

void blob_put(struct node *n, struct link_req *r, const char *digest)
{
	struct upload *u;
	int bad;

	if (!digest_ok(digest)) {
		link_problem(r, 400, "a digest sha256:… is allowed");
		return;
	}
	if (faccessat(n->blobs_dir, digest, F_OK, 0) == 0) {
		link_reply(r, 204, NULL);
		return;
	}
	if (in_flight(n, digest)) {
		link_problem(r, 409, "it is on its way already");
		return;
	}
	bad = upload_begin(n, digest, &u);
	if (bad < 0) {
		link_problem(r, bad == -ENOSPC ? 507 : 500, "the host cannot keep it: %s",
			strerrordesc_np(-bad));
		return;
	}
	u->s = link_accept(r, &ops, u);
	if (!u->s)
		on_closed(NULL, 0, u);
}

void blob_delete(struct node *n, struct link_req *r, const char *digest)
{
	if (!digest_ok(digest))
		link_problem(r, 400, "a digest sha256:… is allowed");
	else if (unlinkat(n->blobs_dir, digest, 0) < 0)
		link_problem(r, errno == ENOENT ? 404 : 500, "%s", strerrordesc_np(errno));
	else
		link_reply(r, 204, NULL);
}
