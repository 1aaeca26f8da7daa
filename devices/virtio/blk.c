/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-blk (virtio 1.2 §5.2) as its driver and its owner see it: features, config space, figures.
 * Each queue has a worker and a lane to the disk of its own and shares nothing with the others
 * (blk_queue.c). A flush needs nothing from them either: what it makes durable is all that the disk
 * has been given, through whichever queue, and a driver that wants a write to be among that waits
 * for its end first (§5.2.6.2). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "devices/virtio/blk_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define SEG_LIMIT 254 /* data buffers in a chain of VIRTQ_CHAIN_MAX */
#define NAME_LEN  48

static uint64_t blk_features(struct virtio_dev *d)
{
	const struct block *b = blk_of_dev(d)->block;
	uint64_t f = VIRTIO_RING_FEATURES | 1ull << VIRTIO_BLK_F_SEG_MAX |
		     1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_TOPOLOGY |
		     1ull << VIRTIO_BLK_F_FLUSH;

	if (blk_of_dev(d)->in_order)
		f |= VIRTIO_BIT_IN_ORDER; /* §2.7.9, §2.8.8 */
	if (d->nqueues > 1)
		f |= 1ull << VIRTIO_BLK_F_MQ;
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
	atomic_store(&blk_of_dev(d)->features, features);
	return 0;
}

static void blk_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_blk_config c = blk_of_dev(d)->config;

	c.capacity = atomic_load(&blk_of_dev(d)->capacity);
	memcpy(buf, (uint8_t *)&c + off, len);
}

void virtio_blk_resize(struct virtio_dev *d, uint64_t size)
{
	atomic_store(&blk_of_dev(d)->capacity, size / BLK_SECTOR);
	if (d->events)
		d->events->config_changed(d->transport);
}

static int blk_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	return queue_run_start(blk_of_dev(d)->run, i, s);
}

static int blk_queue_stop(struct virtio_dev *d, unsigned i)
{
	return queue_run_stop(blk_of_dev(d)->run, i);
}

static void blk_reset(struct virtio_dev *d)
{
	queue_run_reset(blk_of_dev(d)->run);
}

/* No state of its own: requests are drained, the back-end's is the host's. The identity of the disk
 * is compared instead. */
static int blk_visit(struct virtio_dev *d, struct visitor *v)
{
	struct virtio_blk *b = blk_of_dev(d);
	uint32_t version = 1;
	uint64_t size = b->block->size, features = atomic_load(&b->features);

	visit_begin(v, "blk", &version);
	visit_u64(v, "size", &size);
	visit_u64(v, "features", &features);
	if (size != b->block->size)
		visit_fail(v, -EINVAL);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD)
		atomic_store(&b->features, features);
	return visit_status(v);
}

/* ---- figures ---- */

static const struct queue_stats *blk_stats(struct virtio_dev *d, unsigned i)
{
	return blk_of_dev(d)->queue[i].stats;
}

static uint64_t blk_cpu_ns(struct virtio_dev *d, unsigned i)
{
	return queue_run_cpu_ns(blk_of_dev(d)->run, i);
}

/* What all queues did. */
static struct blk_tally sum(const struct virtio_blk *b, enum blk_kind kind)
{
	struct blk_tally s = {0};

	for (unsigned i = 0; i < b->dev.nqueues; i++) {
		const struct blk_tally *t = &b->queue[i].tally[kind];
		uint64_t ops = count_get(&t->ops), min = count_get(&t->min_us);

		if (!ops)
			continue;
		count_set(&s.min_us, count_get(&s.ops) ? MIN(count_get(&s.min_us), min) : min);
		count_set(&s.max_us, MAX(count_get(&s.max_us), count_get(&t->max_us)));
		count_add(&s.total_us, count_get(&t->total_us));
		count_add(&s.bytes, count_get(&t->bytes));
		count_add(&s.ops, ops);
	}
	return s;
}

static uint64_t average_us(const struct blk_tally *t)
{
	return t->ops ? t->total_us / t->ops : 0;
}

static uint64_t errors(const struct virtio_blk *b)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < b->dev.nqueues; i++)
		n += count_get(&b->queue[i].stats->errors);
	return n;
}

static unsigned blk_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	const struct virtio_blk *b = blk_of_dev(d);
	const struct blk_tally r = sum(b, BLK_KIND_READ), w = sum(b, BLK_KIND_WRITE),
			       f = sum(b, BLK_KIND_FLUSH);
	const struct dev_counter all[] = {
		{"read_bytes", r.bytes},
		{"read_ops", r.ops},
		{"read_latency_min", r.min_us},
		{"read_latency_max", r.max_us},
		{"read_latency_avg", average_us(&r)},
		{"write_bytes", w.bytes},
		{"write_ops", w.ops},
		{"write_latency_min", w.min_us},
		{"write_latency_max", w.max_us},
		{"write_latency_avg", average_us(&w)},
		{"flush_ops", f.ops},
		{"errors", errors(b)},
	};

	return counters_copy(all, ARRAY_SIZE(all), ret, max);
}

static unsigned blk_achieved(struct virtio_dev *d, struct dev_achieved *ret, unsigned max)
{
	const struct block *b = blk_of_dev(d)->block;
	const char *engine = b->engine;
	unsigned n = 0;

	achieved_add(ret, max, &n, "direct", "%s", b->direct ? "on" : "off");
	achieved_add(ret, max, &n, "engine", "%s", engine ? engine : "none yet");
	return n;
}

static void blk_free(struct virtio_dev *d)
{
	queue_run_free(blk_of_dev(d)->run);
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
	.stats = blk_stats,
	.cpu_ns = blk_cpu_ns,
	.free = blk_free,
};

/* ---- making one ---- */

/* §5.2.4 */
static void fill_config(struct virtio_blk *b, uint16_t queue_size)
{
	uint32_t per_block = b->block->block_size / BLK_SECTOR;

	b->capacity = b->block->size / BLK_SECTOR;
	b->config = (struct virtio_blk_config){
		.seg_max = MIN(MAX(queue_size, 3) - 2, SEG_LIMIT),
		.blk_size = b->block->block_size,
		.min_io_size = 1,
		.wce = 1,
		.num_queues = b->dev.nqueues,
		.max_discard_sectors = BLK_RANGE_LIMIT,
		.max_discard_seg = 1,
		.discard_sector_alignment = per_block,
		.max_write_zeroes_sectors = BLK_RANGE_LIMIT,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
}

/* One worker a queue: "_disk0_q0" and so on. */
static int make_workers(struct virtio_blk *b)
{
	unsigned thread_of[VIRTIO_QUEUES];
	const char *names[VIRTIO_QUEUES];
	char name[VIRTIO_QUEUES][NAME_LEN];
	int r;

	for (unsigned i = 0; i < b->dev.nqueues; i++) {
		snprintf(name[i], NAME_LEN, "%s_q%u", b->dev.id, i);
		names[i] = name[i];
		thread_of[i] = i;
	}
	r = queue_run_new(&b->dev, &blk_worker, thread_of, names, &b->run);
	for (unsigned i = 0; r == 0 && i < b->dev.nqueues; i++) {
		b->queue[i].blk = b;
		b->queue[i].i = i;
		b->queue[i].stats = queue_run_stats(b->run, i);
	}
	return r;
}

int virtio_blk_new(struct dev_host *h, const char *id, struct block *block,
	const struct virtio_blk_opts *o, struct virtio_dev **ret_dev)
{
	uint16_t size = o->queue_size ? o->queue_size : 256;
	unsigned n = o->queues ? o->queues : 1;
	struct virtio_blk *b;
	int r;

	if (!is_pow2(size) || size < 2 || size > VIRTIO_QUEUE_MAX || n >= VIRTIO_QUEUES)
		return -EINVAL;
	b = calloc(1, sizeof(*b) + n * sizeof(b->queue[0]));
	if (!b)
		return -ENOMEM;
	b->dev = (struct virtio_dev){.ops = &blk_ops,
		.type = VIRTIO_TYPE_BLOCK,
		.nqueues = n,
		.config_len = sizeof(b->config),
		.poll = o->poll,
		.host = h};
	for (unsigned i = 0; i < n; i++)
		b->dev.queue_max[i] = size;
	snprintf(b->dev.id, sizeof(b->dev.id), "%s", id);
	b->block = block;
	b->in_order = o->in_order;
	memcpy(b->serial, o->serial, strnlen(o->serial, BLK_ID_BYTES));
	fill_config(b, size);
	r = make_workers(b);
	if (r < 0) {
		free(b);
		return r;
	}
	*ret_dev = &b->dev;
	return 0;
}
