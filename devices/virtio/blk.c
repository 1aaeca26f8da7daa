/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-blk (virtio 1.2 §5.2): one queue, one worker, one back-end. A request is a header
 * (readable), data, and a status byte (the last writable one), in any split over buffers
 * (§2.7.4.1). Requests are a pool made when the queue starts, handed out last-in first-out so that
 * only as much memory is touched as was ever in flight at once.
 *
 * What the guest writes is served as `process` batches it: one kick of the back-end for all that
 * the ring held, one publication for all that a completion batch brought.
 *
 * With in_order a request that is done waits for those before it, so that the used index says
 * exactly which requests the driver may have seen the end of. Whoever takes a killed process's
 * place goes on from there: nothing is lost, and nothing is done again whose end was visible. */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "devices/backend/block.h"
#include "devices/count.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/queue_run.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define SECTOR	    512
#define SEG_LIMIT   254	       /* data buffers in a chain of VIRTQ_CHAIN_MAX */
#define RANGE_LIMIT (1u << 22) /* sectors (2 GiB) a discard or write-zeroes may cover */
#define ID_BYTES    20

struct virtio_blk;

/* Of one kind of request that succeeded; times are from the pop to the answer. */
struct tally {
	dev_count ops, bytes, total_us, min_us, max_us;
};

struct blk_req {
	struct block_req b; /* first */
	struct virtio_blk *blk;
	uint8_t *status;       /* in guest memory */
	struct iovec *trimmed; /* the buffer that lent its last byte to the status, or NULL */
	uint32_t data_in;      /* bytes that a success writes before the status */
	bool flush_after;      /* a write without a write cache, §5.2.6.2 */
	struct tally *tally;   /* where a success counts, or NULL */
	struct list link;      /* in_order: in blk->order */
	bool finished;
	uint32_t written;
	uint64_t start_ns;
	struct virtq_chain chain;
};

struct virtio_blk {
	struct virtio_dev dev; /* first */
	struct queue_run *run;
	struct block *block; /* borrowed */
	char serial[ID_BYTES];
	struct virtio_blk_config config;
	_Atomic uint64_t features; /* accepted */
	struct tally reads, writes, flushes;
	dev_count errors;
	bool in_order;

	/* The worker's. */
	struct list order; /* in_order: what was popped and not yet pushed, the oldest first */
	struct virtq *q;
	struct blk_req *pool;
	uint16_t *free; /* stack of pool indices */
	unsigned pool_size, nfree;
	uint64_t now_ns; /* when this batch was begun */
	bool starved;	 /* stopped popping for want of a free request */
};

static struct virtio_blk *of_dev(struct virtio_dev *d)
{
	return (struct virtio_blk *)d;
}

static void put_req(struct virtio_blk *b, struct blk_req *r)
{
	b->free[b->nfree++] = r - b->pool;
}

static uint8_t status_of(int res)
{
	if (res == 0)
		return VIRTIO_BLK_S_OK;
	return res == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

static void count(struct blk_req *r, int res)
{
	struct tally *t = r->tally;
	uint64_t us;

	if (res < 0)
		count_add(&r->blk->errors, 1);
	if (res < 0 || !t)
		return;
	us = (ev_now_ns() - r->start_ns) / 1000;
	count_set(&t->min_us, count_get(&t->ops) ? MIN(count_get(&t->min_us), us) : us);
	count_set(&t->max_us, MAX(count_get(&t->max_us), us));
	count_add(&t->total_us, us);
	count_add(&t->bytes, r->b.len);
	count_add(&t->ops, 1);
}

static void push(struct blk_req *r)
{
	virtq_push(r->blk->q, &r->chain, r->written);
	put_req(r->blk, r);
}

static void push_in_order(struct virtio_blk *b)
{
	while (!list_empty(&b->order)) {
		struct blk_req *r = container_of(b->order.next, struct blk_req, link);

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
	if (r->blk->in_order)
		push_in_order(r->blk);
	else
		push(r);
}

static void complete(struct blk_req *r, int res)
{
	count(r, res);
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
		r->blk->block->ops->submit(r->blk->block, b);
		return;
	}
	complete(r, res);
}

/* The back-end has reported a batch. */
static void drained(void *arg)
{
	struct virtio_blk *b = arg;

	virtq_flush(b->q);
	if (b->starved) {
		b->starved = false;
		queue_run_again(b->run, 0);
	}
	queue_run_idle(b->run, 0);
}

/* Drops n bytes from the front of the readable part. */
static void skip_out(struct virtq_chain *c, struct block_req *b, size_t n)
{
	struct iovec *v = c->iov, *end = c->iov + c->nout;

	for (; v < end && n >= v->iov_len; v++)
		n -= v->iov_len;
	if (v < end) {
		v->iov_base = (uint8_t *)v->iov_base + n;
		v->iov_len -= n;
	}
	b->iov = v;
	b->niov = end - v;
}

/* Takes the status byte off the end of the writable part. */
static void take_status(struct blk_req *r)
{
	struct virtq_chain *c = &r->chain;
	struct iovec *last = &c->iov[c->nout + c->nin - 1];

	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	last->iov_len--;
	r->trimmed = last;
	r->b.iov = c->iov + c->nout;
	r->b.niov = last->iov_len ? c->nin : c->nin - 1;
}

/* [sector, sector + bytes) lies on the disk. */
static int check_range(const struct virtio_blk *b, uint64_t sector, uint64_t bytes)
{
	uint64_t off, end;

	if (bytes % SECTOR || __builtin_mul_overflow(sector, SECTOR, &off) ||
		__builtin_add_overflow(off, bytes, &end) || end > b->block->size)
		return -EINVAL;
	return 0;
}

static int prepare_rw(struct blk_req *r, uint64_t sector, bool write)
{
	struct virtio_blk *b = r->blk;
	uint64_t len;

	if (write && b->block->readonly)
		return -EROFS;
	len = write ? r->chain.out_len - sizeof(struct virtio_blk_outhdr) : r->chain.in_len - 1;
	if (check_range(b, sector, len) < 0)
		return -EINVAL;
	r->tally = write ? &b->writes : &b->reads;
	r->b.op = write ? BLOCK_WRITE : BLOCK_READ;
	r->b.off = sector * SECTOR;
	r->b.len = len;
	if (write) {
		skip_out(&r->chain, &r->b, sizeof(struct virtio_blk_outhdr));
		r->flush_after = !(atomic_load(&b->features) & 1ull << VIRTIO_BLK_F_FLUSH);
	} else {
		r->data_in = len;
	}
	return len ? 1 : 0;
}

/* §5.2.6.2: unknown flags, and unmap on a discard, are "unsupported". */
static int prepare_range(struct blk_req *r, bool discard)
{
	struct virtio_blk *b = r->blk;
	struct virtio_blk_discard_write_zeroes seg;
	size_t head = sizeof(struct virtio_blk_outhdr);

	if (b->block->readonly)
		return -EROFS;
	if (discard ? !b->block->can_discard : !b->block->can_write_zeroes)
		return -EOPNOTSUPP;
	/* max_*_seg is 1 */
	if (r->chain.out_len != head + sizeof(seg) ||
		virtq_chain_read(&r->chain, head, &seg, sizeof(seg)) != sizeof(seg))
		return -EINVAL;
	if (seg.flags & ~(discard ? 0u : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		return -EOPNOTSUPP;
	if (seg.num_sectors > RANGE_LIMIT ||
		check_range(b, seg.sector, (uint64_t)seg.num_sectors * SECTOR) < 0)
		return -EINVAL;
	r->b.op = discard ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
	r->b.off = seg.sector * SECTOR;
	r->b.len = (uint64_t)seg.num_sectors * SECTOR;
	r->b.unmap = seg.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	r->flush_after = !(atomic_load(&b->features) & 1ull << VIRTIO_BLK_F_FLUSH);
	return seg.num_sectors ? 1 : 0;
}

/* §5.2.6.1: NUL-padded, and not terminated when all 20 bytes are used. */
static int get_id(struct blk_req *r)
{
	uint32_t n = MIN(r->chain.in_len - 1, (uint32_t)ID_BYTES);

	virtq_chain_write(&r->chain, 0, r->blk->serial, n);
	r->data_in = n;
	return 0;
}

/* 1: the back-end has to work; 0: done; negative: refused. */
static int prepare(struct blk_req *r)
{
	struct virtio_blk_outhdr h;

	if (virtq_chain_read(&r->chain, 0, &h, sizeof(h)) != sizeof(h))
		return -EINVAL;
	switch (h.type) {
	case VIRTIO_BLK_T_IN:
		return prepare_rw(r, h.sector, false);
	case VIRTIO_BLK_T_OUT:
		return prepare_rw(r, h.sector, true);
	case VIRTIO_BLK_T_FLUSH:
		r->tally = &r->blk->flushes;
		r->b.op = BLOCK_FLUSH;
		return r->blk->block->readonly ? 0 : 1;
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

static void serve(struct virtio_blk *b, struct blk_req *r)
{
	int todo;

	if (b->in_order)
		list_add(&b->order, &r->link);
	if (!r->chain.in_len) { /* no room for a status: nothing can be said */
		finish(r, 0);
		return;
	}
	take_status(r);
	todo = prepare(r);
	if (todo == 1)
		b->block->ops->submit(b->block, &r->b);
	else
		complete(r, todo);
}

static struct blk_req *get_req(struct virtio_blk *b)
{
	struct blk_req *r;

	if (!b->nfree)
		return NULL;
	r = &b->pool[b->free[--b->nfree]];
	r->b = (struct block_req){.done = io_done};
	r->blk = b;
	r->trimmed = NULL;
	r->data_in = 0;
	r->flush_after = false;
	r->finished = false;
	r->tally = NULL;
	r->start_ns = b->now_ns;
	return r;
}

/* Serves what the ring holds, at most *budget chains: 1 when that is used up. */
static int serve_some(struct virtio_blk *b, struct virtq *q, unsigned *budget)
{
	for (; *budget; --*budget) {
		struct blk_req *r = get_req(b);
		int n;

		if (!r) {
			b->starved = true;
			return 0;
		}
		n = virtq_pop(q, &r->chain);
		if (n <= 0) {
			put_req(b, r);
			return n;
		}
		serve(b, r);
	}
	return 1;
}

static void blk_process(struct virtio_dev *d, unsigned i, struct virtq *q)
{
	struct virtio_blk *b = of_dev(d);
	unsigned budget = q->size;
	int more;

	b->now_ns = ev_now_ns();
	do {
		virtq_disable_kick(q);
		more = serve_some(b, q, &budget);
		b->block->ops->kick(b->block);
		virtq_flush(q); /* what needed no back-end, too */
	} while (more == 0 && !b->starved && virtq_enable_kick(q));
	if (more < 0)
		queue_run_broken(b->run, i);
	else if (more)
		queue_run_again(b->run, i);
}

static unsigned blk_in_flight(struct virtio_dev *d, unsigned i)
{
	return of_dev(d)->pool_size - of_dev(d)->nfree;
}

static int blk_attach(struct virtio_dev *d, unsigned i, struct virtq *q, struct ev_loop *loop)
{
	struct virtio_blk *b = of_dev(d);
	int r;

	b->q = q;
	b->starved = false;
	list_init(&b->order);
	b->nfree = b->pool_size = 0;
	b->pool = calloc(q->size, sizeof(*b->pool));
	b->free = calloc(q->size, sizeof(*b->free));
	r = b->pool && b->free ? b->block->ops->bind(b->block, loop, drained, b) : -ENOMEM;
	if (r < 0) {
		free(steal_ptr(&b->pool));
		free(steal_ptr(&b->free));
		return r;
	}
	for (b->pool_size = q->size; b->nfree < q->size; b->nfree++)
		b->free[b->nfree] = q->size - 1 - b->nfree;
	return 0;
}

static void blk_detach(struct virtio_dev *d, unsigned i)
{
	struct virtio_blk *b = of_dev(d);

	b->block->ops->unbind(b->block);
	b->nfree = b->pool_size = 0;
	free(steal_ptr(&b->pool));
	free(steal_ptr(&b->free));
}

static const struct queue_worker_ops blk_worker = {
	.process = blk_process,
	.in_flight = blk_in_flight,
	.attach = blk_attach,
	.detach = blk_detach,
};

static uint64_t blk_features(struct virtio_dev *d)
{
	const struct block *b = of_dev(d)->block;
	uint64_t f = VIRTIO_RING_FEATURES | 1ull << VIRTIO_BLK_F_SEG_MAX |
		     1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_TOPOLOGY |
		     1ull << VIRTIO_BLK_F_FLUSH;

	if (b->readonly)
		return f | 1ull << VIRTIO_BLK_F_RO;
	if (b->can_discard)
		f |= 1ull << VIRTIO_BLK_F_DISCARD;
	if (b->can_write_zeroes)
		f |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
	return f;
}

static int blk_accept(struct virtio_dev *d, uint64_t features)
{
	atomic_store(&of_dev(d)->features, features);
	return 0;
}

static void blk_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, (uint8_t *)&of_dev(d)->config + off, len);
}

static int blk_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	return queue_run_start(of_dev(d)->run, i, s);
}

static int blk_queue_stop(struct virtio_dev *d, unsigned i)
{
	return queue_run_stop(of_dev(d)->run, i);
}

static void blk_reset(struct virtio_dev *d)
{
	queue_run_reset(of_dev(d)->run);
}

/* No state of its own: requests are drained, the back-end's is the host's. The identity of the disk
 * is compared instead. */
static int blk_visit(struct virtio_dev *d, struct visitor *v)
{
	uint32_t version = 1;
	uint64_t size = of_dev(d)->block->size, features = atomic_load(&of_dev(d)->features);

	visit_begin(v, "blk", &version);
	visit_u64(v, "size", &size);
	visit_u64(v, "features", &features);
	if (size != of_dev(d)->block->size)
		visit_fail(v, -EINVAL);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD)
		atomic_store(&of_dev(d)->features, features);
	return visit_status(v);
}

static uint64_t average_us(const struct tally *t)
{
	uint64_t ops = count_get(&t->ops);

	return ops ? count_get(&t->total_us) / ops : 0;
}

static unsigned blk_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	const struct virtio_blk *b = of_dev(d);
	const struct dev_counter all[] = {
		{"read_bytes", count_get(&b->reads.bytes)},
		{"read_ops", count_get(&b->reads.ops)},
		{"read_latency_min", count_get(&b->reads.min_us)},
		{"read_latency_max", count_get(&b->reads.max_us)},
		{"read_latency_avg", average_us(&b->reads)},
		{"write_bytes", count_get(&b->writes.bytes)},
		{"write_ops", count_get(&b->writes.ops)},
		{"write_latency_min", count_get(&b->writes.min_us)},
		{"write_latency_max", count_get(&b->writes.max_us)},
		{"write_latency_avg", average_us(&b->writes)},
		{"flush_ops", count_get(&b->flushes.ops)},
		{"errors", count_get(&b->errors)},
	};

	return counters_copy(all, ARRAY_SIZE(all), ret, max);
}

static unsigned blk_achieved(struct virtio_dev *d, struct dev_achieved *ret, unsigned max)
{
	const struct block *b = of_dev(d)->block;
	const char *engine = b->engine;
	unsigned n = 0;

	achieved_add(ret, max, &n, "direct", "%s", b->direct ? "on" : "off");
	achieved_add(ret, max, &n, "engine", "%s", engine ? engine : "none yet");
	return n;
}

static void blk_free(struct virtio_dev *d)
{
	queue_run_free(of_dev(d)->run);
	free(d);
}

static const struct virtio_dev_ops blk_ops = {
	.features = blk_features,
	.accept = blk_accept,
	.config_read = blk_config_read,
	.queue_start = blk_queue_start,
	.queue_stop = blk_queue_stop,
	.reset = blk_reset,
	.visit = blk_visit,
	.counters = blk_counters,
	.achieved = blk_achieved,
	.free = blk_free,
};

/* §5.2.4 */
static void fill_config(struct virtio_blk *b, uint16_t queue_size)
{
	uint32_t per_block = b->block->block_size / SECTOR;

	b->config = (struct virtio_blk_config){
		.capacity = b->block->size / SECTOR,
		.seg_max = MIN(MAX(queue_size, 3) - 2, SEG_LIMIT),
		.blk_size = b->block->block_size,
		.min_io_size = 1,
		.wce = 1,
		.num_queues = 1,
		.max_discard_sectors = RANGE_LIMIT,
		.max_discard_seg = 1,
		.discard_sector_alignment = per_block,
		.max_write_zeroes_sectors = RANGE_LIMIT,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
}

int virtio_blk_new(struct dev_host *h, const char *id, struct block *block,
	const struct virtio_blk_opts *o, struct virtio_dev **ret_dev)
{
	uint16_t size = o->queue_size ? o->queue_size : 256;
	struct virtio_blk *b;
	const char *names[1];
	char name[48];
	int r;

	if (!is_pow2(size) || size < 2 || size > VIRTIO_QUEUE_MAX)
		return -EINVAL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->dev = (struct virtio_dev){.ops = &blk_ops,
		.type = VIRTIO_TYPE_BLOCK,
		.nqueues = 1,
		.queue_max = {size},
		.config_len = sizeof(b->config),
		.host = h};
	snprintf(b->dev.id, sizeof(b->dev.id), "%s", id);
	snprintf(name, sizeof(name), "%s_q0", b->dev.id);
	names[0] = name;
	b->block = block;
	b->in_order = o->in_order;
	memcpy(b->serial, o->serial, strnlen(o->serial, ID_BYTES));
	fill_config(b, size);
	r = queue_run_new(&b->dev, &blk_worker, (unsigned[]){0}, names, &b->run);
	if (r < 0) {
		free(b);
		return r;
	}
	*ret_dev = &b->dev;
	return 0;
}
