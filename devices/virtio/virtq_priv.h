/* SPDX-License-Identifier: Apache-2.0 */
/* Between virtq.c and the two kinds of ring: the kinds, and what both need. */
#ifndef DEVICES_VIRTIO_VIRTQ_PRIV_H
#define DEVICES_VIRTIO_VIRTQ_PRIV_H

#include <errno.h>
#include <string.h>
#include "devices/virtio/virtq.h"
#include "vmm/base/mem.h"

/* virtio 1.2 §2.7.5, §2.8.3 to §2.8.7 */
#define VIRTQ_DESC_NEXT	    1
#define VIRTQ_DESC_WRITE    2
#define VIRTQ_DESC_INDIRECT 4

/* As guest_mem_ptr. Buffers mostly lie where the last one lay: q->near is a region that no other
 * takes the place of while the ring runs. */
void *virtq_find(struct virtq *q, uint64_t gpa, uint32_t len);
static inline void *virtq_ptr(struct virtq *q, uint64_t gpa, uint32_t len)
{
	const struct mem_region *r = q->near;
	uint64_t off = gpa - r->gpa; /* wraps when below */

	if (__builtin_expect(off < r->size && len <= r->size - off && len, 1))
		return r->host + off;
	return virtq_find(q, gpa, len);
}

/* Appends a buffer to c after its checks: it lies in memory, readable ones come first, the lengths
 * do not overflow. Negative: the driver's fault. */
static inline int virtq_add_buffer(
	struct virtq *q, uint64_t addr, uint32_t len, uint16_t flags, struct virtq_chain *c)
{
	unsigned n = c->nout + c->nin;
	void *host = virtq_ptr(q, addr, len);

	if (n == VIRTQ_CHAIN_MAX || !host)
		return -EFAULT;
	c->iov[n] = (struct iovec){host, len};
	if (flags & VIRTQ_DESC_WRITE) {
		c->nin++;
		return __builtin_add_overflow(c->in_len, len, &c->in_len) ? -EOVERFLOW : 0;
	}
	if (c->nin) /* §2.7.4.2, §2.8.17: readable ones come first */
		return -EPROTO;
	c->nout++;
	return __builtin_add_overflow(c->out_len, len, &c->out_len) ? -EOVERFLOW : 0;
}

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

/* The same into its address and the rest, which stay in registers. */
static inline void virtq_load_halves(
	const uint8_t *table, unsigned i, uint64_t *ret_addr, uint64_t *ret_rest)
{
	memcpy(ret_addr, table + 16 * (size_t)i, 8);
	memcpy(ret_rest, table + 16 * (size_t)i + 8, 8);
	atomic_signal_fence(memory_order_seq_cst);
}

/* A descriptor of a packed ring, §2.8.13. */
struct virtq_packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};
static inline void virtq_forward(const struct virtq *q, struct virtq_place *p, unsigned n)
{
	unsigned to = p->slot + n;

	p->wrap ^= to >= q->size;
	p->slot = to >= q->size ? to - q->size : to;
}

/* The slot there is the driver's offer, not yet taken in that lap (§2.8.1). Acquires. */
bool virtq_packed_is_available(const struct virtq *q, struct virtq_place p);
/* In the slots from `used` to `avail`. */
void virtq_packed_unmark_used(struct virtq *q);

/* virtq_inflight.c, the areas of vhost-user's "Inflight I/O tracking". Each is called only with an
 * area. init takes over what is in it, or makes a new one, when the ring's position is known. */
int virtq_split_keep_init(struct virtq *q);
void virtq_split_keep(struct virtq *q, uint16_t head);	 /* popped */
void virtq_split_unkeep(struct virtq *q, uint16_t head); /* put back */
void virtq_split_kept_push(struct virtq *q, uint16_t head);
void virtq_split_kept_publish(struct virtq *q, unsigned n); /* n are visible now */
int virtq_packed_keep_init(struct virtq *q);
/* The next descriptor of the chain being popped, its `first` begins one. -EPROTO: no room. */
int virtq_packed_keep_desc(struct virtq *q, bool first, struct virtq_packed_desc d);
void virtq_packed_keep(struct virtq *q, uint16_t id, unsigned ndesc); /* the chain was popped */
void virtq_packed_unkeep(struct virtq *q, uint16_t id);
void virtq_packed_kept_push(struct virtq *q, uint16_t id);
/* Around the store that makes a batch visible; the ring's `used` stands behind it already. */
void virtq_packed_kept_publish(struct virtq *q);
void virtq_packed_kept_published(struct virtq *q);
/* Descriptor i of id's chain, as the area has it. */
void virtq_packed_kept_desc(
	const struct virtq *q, uint16_t id, unsigned i, struct virtq_packed_desc *ret_desc);

/* As in virtq.h, for a ring of each kind. init finds q->mem and q->size set and checked; pop finds
 * c empty and the ring not broken, and need not set broken itself; push is what is left when the
 * buffers have been marked dirty. */
int virtq_split_init(struct virtq *q, const struct virtq_setup *s);
void virtq_split_pos(const struct virtq *q, struct virtq_pos *ret_pos);
int virtq_split_pop(struct virtq *q, struct virtq_chain *c);
int virtq_split_redo(struct virtq *q, struct virtq_chain *c); /* pops c->head again */
void virtq_split_push(struct virtq *q, uint16_t head, uint32_t written);
void virtq_split_unpop(struct virtq *q, unsigned n);
bool virtq_split_publish(struct virtq *q);
bool virtq_split_pending(const struct virtq *q);
bool virtq_split_enable_kick(struct virtq *q);
void virtq_split_disable_kick(struct virtq *q);

int virtq_packed_init(struct virtq *q, const struct virtq_setup *s);
void virtq_packed_pos(const struct virtq *q, struct virtq_pos *ret_pos);
int virtq_packed_pop(struct virtq *q, struct virtq_chain *c);
int virtq_packed_redo(struct virtq *q, struct virtq_chain *c);
void virtq_packed_push(struct virtq *q, uint16_t id, uint32_t written);
void virtq_packed_unpop(struct virtq *q, unsigned n);
bool virtq_packed_publish(struct virtq *q);
bool virtq_packed_pending(const struct virtq *q);
bool virtq_packed_enable_kick(struct virtq *q);
void virtq_packed_disable_kick(struct virtq *q);

#endif
