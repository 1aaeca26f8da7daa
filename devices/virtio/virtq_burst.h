/* SPDX-License-Identifier: Apache-2.0 */
/* The short way for what a network driver mostly sends: chains of one readable buffer, many at a
 * time. Anything else (longer chains, indirect tables, what a killed predecessor had popped, a
 * driver's mistake) is left where it is, for virtq_pop() to take and judge. */
#ifndef DEVICES_VIRTIO_VIRTQ_BURST_H
#define DEVICES_VIRTIO_VIRTQ_BURST_H

#include "devices/virtio/virtq.h"

#define VIRTQ_BURST 64

struct virtq_burst {
	struct iovec buf[VIRTQ_BURST]; /* in guest memory; the caller may change them */
	uint16_t head[VIRTQ_BURST];    /* as in struct virtq_chain */
};

/* Pops up to max (at most VIRTQ_BURST) chains from the front of the ring, each one readable buffer
 * that lies whole in memory and whose first bytes are on their way into the cache. 0: there is
 * none, or one of another kind is next. */
unsigned virtq_pop_burst(struct virtq *q, struct virtq_burst *ret, unsigned max);
/* Completes the first n of them; the others may be put back by virtq_unpop(). in_order: that was
 * negotiated, so that the last one's used element stands for all (virtio 1.2 §2.7.9, §2.8.9). */
void virtq_push_burst(struct virtq *q, const struct virtq_burst *b, unsigned n, bool in_order);

#endif
