/* SPDX-License-Identifier: Apache-2.0 */
/* Root disks. The copying thread makes the file under another name; the loop gives it its own, if
 * it is still wanted by then, so that a cancelled one leaves nothing. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include "cloud/node/blob_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define STEP (4u << 20) /* bytes between looks at `cancelled` */

/* ---- the thread ---- */

/* By hand, where the kernel does not copy between these two. */
static ssize_t copy_by_hand(int from, int to, off_t at, size_t n)
{
	cleanup_free char *buf = malloc(1 << 16);
	ssize_t got = buf ? pread(from, buf, MIN(n, (size_t)1 << 16), at) : -1, done = 0;

	if (got < 0)
		return buf ? -errno : -ENOMEM;
	while (done < got) {
		ssize_t r = pwrite(to, buf + done, (size_t)(got - done), at + done);

		if (r < 0 && errno != EINTR)
			return -errno;
		done += MAX(r, 0);
	}
	return got;
}

static ssize_t copy_some(int from, int to, off_t at, size_t n)
{
	off_t in = at, out = at;
	ssize_t r = copy_file_range(from, &in, to, &out, n, 0);

	if (r > 0 || (r < 0 && errno == ENOSPC))
		return r < 0 ? -errno : r;
	return copy_by_hand(from, to, at, n);
}

static int copy_extent(struct blob_clone *c, int to, off_t at, off_t end)
{
	while (at < end) {
		ssize_t r;

		if (c->cancelled)
			return -ECANCELED;
		r = copy_some(c->from, to, at, (size_t)MIN(end - at, (off_t)STEP));
		if (r <= 0)
			return r < 0 ? (int)r : -EIO;
		at += r;
	}
	return 0;
}

/* What is a hole stays one. */
static int copy_sparse(struct blob_clone *c, int to, off_t size)
{
	off_t end = 0;
	int r = 0;

	while (r == 0 && end < size) {
		off_t at = lseek(c->from, end, SEEK_DATA);

		if (at < 0)
			return errno == ENXIO ? 0 : -errno;
		end = lseek(c->from, at, SEEK_HOLE);
		if (end < 0)
			return -errno;
		r = copy_extent(c, to, at, end);
	}
	return r;
}

static int make(struct blob_clone *c)
{
	cleanup_fd int to = -1;
	struct stat st;
	int r = 0;

	if (c->from < 0 || c->dir < 0)
		return c->from < 0 ? c->from : c->dir;
	unlinkat(c->dir, c->temp, 0);
	to = openat(c->dir, c->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0 || fstat(c->from, &st) < 0)
		return -errno;
	if (ioctl(to, FICLONE, c->from) < 0)
		r = copy_sparse(c, to, st.st_size);
	if (r < 0)
		return r;
	if (ftruncate(to, (off_t)MAX(c->size, (uint64_t)st.st_size)) < 0 || fsync(to) < 0)
		return -errno;
	if (c->uid != (uid_t)-1 && fchown(to, c->uid, c->gid) < 0)
		return -errno;
	return 0;
}

static void clone_back(struct ev_msg *m);

static void clone_work(struct ev_msg *m)
{
	struct blob_clone *c = container_of(m, struct blob_clone, m);

	if (!c->cancelled)
		c->error = make(c);
	m->handle = clone_back;
	ev_post(c->b->loop, m);
}

/* ---- the loop ---- */

static void clone_back(struct ev_msg *m)
{
	struct blob_clone *c = container_of(m, struct blob_clone, m);

	if (!c->error && !c->cancelled && renameat(c->dir, c->temp, c->dir, c->name) < 0)
		c->error = -errno;
	if (c->dir >= 0 && (c->error || c->cancelled))
		unlinkat(c->dir, c->temp, 0);
	list_del(&c->node);
	cleanup_closep(&c->from);
	cleanup_closep(&c->dir);
	if (!c->cancelled)
		c->done(c->arg, c->error);
	free(c);
}

struct blob_clone *blob_clone(struct blobs *b, const char *digest, int dir, const char *name,
	uint64_t size_bytes, uid_t uid, gid_t gid, blob_clone_fn *done, void *arg)
{
	struct blob_clone *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->m.handle = clone_work;
	c->b = b;
	c->size = size_bytes;
	c->uid = uid;
	c->gid = gid;
	c->done = done;
	c->arg = arg;
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->temp, sizeof(c->temp), "%s.new%u", c->name, b->nclones++);
	c->from = blob_open(b, digest);
	c->dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	if (c->dir < 0)
		c->dir = -errno;
	list_add(&b->clones, &c->node);
	ev_post(ev_thread_loop(b->copier), &c->m);
	return c;
}

void blob_clone_cancel(struct blob_clone *c)
{
	if (c)
		c->cancelled = true;
}
