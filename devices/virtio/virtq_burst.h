/* SPDX-License-Identifier: Apache-2.0 */
/* The short way for what a network driver mostly sends: chains of one readable buffer, many at a
 * time. Anything else (longer chains, indirect tables, a ring that keeps what is in flight, a
 * driver's mistake) is left where it is, for virtq_pop() to take and judge. */
#ifndef DEVICES_VIRTIO_VIRTQ_BURST_H
#define DEVICES_VIRTIO_VIRTQ_BURST_H

#include "devices/virtio/virtq.h"

#define VIRTQ_BURST 64

struct virtq_buf {
	uint8_t *host; /* in guest memory; its first bytes are on their way into the cache */
	uint32_t len;
	uint16_t head; /* as in struct virtq_chain */
};

/* Pops up to max (at most VIRTQ_BURST) chains from the front of the ring, each one readable buffer
 * that lies in memory. 0: there is none, or one of another kind is next. */
unsigned virtq_pop_burst(struct virtq *q, struct virtq_buf *ret, unsigned max);
/* Writes the used elements of n such chains, in the order popped. The rest may be put back by
 * virtq_unpop(). */
void virtq_push_burst(struct virtq *q, const struct virtq_buf *b, unsigned n);

#endif
