/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of virtio-blk (virtio 1.2 §5.2.6). One is a header (readable), data, and a status byte
 * (the last writable one), in any split over buffers (§2.7.4.1). Requests are a pool made when the
 * queue starts.
 *
 * What the guest writes is served as `process` batches it: one kick of the back-end for all that
 * the ring held, one publication for all that a completion batch brought, the clock read once at
 * either end.
 *
 * In order means that a request that is done waits for those before it, so that the used index says
 * exactly which requests the driver may have seen the end of. Whoever takes a killed process's
 * place goes on from there: nothing is lost, and nothing is done again whose end was visible. Where
 * the ring itself keeps what is in flight there is no need to wait, unless the driver was promised
 * it (§2.7.9, VIRTIO_F_IN_ORDER). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "devices/virtio/blk_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

/* ---- the end of a request ---- */

static void put_req(struct blk_queue *q, struct blk_req *r)
{
	q->free[q->nfree++] = r - q->pool;
}

static uint8_t status_of(int res)
{
	if (res == 0)
		return VIRTIO_BLK_S_OK;
	return res == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

static void count_success(struct blk_queue *q, const struct blk_req *r, uint64_t ns)
{
	struct blk_tally *t = &q->tally[r->kind];
	uint64_t us = ns / 1000;

	count_set(&t->min_us, count_get(&t->ops) ? MIN(count_get(&t->min_us), us) : us);
	count_set(&t->max_us, MAX(count_get(&t->max_us), us));
	count_add(&t->total_us, us);
	count_add(&t->bytes, r->b.len);
	count_add(&t->ops, 1);
}

static void count(struct blk_queue *q, const struct blk_req *r)
{
	dev_count *const kinds[] = {
		&q->stats->reads, &q->stats->writes, &q->stats->flushes, &q->stats->others};
	uint64_t ns;

	if (!q->done_ns)
		q->done_ns = ev_now_ns();
	ns = q->done_ns - r->start_ns;
	count_add(&q->stats->requests, 1);
	count_add(kinds[r->kind], 1);
	histogram_add(&q->stats->latency, ns);
	if (r->failed)
		count_add(&q->stats->errors, 1);
	else
		count_success(q, r, ns);
	if (r->failed)
		return;
	if (r->kind == BLK_KIND_READ)
		count_add(&q->stats->read_bytes, r->b.len);
	else if (r->kind == BLK_KIND_WRITE)
		count_add(&q->stats->written_bytes, r->b.len);
}

static void push(struct blk_req *r)
{
	struct blk_queue *q = r->q;

	count(q, r);
	virtq_push_parts(q->q, r->head, r->iov + r->nout, r->nin, r->written);
	put_req(q, r);
}

static void push_in_order(struct blk_queue *q)
{
	while (!list_empty(&q->order)) {
		struct blk_req *r = container_of(q->order.next, struct blk_req, link);

		if (!r->finished)
			return;
		list_del(&r->link);
		push(r);
	}
}

static void finish(struct blk_req *r, uint32_t written)
{
	r->written = written;
	r->finished = true;
	if (r->q->in_order)
		push_in_order(r->q);
	else
		push(r);
}

static void complete(struct blk_req *r, int res)
{
	r->failed = res < 0;
	if (r->trimmed)
		r->trimmed->iov_len++;
	*r->status = status_of(res);
	finish(r, 1 + (res == 0 ? r->data_in : 0));
}

static void io_done(struct block_req *b, int res)
{
	struct blk_req *r = (struct blk_req *)b;

	if (res == 0 && r->flush_after) {
		r->flush_after = false;
		b->op = BLOCK_FLUSH;
		r->q->lane->ops->submit(r->q->lane, b);
		return;
	}
	complete(r, res);
}

static unsigned in_flight(const struct blk_queue *q)
{
	return q->pool_size - q->nfree;
}

/* Shows the driver what is done: the end of a batch. */
static void tell(struct blk_queue *q)
{
	if (q->processing)
		queue_run_publish(q->blk->run, q->i);
	else
		queue_run_flush(q->blk->run, q->i);
	count_set(&q->stats->in_flight, in_flight(q));
	q->done_ns = 0;
}

/* The back-end has reported a batch. */
static void drained(void *arg)
{
	struct blk_queue *q = arg;

	tell(q);
	if (q->starved) {
		q->starved = false;
		queue_run_again(q->blk->run, q->i);
	}
	queue_run_idle(q->blk->run, q->i);
}

/* ---- its beginning ---- */

/* Drops n bytes from the front of the readable part. */
static void skip_out(struct blk_req *r, size_t n)
{
	struct iovec *v = r->iov, *end = r->iov + r->nout;

	for (; v < end && n >= v->iov_len; v++)
		n -= v->iov_len;
	if (v < end) {
		v->iov_base = (uint8_t *)v->iov_base + n;
		v->iov_len -= n;
	}
	r->b.iov = v;
	r->b.niov = end - v;
}

/* Takes the status byte off the end of the writable part. */
static void take_status(struct blk_req *r)
{
	struct iovec *last = &r->iov[r->nout + r->nin - 1];

	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	last->iov_len--;
	r->trimmed = last;
	r->b.iov = r->iov + r->nout;
	r->b.niov = last->iov_len ? r->nin : r->nin - 1;
}

/* [sector, sector + bytes) lies on the disk. */
static int check_range(const struct virtio_blk *b, uint64_t sector, uint64_t bytes)
{
	uint64_t off, end, size = atomic_load_explicit(&b->block->size, memory_order_relaxed);

	if (bytes % BLK_SECTOR || __builtin_mul_overflow(sector, BLK_SECTOR, &off) ||
		__builtin_add_overflow(off, bytes, &end) || end > size)
		return -EINVAL;
	return 0;
}

static bool write_through(const struct virtio_blk *b)
{
	return !blk_has(b, 1ull << VIRTIO_BLK_F_FLUSH);
}

static int prepare_rw(struct blk_req *r, uint64_t sector, bool write)
{
	const struct virtq_chain *c = &r->q->chain;
	const struct virtio_blk *b = r->q->blk;
	uint64_t len;

	r->kind = write ? BLK_KIND_WRITE : BLK_KIND_READ;
	if (write && b->block->readonly)
		return -EROFS;
	len = write ? c->out_len - sizeof(struct virtio_blk_outhdr) : c->in_len - 1;
	if (check_range(b, sector, len) < 0)
		return -EINVAL;
	r->b.op = write ? BLOCK_WRITE : BLOCK_READ;
	r->b.off = sector * BLK_SECTOR;
	r->b.len = len;
	if (write) {
		skip_out(r, sizeof(struct virtio_blk_outhdr));
		r->flush_after = write_through(b);
	} else {
		r->data_in = len;
	}
	return len ? 1 : 0;
}

/* §5.2.6.2: unknown flags, and unmap on a discard, are "unsupported". */
static int prepare_range(struct blk_req *r, bool discard)
{
	const struct virtq_chain *c = &r->q->chain;
	const struct virtio_blk *b = r->q->blk;
	struct virtio_blk_discard_write_zeroes seg;
	size_t head = sizeof(struct virtio_blk_outhdr);

	if (b->block->readonly)
		return -EROFS;
	if (discard ? !b->block->can_discard : !b->block->can_write_zeroes)
		return -EOPNOTSUPP;
	/* max_*_seg is 1 */
	if (c->out_len != head + sizeof(seg) ||
		virtq_chain_read(c, head, &seg, sizeof(seg)) != sizeof(seg))
		return -EINVAL;
	if (seg.flags & ~(discard ? 0u : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		return -EOPNOTSUPP;
	if (seg.num_sectors > BLK_RANGE_LIMIT ||
		check_range(b, seg.sector, (uint64_t)seg.num_sectors * BLK_SECTOR) < 0)
		return -EINVAL;
	r->b.op = discard ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
	r->b.off = seg.sector * BLK_SECTOR;
	r->b.len = (uint64_t)seg.num_sectors * BLK_SECTOR;
	r->b.unmap = seg.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	r->flush_after = write_through(b);
	return seg.num_sectors ? 1 : 0;
}

/* §5.2.6.1: NUL-padded, and not terminated when all 20 bytes are used. */
static int get_id(struct blk_req *r)
{
	uint32_t n = MIN(r->q->chain.in_len - 1, (uint32_t)BLK_ID_BYTES);

	virtq_chain_write(&r->q->chain, 0, r->q->blk->serial, n);
	r->data_in = n;
	return 0;
}

/* As drivers lay it out: the header alone in the first buffer. */
static bool read_header(const struct virtq_chain *c, struct virtio_blk_outhdr *ret)
{
	if (!c->nout || c->iov[0].iov_len < sizeof(*ret))
		return virtq_chain_read(c, 0, ret, sizeof(*ret)) == sizeof(*ret);
	memcpy(ret, c->iov[0].iov_base, sizeof(*ret));
	return true;
}

/* 1: the back-end has to work; 0: done; negative: refused. */
static int prepare(struct blk_req *r)
{
	struct virtio_blk_outhdr h;

	if (!read_header(&r->q->chain, &h))
		return -EINVAL;
	switch (h.type) {
	case VIRTIO_BLK_T_IN:
		return prepare_rw(r, h.sector, false);
	case VIRTIO_BLK_T_OUT:
		return prepare_rw(r, h.sector, true);
	case VIRTIO_BLK_T_FLUSH:
		r->kind = BLK_KIND_FLUSH;
		r->b.op = BLOCK_FLUSH;
		return r->q->blk->block->readonly ? 0 : 1;
	case VIRTIO_BLK_T_GET_ID:
		return get_id(r);
	case VIRTIO_BLK_T_DISCARD:
		return prepare_range(r, true);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return prepare_range(r, false);
	default:
		return -EOPNOTSUPP;
	}
}

/* Keeps the buffers of q->chain, which the next chain overwrites. */
static int keep_chain(struct blk_req *r)
{
	const struct virtq_chain *c = &r->q->chain;
	unsigned n = c->nout + c->nin;

	r->head = c->head;
	r->nout = c->nout;
	r->nin = c->nin;
	r->iov = r->few;
	if (n > BLK_IOV_FEW) {
		if (!r->many)
			r->many = calloc(VIRTQ_CHAIN_MAX, sizeof(*r->many));
		if (!r->many)
			return -ENOMEM;
		r->iov = r->many;
	}
	for (unsigned i = 0; i < n; i++) /* three, as a rule */
		r->iov[i] = c->iov[i];
	return 0;
}

static void serve(struct blk_queue *q, struct blk_req *r)
{
	int todo = keep_chain(r);

	if (q->in_order)
		list_add(&q->order, &r->link);
	if (todo < 0 || !r->nin) { /* no room for a status: nothing can be said */
		r->failed = true;
		r->nin = 0;
		finish(r, 0);
		return;
	}
	take_status(r);
	todo = prepare(r);
	if (todo == 1)
		q->lane->ops->submit(q->lane, &r->b);
	else
		complete(r, todo);
}

static struct blk_req *get_req(struct blk_queue *q)
{
	struct blk_req *r;

	if (!q->nfree)
		return NULL;
	r = &q->pool[q->free[--q->nfree]];
	r->b = (struct block_req){.done = io_done};
	r->q = q;
	r->trimmed = NULL;
	r->data_in = 0;
	r->flush_after = false;
	r->finished = r->failed = false;
	r->kind = BLK_KIND_OTHER;
	r->start_ns = q->popped_ns;
	return r;
}

/* Serves what the ring holds, at most n chains: returns how many, or the negative of virtq_pop. */
static int serve_some(struct blk_queue *q, int n)
{
	for (int done = 0; done < n; done++) {
		struct blk_req *r = get_req(q);
		int got;

		q->starved = !r;
		if (!r)
			return done;
		got = virtq_pop(q->q, &q->chain);
		if (got <= 0) {
			put_req(q, r);
			return got < 0 ? got : done;
		}
		serve(q, r);
	}
	return n;
}

/* A batch is no longer than the lane wants: a driver that goes on adding gets its first answers
 * meanwhile, and need not sleep when it has added all. */
static int serve_batches(struct blk_queue *q, int *budget)
{
	int most = MIN(q->lane->ops->batch, *budget), n;

	do {
		q->popped_ns = ev_now_ns();
		n = serve_some(q, most);
		q->lane->ops->kick(q->lane);
		tell(q); /* what needed no back-end, too */
		*budget -= n;
	} while (n == most && *budget > 0);
	return n;
}

static void blk_process(struct virtio_dev *d, unsigned i, struct virtq *vq)
{
	struct virtio_blk *b = blk_of_dev(d);
	struct blk_queue *q = &b->queue[i];
	int budget = vq->size, n;

	q->processing = true;
	do {
		virtq_disable_kick(vq);
		n = serve_batches(q, &budget);
	} while (n >= 0 && budget > 0 && !q->starved && queue_run_rest(b->run, i));
	q->processing = false;
	queue_run_flush(b->run, i);
	if (n < 0)
		queue_run_broken(b->run, i);
	else if (budget <= 0)
		queue_run_again(b->run, i);
}

static bool blk_poll(struct virtio_dev *d, unsigned i)
{
	struct block_lane *l = blk_of_dev(d)->queue[i].lane;

	return l->ops->poll && l->ops->poll(l);
}

/* ---- the life of a queue ---- */

static unsigned blk_in_flight(struct virtio_dev *d, unsigned i)
{
	return in_flight(&blk_of_dev(d)->queue[i]);
}

static void free_pool(struct blk_queue *q, unsigned size)
{
	for (unsigned i = 0; q->pool && i < size; i++)
		free(q->pool[i].many);
	free(steal_ptr(&q->pool));
	free(steal_ptr(&q->free));
	q->nfree = q->pool_size = 0;
}

static int make_pool(struct blk_queue *q, unsigned size)
{
	q->pool = calloc(size, sizeof(*q->pool));
	q->free = calloc(size, sizeof(*q->free));
	if (!q->pool || !q->free) {
		free_pool(q, 0);
		return -ENOMEM;
	}
	q->pool_size = size;
	for (q->nfree = 0; q->nfree < size; q->nfree++)
		q->free[q->nfree] = size - 1 - q->nfree;
	return 0;
}

static int blk_attach(struct virtio_dev *d, unsigned i, struct virtq *vq, struct ev_loop *loop)
{
	struct virtio_blk *b = blk_of_dev(d);
	struct blk_queue *q = &b->queue[i];
	int r = make_pool(q, vq->size);

	if (r < 0)
		return r;
	q->q = vq;
	q->starved = false;
	q->done_ns = 0;
	q->in_order = blk_has(b, VIRTIO_BIT_IN_ORDER) ||
		      (b->in_order && !queue_run_keeps_inflight(b->run, i));
	list_init(&q->order);
	r = b->block->ops->open(b->block, loop, drained, q, &q->lane);
	if (r < 0)
		free_pool(q, vq->size);
	return r;
}

static void blk_detach(struct virtio_dev *d, unsigned i)
{
	struct blk_queue *q = &blk_of_dev(d)->queue[i];

	q->lane->ops->close(steal_ptr(&q->lane));
	free_pool(q, q->pool_size);
}

const struct queue_worker_ops blk_worker = {
	.process = blk_process,
	.poll = blk_poll,
	.in_flight = blk_in_flight,
	.attach = blk_attach,
	.detach = blk_detach,
};
