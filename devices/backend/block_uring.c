/* SPDX-License-Identifier: Apache-2.0 */
/* A raw file or block device over io_uring: one ring a lane, made by the worker when it opens the
 * lane (a VM that never starts its disk has none), and only that thread enters it. One
 * io_uring_enter submits all that a kick of the driver brought; what the page cache could answer is
 * complete on return from it.
 *
 * The rest completes when the worker enters the kernel next (IORING_SETUP_COOP_TASKRUN): nothing
 * interrupts it meanwhile. A flag in the shared ring says that there is something to be had, which
 * a worker that polls sees without a system call; one that sleeps in its loop is woken and finds
 * the completions there on its return. (IORING_SETUP_DEFER_TASKRUN would not wake it: that wants a
 * worker which sleeps in the ring, and then each kick costs it a system call more.)
 *
 * Where the host refuses a ring (old kernel, a seccomp filter, a limit), the plain lane takes over.
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

struct uring_lane {
	struct file_lane file; /* first */
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
static int outcome(struct file_lane *l, struct block_req *r, int res)
{
	bool rw = r->op == BLOCK_READ || r->op == BLOCK_WRITE;

	if (res == -EINTR || res == -EAGAIN || (res == -EOPNOTSUPP && !rw))
		return file_lane_do(l, r, 0);
	if (res < 0 || !rw)
		return MIN(res, 0);
	if ((uint64_t)res == r->len)
		return 0;
	return file_lane_do(l, r, res);
}

static unsigned reap(struct uring_lane *u)
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
static unsigned submit_all(struct uring_lane *u)
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
static bool run(struct uring_lane *u)
{
	unsigned any = 0, n;

	do {
		n = file_lane_serve(&u->file);
		n += submit_all(u);
		n += reap(u);
		any += n;
	} while (n);
	if (any)
		u->file.drained(u->file.arg);
	return any;
}

static void ring_ready(struct ev_fd *w, uint32_t events)
{
	run(container_of(w, struct uring_lane, watch));
}

static int make_ring(struct io_uring *ring)
{
	struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER |
					     IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG};
	int r = io_uring_queue_init_params(RING_ENTRIES, ring, &p);

	if (r == -EINVAL) /* before Linux 6.0 */
		r = io_uring_queue_init(RING_ENTRIES, ring, 0);
	return r;
}

static int setup(struct uring_lane *u)
{
	int r = make_ring(&u->ring);

	if (r < 0)
		return r;
	r = io_uring_register_files(&u->ring, &u->file.f->fd, 1);
	if (r < 0)
		io_uring_queue_exit(&u->ring);
	else
		io_uring_register_ring_fd(&u->ring); /* cheaper to enter, where it can be */
	return r;
}

static void uring_submit(struct block_lane *l, struct block_req *r)
{
	struct uring_lane *u = (struct uring_lane *)l;
	const struct block_file *f = u->file.f;
	bool by_hand = block_file_misaligned(f, r) || (r->op == BLOCK_DISCARD && f->is_device);
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

static void uring_kick(struct block_lane *l)
{
	struct uring_lane *u = (struct uring_lane *)l;

	if (u->unsubmitted || u->file.queued.first)
		run(u);
}

static bool uring_poll(struct block_lane *l)
{
	struct uring_lane *u = (struct uring_lane *)l;
	unsigned flags = __atomic_load_n(u->ring.sq.kflags, __ATOMIC_RELAXED);

	if (io_uring_cq_ready(&u->ring) || flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
		return run(u);
	return false;
}

static void uring_close(struct block_lane *l)
{
	struct uring_lane *u = (struct uring_lane *)l;

	ev_del(&u->watch);
	io_uring_queue_exit(&u->ring);
	free(u->file.bounce);
	free(u);
}

static const struct block_lane_ops uring_lane_ops = {
	.batch = 32,
	.submit = uring_submit,
	.kick = uring_kick,
	.poll = uring_poll,
	.close = uring_close,
};

static int start(struct uring_lane *u, struct ev_loop *loop)
{
	int r = setup(u);

	if (r < 0)
		return r;
	u->watch = (struct ev_fd){.fd = u->ring.ring_fd, .ready = ring_ready};
	r = ev_add(loop, &u->watch, EPOLLIN);
	if (r < 0)
		io_uring_queue_exit(&u->ring);
	return r;
}

static int uring_open(struct block *b, struct ev_loop *loop, void (*drained)(void *arg), void *arg,
	struct block_lane **ret_lane)
{
	struct uring_lane *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->file = (struct file_lane){.lane.ops = &uring_lane_ops,
		.f = (struct block_file *)b,
		.drained = drained,
		.arg = arg};
	if (start(u, loop) < 0) {
		free(u);
		return block_file_open_lane(b, loop, drained, arg, ret_lane);
	}
	b->engine = "io_uring";
	*ret_lane = &u->file.lane;
	return 0;
}

const struct block_ops block_uring_ops = {
	.name = "uring",
	.open = uring_open,
	.resize = block_file_resize,
	.free = block_file_free,
};
