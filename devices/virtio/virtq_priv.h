/* SPDX-License-Identifier: Apache-2.0 */
/* Between virtq.c and the two kinds of ring: the kinds, and what both need. */
#ifndef DEVICES_VIRTIO_VIRTQ_PRIV_H
#define DEVICES_VIRTIO_VIRTQ_PRIV_H

#include <string.h>
#include "devices/virtio/virtq.h"

/* virtio 1.2 §2.7.5, §2.8.3 to §2.8.7 */
#define VIRTQ_DESC_NEXT	    1
#define VIRTQ_DESC_WRITE    2
#define VIRTQ_DESC_INDIRECT 4

/* Appends a buffer to c after its checks: it lies in memory, readable ones come first, the lengths
 * do not overflow. Negative: the driver's fault. */
int virtq_add_buffer(
	struct virtq *q, uint64_t addr, uint32_t len, uint16_t flags, struct virtq_chain *c);
/* The table of an indirect descriptor, whole in memory; *ret_n descriptors long. */
int virtq_indirect_table(
	struct virtq *q, uint64_t addr, uint32_t len, const uint8_t **ret_table, unsigned *ret_n);
/* Copies a descriptor of 16 bytes. The barrier keeps the compiler from looking at the guest's own
 * again. */
static inline void virtq_load_desc(const uint8_t *table, unsigned i, void *ret_desc)
{
	memcpy(ret_desc, table + 16 * (size_t)i, 16);
	atomic_signal_fence(memory_order_seq_cst);
}

/* As in virtq.h, for a ring of each kind. init finds q->mem and q->size set and checked; pop finds
 * c empty and the ring not broken, and need not set broken itself; push is what is left when the
 * buffers have been marked dirty. */
int virtq_split_init(struct virtq *q, const struct virtq_setup *s);
void virtq_split_pos(const struct virtq *q, struct virtq_pos *ret_pos);
int virtq_split_pop(struct virtq *q, struct virtq_chain *c);
void virtq_split_push(struct virtq *q, uint16_t head, uint32_t written);
void virtq_split_unpop(struct virtq *q, unsigned n);
bool virtq_split_publish(struct virtq *q);
bool virtq_split_pending(const struct virtq *q);
bool virtq_split_enable_kick(struct virtq *q);
void virtq_split_disable_kick(struct virtq *q);

int virtq_packed_init(struct virtq *q, const struct virtq_setup *s);
void virtq_packed_pos(const struct virtq *q, struct virtq_pos *ret_pos);
int virtq_packed_pop(struct virtq *q, struct virtq_chain *c);
void virtq_packed_push(struct virtq *q, uint16_t id, uint32_t written);
void virtq_packed_unpop(struct virtq *q, unsigned n);
bool virtq_packed_publish(struct virtq *q);
bool virtq_packed_pending(const struct virtq *q);
bool virtq_packed_enable_kick(struct virtq *q);
void virtq_packed_disable_kick(struct virtq *q);

#endif
