/* SPDX-License-Identifier: Apache-2.0 */
/* The device's side of a ring, split (virtio 1.2 §2.7) or packed (§2.8) as negotiated, with one
 * face. Owned by one worker while started. Guest memory is read once: a descriptor is copied,
 * checked and only the copy is believed. Marks every device-writable byte it completes, and its own
 * ring writes, dirty. */
#ifndef DEVICES_VIRTIO_VIRTQ_H
#define DEVICES_VIRTIO_VIRTQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "devices/virtio/virtio.h"

#define VIRTQ_CHAIN_MAX 256 /* buffers in a chain; longer ones break the ring */

/* A chain: driver-readable buffers first, then device-writable ones (§2.7.4.2). Pointers are into
 * guest memory and live until the push. */
struct virtq_chain {
	uint16_t head;			   /* the first descriptor's index; packed: the buffer id */
	uint16_t nout, nin;		   /* readable, writable buffers */
	uint32_t out_len, in_len;	   /* bytes, checked not to overflow */
	struct iovec iov[VIRTQ_CHAIN_MAX]; /* nout readable, then nin writable */
};

/* Indices run freely modulo 2^16. */
struct virtq_split {
	uint64_t used_gpa, used_log;
	uint8_t *desc, *avail, *used;
	uint16_t avail_idx; /* next entry of the available ring to pop */
	uint16_t seen;	    /* the driver's index as we last looked: so far entries are there */
	uint16_t used_idx;  /* next used entry to write */
	uint16_t published; /* used index that the driver has been told */
};

/* A place in a packed ring: a slot, and the wrap counter of the lap (§2.8.1). */
struct virtq_place {
	uint16_t slot;
	bool wrap;
};

struct virtq_packed {
	uint64_t ring_gpa, device_gpa;
	uint8_t *ring;
	uint32_t *driver, *device;	  /* event suppression */
	struct virtq_place avail;	  /* next descriptor to pop */
	struct virtq_place used;	  /* where the next used descriptor goes */
	struct virtq_place told;	  /* the same, as the driver knows it */
	uint16_t pending;		  /* slots from told to used */
	uint16_t first_flags;		  /* of the used descriptor at told, held back */
	uint16_t in_flight;		  /* descriptors popped and not pushed */
	uint16_t order_at;		  /* next entry of order */
	uint16_t ndesc[VIRTIO_QUEUE_MAX]; /* by buffer id; 0: the id is not in flight */
	uint16_t order[VIRTIO_QUEUE_MAX]; /* ids in the order popped, a ring of the size */
};

/* The chains that were popped and not yet published, as they stand in memory that outlives the
 * process: virtq_inflight.c. What is written there is never read back while the ring runs. */
struct virtq_inflight {
	void *area;	  /* NULL: not kept, and the rest means nothing */
	uint64_t counter; /* tells the order of pops */
	uint64_t popped;  /* chains taken from the ring since the start */
	uint16_t nredo, redone;
	uint16_t batch_head; /* split: the chain pushed last */
	uint16_t free_head;  /* packed: entries that hold no descriptor, linked by next */
	uint16_t at;	/* packed: the entry for the next descriptor of the chain being popped */
	uint16_t ndone; /* packed: chains pushed and not yet published */
	uint16_t redo[VIRTIO_QUEUE_MAX]; /* heads or ids of a predecessor's, in their old order */
	uint16_t next[VIRTIO_QUEUE_MAX];
	struct {
		uint16_t first, last; /* entries */
	} of_id[VIRTIO_QUEUE_MAX], done[VIRTIO_QUEUE_MAX];
};

struct virtq {
	struct guest_mem *mem;
	const struct mem_region *near; /* where the last buffer lay */
	uint16_t size;
	bool is_packed, event_idx, indirect, broken;
	struct virtio_signal signal;
	union {
		struct virtq_split split;
		struct virtq_packed packed;
	};
	struct virtq_inflight kept;
};

/* Checks addresses, alignment, size (§2.7: a power of two; §2.8.10.1: packed, any) and, for packed
 * rings, the position. Sizes up to VIRTIO_QUEUE_MAX. With an in-flight area (s->inflight) that a
 * predecessor used, goes on where that one was killed: the position is the area's, and the chains
 * that it had not published are popped again first. Returns 0, -EINVAL (the area, too: it is of
 * another version, too short or contradicts itself) or -EFAULT. */
int virtq_init(struct virtq *q, struct guest_mem *mem, const struct virtq_setup *s);
void virtq_pos_get(const struct virtq *q, struct virtq_pos *ret_pos);

/* 1: a chain; 0: empty; negative: the driver broke the ring (loop, bad address, bad order, index
 * jump, id that is out of range or in flight): the queue stays broken until it is set up again. */
int virtq_pop(struct virtq *q, struct virtq_chain *ret_chain);
/* Chains that a killed predecessor had popped and that virtq_pop has not yet given again. */
static inline unsigned virtq_to_redo(const struct virtq *q)
{
	return q->kept.area ? q->kept.nredo - q->kept.redone : 0u;
}
/* Writes the used element of a chain, of which the caller kept the head and the writable buffers;
 * the driver does not see it before virtq_publish. `written` bytes went to those buffers. */
void virtq_push_parts(
	struct virtq *q, uint16_t head, const struct iovec *in, unsigned nin, uint32_t written);
static inline void virtq_push(struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
	virtq_push_parts(q, c->head, c->iov + c->nout, c->nin, written);
}
/* Puts back the last n chains popped, which must not have been pushed. */
void virtq_unpop(struct virtq *q, unsigned n);
/* Publishes what was pushed, all at once; true: the driver wants an interrupt (§2.7.7, §2.7.10,
 * §2.8.10). */
bool virtq_publish(struct virtq *q);
/* virtq_publish and, if wanted, the interrupt. */
void virtq_flush(struct virtq *q);

/* Would virtq_pop return anything but 0? One load, for a worker that polls. */
bool virtq_pending(const struct virtq *q);
/* Ask for kicks, or not (§2.7.10). After enabling, returns true when chains arrived meanwhile and
 * the caller must look again. */
bool virtq_enable_kick(struct virtq *q);
void virtq_disable_kick(struct virtq *q);

/* Bytes of the in-flight area of a ring of that size, and of one kind; it is aligned to 8. */
uint64_t virtq_inflight_bytes(bool packed, uint16_t size);
/* Has a ring run with it, and not been forgotten? */
bool virtq_inflight_used(const void *area);
/* No chain is marked in it. */
bool virtq_inflight_empty(const void *area, bool packed, uint16_t size);
/* Nothing is in flight, and the position is kept elsewhere: whoever takes the area next begins
 * anew. */
void virtq_inflight_forget(void *area);

/* Copies between a chain's readable or writable part at byte `off` and a buffer. Returns the bytes
 * copied, short at the end of the chain. */
size_t virtq_chain_read(const struct virtq_chain *c, size_t off, void *buf, size_t len);
size_t virtq_chain_write(const struct virtq_chain *c, size_t off, const void *buf, size_t len);

#endif
