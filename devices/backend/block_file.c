/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/block_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define BOUNCE_BYTES (64 * KIB)
#define BOUNCE_ALIGN 4096
#define SLICE_IOV    64

/* The part of r's buffers from byte `skip` on, at most SLICE_IOV buffers and max bytes. */
static unsigned slice(
	const struct block_req *r, uint64_t skip, uint64_t max, struct iovec ret_iov[SLICE_IOV])
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->niov && n < SLICE_IOV && max; i++) {
		const struct iovec *v = &r->iov[i];

		if (skip >= v->iov_len) {
			skip -= v->iov_len;
			continue;
		}
		ret_iov[n].iov_base = (uint8_t *)v->iov_base + skip;
		ret_iov[n].iov_len = MIN(v->iov_len - skip, max);
		max -= ret_iov[n++].iov_len;
		skip = 0;
	}
	return n;
}

static ssize_t transfer(int fd, bool write, const struct iovec *iov, unsigned n, uint64_t off)
{
	ssize_t r;

	do
		r = write ? pwritev(fd, iov, n, off) : preadv(fd, iov, n, off);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r ? r : -EIO; /* the file has shrunk */
}

static int plain_rw(struct block_file *f, const struct block_req *r, uint64_t done)
{
	while (done < r->len) {
		struct iovec iov[SLICE_IOV];
		unsigned n = slice(r, done, r->len - done, iov);
		ssize_t moved = transfer(f->fd, r->op == BLOCK_WRITE, iov, n, r->off + done);

		if (moved < 0)
			return moved;
		done += moved;
	}
	return 0;
}

/* Moves up to len bytes between r's buffers at byte `at` and the bounce buffer. */
static void bounce_copy(struct file_lane *l, const struct block_req *r, uint64_t at, uint64_t len)
{
	uint8_t *b = l->bounce;

	while (len) {
		struct iovec iov[SLICE_IOV];
		unsigned n = slice(r, at, len, iov);

		for (unsigned i = 0; i < n; i++) {
			if (r->op == BLOCK_WRITE)
				memcpy(b, iov[i].iov_base, iov[i].iov_len);
			else
				memcpy(iov[i].iov_base, b, iov[i].iov_len);
			b += iov[i].iov_len;
			at += iov[i].iov_len;
			len -= iov[i].iov_len;
		}
	}
}

static int need_bounce(struct file_lane *l)
{
	if (!l->bounce && posix_memalign((void **)&l->bounce, BOUNCE_ALIGN, BOUNCE_BYTES))
		return -ENOMEM;
	return 0;
}

static int bounce_rw(struct file_lane *l, const struct block_req *r)
{
	struct block_file *f = l->f;

	if (need_bounce(l) < 0)
		return -ENOMEM;
	if ((r->off | r->len) & (f->align - 1))
		return -EINVAL; /* finer than the block size that the guest was told */
	for (uint64_t at = 0; at < r->len;) {
		struct iovec v = {l->bounce, MIN(r->len - at, (uint64_t)BOUNCE_BYTES)};
		ssize_t moved;

		if (r->op == BLOCK_WRITE)
			bounce_copy(l, r, at, v.iov_len);
		moved = transfer(f->fd, r->op == BLOCK_WRITE, &v, 1, r->off + at);
		if (moved < 0)
			return moved;
		if (r->op == BLOCK_READ)
			bounce_copy(l, r, at, moved);
		at += moved;
	}
	return 0;
}

bool block_file_misaligned(const struct block_file *f, const struct block_req *r)
{
	uint64_t bits = r->off | r->len;

	if (!f->align || (r->op != BLOCK_READ && r->op != BLOCK_WRITE))
		return false;
	for (unsigned i = 0; i < r->niov; i++)
		bits |= (uintptr_t)r->iov[i].iov_base | r->iov[i].iov_len;
	return bits & (f->align - 1);
}

/* A hint: a host that cannot is no error. */
static int discard(struct block_file *f, const struct block_req *r)
{
	uint64_t range[2] = {r->off, r->len};
	int e = f->is_device ? ioctl(f->fd, BLKDISCARD, range)
			     : fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, r->off,
				       r->len);

	return e < 0 && errno != EOPNOTSUPP ? -errno : 0;
}

static int write_zeroes_by_hand(struct file_lane *l, const struct block_req *r)
{
	struct block_req w = {.op = BLOCK_WRITE};
	struct iovec v;
	int e = 0;

	if (need_bounce(l) < 0)
		return -ENOMEM;
	memset(l->bounce, 0, BOUNCE_BYTES);
	for (uint64_t at = 0; at < r->len && e == 0; at += w.len) {
		w.off = r->off + at;
		w.len = MIN(r->len - at, (uint64_t)BOUNCE_BYTES);
		v = (struct iovec){l->bounce, w.len};
		w.iov = &v;
		w.niov = 1;
		e = plain_rw(l->f, &w, 0);
	}
	return e;
}

static int write_zeroes(struct file_lane *l, const struct block_req *r)
{
	struct block_file *f = l->f;
	uint64_t range[2] = {r->off, r->len};
	int e;

	if (f->is_device && !r->unmap)
		e = ioctl(f->fd, BLKZEROOUT, range);
	else
		e = fallocate(f->fd,
			FALLOC_FL_KEEP_SIZE |
				(r->unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE),
			r->off, r->len);
	if (e == 0)
		return 0;
	return errno == EOPNOTSUPP ? write_zeroes_by_hand(l, r) : -errno;
}

int file_lane_do(struct file_lane *l, const struct block_req *r, uint64_t done)
{
	struct block_file *f = l->f;

	switch (r->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		return block_file_misaligned(f, r) ? bounce_rw(l, r) : plain_rw(f, r, done);
	case BLOCK_FLUSH:
		return fdatasync(f->fd) < 0 ? -errno : 0;
	case BLOCK_DISCARD:
		return discard(f, r);
	case BLOCK_WRITE_ZEROES:
		return write_zeroes(l, r);
	}
	return -EOPNOTSUPP;
}

void block_list_add(struct block_list *l, struct block_req *r)
{
	r->next = NULL;
	if (!l->first)
		l->end = &l->first;
	*l->end = r;
	l->end = &r->next;
}

bool file_lane_serve(struct file_lane *l)
{
	bool any = l->queued.first;

	while (l->queued.first) { /* done() may add to it */
		struct block_req *r = l->queued.first;

		l->queued.first = r->next;
		r->done(r, file_lane_do(l, r, 0));
	}
	return any;
}

static void file_submit(struct block_lane *l, struct block_req *r)
{
	block_list_add(&((struct file_lane *)l)->queued, r);
}

static void file_kick(struct block_lane *l)
{
	struct file_lane *f = (struct file_lane *)l;

	if (file_lane_serve(f))
		f->drained(f->arg);
}

static void file_close(struct block_lane *l)
{
	free(((struct file_lane *)l)->bounce);
	free(l);
}

static const struct block_lane_ops file_lane_ops = {
	.batch = 8,
	.submit = file_submit,
	.kick = file_kick,
	.close = file_close,
};

int block_file_open_lane(struct block *b, struct ev_loop *loop, void (*drained)(void *arg),
	void *arg, struct block_lane **ret_lane)
{
	struct file_lane *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	*l = (struct file_lane){.lane.ops = &file_lane_ops,
		.f = (struct block_file *)b,
		.drained = drained,
		.arg = arg};
	b->engine = "preadv";
	*ret_lane = &l->lane;
	return 0;
}

/* The size that the file or device has now. */
static int look_up_size(struct block_file *f)
{
	struct stat st;
	uint64_t size;

	if (f->is_device ? ioctl(f->fd, BLKGETSIZE64, &size) < 0 : fstat(f->fd, &st) < 0)
		return -errno;
	if (!f->is_device)
		size = st.st_size;
	size = align_down(size, f->block.block_size);
	if (!size)
		return -EINVAL;
	f->block.size = size;
	return 0;
}

/* Nothing is let through to where the file ends, or not yet begins. */
int block_file_resize(struct block *b, uint64_t size)
{
	struct block_file *f = (struct block_file *)b;
	uint64_t old = b->size;

	if (f->is_device || !size)
		return look_up_size(f);
	if (b->readonly)
		return -EROFS;
	if (size & (b->block_size - 1) || size > INT64_MAX)
		return -EINVAL;
	if (size < old)
		b->size = size;
	if (ftruncate(f->fd, (off_t)size) < 0) {
		b->size = old;
		return -errno;
	}
	b->size = size;
	return 0;
}

void block_file_free(struct block *b)
{
	struct block_file *f = (struct block_file *)b;

	/* The lock goes with the last descriptor, and an io_uring that knew the file drops its own
	 * only later: the next owner may come before. */
	fcntl(f->fd, F_OFD_SETLK, &(struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET});
	cleanup_closep(&f->fd);
	free(f);
}

const struct block_ops block_file_ops = {
	.name = "file",
	.open = block_file_open_lane,
	.resize = block_file_resize,
	.free = block_file_free,
};
