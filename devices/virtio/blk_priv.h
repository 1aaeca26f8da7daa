/* SPDX-License-Identifier: Apache-2.0 */
/* Between blk.c, the device as its driver and its owner see it, and blk_queue.c, what happens to
 * requests. Each queue has a worker, a lane to the disk and figures of its own. */
#ifndef DEVICES_VIRTIO_BLK_PRIV_H
#define DEVICES_VIRTIO_BLK_PRIV_H

#include <linux/virtio_blk.h>
#include "devices/backend/block.h"
#include "devices/count.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/queue_run.h"

#define BLK_SECTOR	512
#define BLK_RANGE_LIMIT (1u << 22) /* sectors (2 GiB) a discard or write-zeroes may cover */
#define BLK_ID_BYTES	20
#define BLK_IOV_FEW	6 /* buffers of an ordinary request: header, up to four of data, status */

struct virtio_blk;
struct blk_queue;

/* Of one kind of request that succeeded; times are from the pop to the answer. */
struct blk_tally {
	dev_count ops, bytes, total_us, min_us, max_us;
};

enum blk_kind { BLK_KIND_READ, BLK_KIND_WRITE, BLK_KIND_FLUSH, BLK_KIND_OTHER, BLK_KINDS };

struct blk_req {
	struct block_req b; /* first */
	struct blk_queue *q;
	uint8_t *status;       /* in guest memory */
	struct iovec *trimmed; /* the buffer that lent its last byte to the status, or NULL */
	uint32_t data_in;      /* bytes that a success writes before the status */
	uint32_t written;
	uint8_t kind;	  /* enum blk_kind */
	bool flush_after; /* a write without a write cache, §5.2.6.2 */
	bool finished, failed;
	struct list link; /* in_order: in q->order */
	uint64_t start_ns;

	/* The chain: nout readable buffers, then nin writable ones. */
	uint16_t head, nout, nin;
	struct iovec *iov;  /* few or many */
	struct iovec *many; /* VIRTQ_CHAIN_MAX, made when first needed */
	struct iovec few[BLK_IOV_FEW];
};

struct blk_queue {
	struct virtio_blk *blk;
	unsigned i;
	struct queue_stats *stats;
	struct blk_tally tally[BLK_KINDS];

	/* The worker's. */
	struct virtq *q;
	struct block_lane *lane;
	bool in_order;	   /* requests are answered in the order they were popped */
	struct list order; /* in_order: what was popped and not yet pushed, the oldest first */
	struct blk_req *pool;
	uint16_t *free; /* stack of pool indices: last in, first out, so that few are touched */
	unsigned pool_size, nfree;
	uint64_t popped_ns;	  /* when this batch was begun */
	uint64_t done_ns;	  /* when the first of this batch was answered; 0: none was yet */
	bool processing;	  /* the driver is interrupted at the end of it, if at all */
	bool starved;		  /* stopped popping for want of a free request */
	struct virtq_chain chain; /* the one being looked at */
};

struct virtio_blk {
	struct virtio_dev dev; /* first */
	struct queue_run *run;
	struct block *block; /* borrowed */
	char serial[BLK_ID_BYTES];
	struct virtio_blk_config config; /* all but the capacity */
	_Atomic uint64_t capacity;	 /* sectors, as the driver is told */
	_Atomic uint64_t features;	 /* accepted */
	bool in_order;			 /* as asked for */
	struct blk_queue queue[];
};

static inline struct virtio_blk *blk_of_dev(struct virtio_dev *d)
{
	return (struct virtio_blk *)d;
}

static inline bool blk_has(const struct virtio_blk *b, uint64_t feature)
{
	return atomic_load_explicit(&b->features, memory_order_relaxed) & feature;
}

extern const struct queue_worker_ops blk_worker;

#endif
