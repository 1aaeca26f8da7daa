/* SPDX-License-Identifier: Apache-2.0 */
/* A raw file or block device over io_uring. The ring is made by the worker when it binds (a VM that
 * never starts its disk has none) and only that thread enters it. Its fd is watched by the worker's
 * loop: completions need no system call but the loop's own wait. One io_uring_enter submits all
 * that a kick of the driver brought; what the page cache could answer is complete on return from
 * it.
 *
 * Where the host refuses a ring (old kernel, a seccomp filter, a limit), the plain one takes over.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <stdlib.h>
#include "devices/backend/block_file.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"

#define RING_ENTRIES 128
#define REAP_BATCH   32

struct block_uring {
	struct block_file file; /* first */
	struct io_uring ring;
	struct ev_fd watch;
	unsigned unsubmitted;
};

static int fallocate_mode(const struct block_req *r)
{
	if (r->op == BLOCK_DISCARD || r->unmap)
		return FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
	return FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE;
}

static void prepare(struct io_uring_sqe *sqe, const struct block_req *r)
{
	switch (r->op) {
	case BLOCK_READ:
		if (r->niov == 1)
			io_uring_prep_read(sqe, 0, r->iov->iov_base, r->len, r->off);
		else
			io_uring_prep_readv(sqe, 0, r->iov, r->niov, r->off);
		break;
	case BLOCK_WRITE:
		if (r->niov == 1)
			io_uring_prep_write(sqe, 0, r->iov->iov_base, r->len, r->off);
		else
			io_uring_prep_writev(sqe, 0, r->iov, r->niov, r->off);
		break;
	case BLOCK_FLUSH:
		io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		io_uring_prep_fallocate(sqe, 0, fallocate_mode(r), r->off, r->len);
		break;
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE); /* file 0 of the ring's table */
	io_uring_sqe_set_data(sqe, (void *)r);
}

/* The final answer to a request of which the ring said res. */
static int outcome(struct block_file *f, struct block_req *r, int res)
{
	bool rw = r->op == BLOCK_READ || r->op == BLOCK_WRITE;

	if (res == -EINTR || res == -EAGAIN || (res == -EOPNOTSUPP && !rw))
		return block_file_do(f, r, 0);
	if (res < 0 || !rw)
		return MIN(res, 0);
	if ((uint64_t)res == r->len)
		return 0;
	return block_file_do(f, r, res);
}

static unsigned reap(struct block_uring *u)
{
	struct io_uring_cqe *cqe[REAP_BATCH];
	unsigned n = io_uring_peek_batch_cqe(&u->ring, cqe, REAP_BATCH);
	struct block_req *r[REAP_BATCH];
	int res[REAP_BATCH];

	for (unsigned i = 0; i < n; i++) {
		r[i] = io_uring_cqe_get_data(cqe[i]);
		res[i] = cqe[i]->res;
	}
	io_uring_cq_advance(&u->ring, n);
	for (unsigned i = 0; i < n; i++)
		r[i]->done(r[i], outcome(&u->file, r[i], res[i]));
	return n;
}

/* Hands the kernel what is prepared. It may be short of memory or of completion slots for a moment:
 * reaping makes room. Returns how many completions that took. */
static unsigned submit_all(struct block_uring *u)
{
	unsigned reaped = 0;

	while (u->unsubmitted) {
		int n = io_uring_submit(&u->ring);

		if (n > 0)
			u->unsubmitted -= MIN((unsigned)n, u->unsubmitted);
		else if (n == -EAGAIN || n == -EBUSY || n == 0) {
			reaped += reap(u);
			sched_yield();
		} else if (n != -EINTR) {
			break; /* the ring is unusable: cannot happen to one that was set up */
		}
	}
	return reaped;
}

/* Until nothing is left to submit or to reap: done() may have submitted more. */
static void run(struct block_uring *u)
{
	unsigned any = 0, n;

	do {
		n = block_file_serve(&u->file);
		n += submit_all(u);
		n += reap(u);
		any += n;
	} while (n);
	if (any)
		u->file.drained(u->file.arg);
}

static void ring_ready(struct ev_fd *w, uint32_t events)
{
	run(container_of(w, struct block_uring, watch));
}

static int setup(struct block_uring *u)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN};
	int r = io_uring_queue_init_params(RING_ENTRIES, &u->ring, &p);

	if (r == -EINVAL) /* before Linux 6.0 */
		r = io_uring_queue_init(RING_ENTRIES, &u->ring, 0);
	if (r < 0)
		return r;
	r = io_uring_register_files(&u->ring, &u->file.fd, 1);
	if (r < 0)
		io_uring_queue_exit(&u->ring);
	return r;
}

static int uring_bind(struct block *b, struct ev_loop *loop, void (*drained)(void *arg), void *arg)
{
	struct block_uring *u = (struct block_uring *)b;
	int r = setup(u);

	if (r < 0) {
		b->ops = &block_file_ops;
		return b->ops->bind(b, loop, drained, arg);
	}
	b->engine = "io_uring";
	u->file.drained = drained;
	u->file.arg = arg;
	u->unsubmitted = 0;
	u->watch = (struct ev_fd){.fd = u->ring.ring_fd, .ready = ring_ready};
	r = ev_add(loop, &u->watch, EPOLLIN);
	if (r < 0)
		io_uring_queue_exit(&u->ring);
	return r;
}

static void uring_unbind(struct block *b)
{
	struct block_uring *u = (struct block_uring *)b;

	ev_del(&u->watch);
	io_uring_queue_exit(&u->ring);
}

static void uring_submit(struct block *b, struct block_req *r)
{
	struct block_uring *u = (struct block_uring *)b;
	bool by_hand =
		block_file_misaligned(&u->file, r) || (r->op == BLOCK_DISCARD && u->file.is_device);
	struct io_uring_sqe *sqe = by_hand ? NULL : io_uring_get_sqe(&u->ring);

	if (!sqe && !by_hand && io_uring_submit(&u->ring) > 0) {
		u->unsubmitted = io_uring_sq_ready(&u->ring);
		sqe = io_uring_get_sqe(&u->ring);
	}
	if (!sqe) { /* the ring cannot, or is full */
		block_list_add(&u->file.queued, r);
		return;
	}
	prepare(sqe, r);
	u->unsubmitted++;
}

static void uring_kick(struct block *b)
{
	struct block_uring *u = (struct block_uring *)b;

	if (u->unsubmitted || u->file.queued.first)
		run(u);
}

static void uring_free(struct block *b)
{
	block_file_fini((struct block_file *)b);
	free(b);
}

const struct block_ops block_uring_ops = {
	.name = "uring",
	.bind = uring_bind,
	.unbind = uring_unbind,
	.submit = uring_submit,
	.kick = uring_kick,
	.free = uring_free,
};

struct block *block_uring_new(const struct block_file *f)
{
	struct block_uring *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->file = *f;
	u->file.block.ops = &block_uring_ops;
	return &u->file.block;
}
