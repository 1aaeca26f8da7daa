/* SPDX-License-Identifier: Apache-2.0 */
/* The same steps as in virtq_split.c and virtq_packed.c, in a loop without calls. */
#include "devices/virtio/virtq_burst.h"

#include "devices/virtio/virtq_priv.h"
#include "vmm/base/num.h"

struct split_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct split_avail {
	uint16_t flags, idx, ring[];
};

struct split_used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[];
};

#define OTHER_KINDS (VIRTQ_DESC_NEXT | VIRTQ_DESC_WRITE | VIRTQ_DESC_INDIRECT)

#define PACKED_AVAIL (1 << 7)
#define PACKED_USED  (1 << 15)

/* Buffers lie mostly in the region of the one before. */
static void *look_elsewhere(
	const struct guest_mem *m, const struct mem_region **last, uint64_t addr, uint32_t len)
{
	unsigned n = __atomic_load_n(&m->n, __ATOMIC_ACQUIRE); /* regions may be added */

	for (unsigned i = 0; i < n; i++)
		if (addr - m->region[i].gpa < m->region[i].size)
			*last = &m->region[i];
	return guest_mem_ptr(m, addr, len);
}

/* Takes a descriptor if it is a whole chain and lies in memory. */
static inline bool take(const struct virtq *q, const struct mem_region **last, uint64_t addr,
	uint32_t len, uint16_t flags, struct iovec *ret)
{
	const struct mem_region *r = *last;
	uint64_t off = addr - r->gpa;

	if (flags & OTHER_KINDS)
		return false;
	ret->iov_len = len;
	if (len && off < r->size && len <= r->size - off)
		ret->iov_base = r->host + off;
	else
		ret->iov_base = look_elsewhere(q->mem, last, addr, len);
	__builtin_prefetch(ret->iov_base);
	return ret->iov_base;
}

static unsigned pop_split(struct virtq *q, struct virtq_burst *ret, unsigned max)
{
	const struct mem_region *last = &q->mem->region[0];
	struct virtq_split *v = &q->split;
	const struct split_avail *a = (const struct split_avail *)v->avail;
	uint16_t mask = q->size - 1;
	uint16_t seen = __atomic_load_n(&a->idx, __ATOMIC_ACQUIRE), ahead = seen - v->avail_idx;
	unsigned n;

	if (ahead > q->size)
		return 0;
	max = MIN(max, (unsigned)ahead);
	for (n = 0; n < max; n++) {
		uint16_t head =
			__atomic_load_n(&a->ring[(v->avail_idx + n) & mask], __ATOMIC_RELAXED);
		struct split_desc d;

		if (head >= q->size)
			break;
		virtq_load_desc(v->desc, head, &d);
		if (!take(q, &last, d.addr, d.len, d.flags, &ret->buf[n]))
			break;
		ret->head[n] = head;
	}
	v->avail_idx += n;
	v->seen = seen;
	return n;
}

static inline uint16_t as_available(bool wrap)
{
	return wrap ? PACKED_AVAIL : PACKED_USED;
}

static unsigned pop_packed(struct virtq *q, struct virtq_burst *ret, unsigned max)
{
	const struct mem_region *last = &q->mem->region[0];
	struct virtq_packed *v = &q->packed;
	const struct virtq_packed_desc *ring = (const struct virtq_packed_desc *)v->ring;
	struct virtq_place at = v->avail;
	uint16_t order_at = v->order_at;
	unsigned n;

	max = MIN(max, (unsigned)(q->size - v->in_flight));
	for (n = 0; n < max; n++) {
		uint16_t flags = __atomic_load_n(&ring[at.slot].flags, __ATOMIC_ACQUIRE);
		struct virtq_packed_desc d;

		if ((flags & (PACKED_AVAIL | PACKED_USED)) != as_available(at.wrap))
			break;
		virtq_load_desc(v->ring, at.slot, &d);
		if (d.id >= q->size || v->ndesc[d.id])
			break;
		if (!take(q, &last, d.addr, d.len, flags, &ret->buf[n]))
			break;
		ret->head[n] = v->order[order_at] = d.id;
		v->ndesc[d.id] = 1;
		order_at = order_at + 1 == q->size ? 0 : order_at + 1;
		virtq_forward(q, &at, 1);
	}
	v->avail = at;
	v->order_at = order_at;
	v->in_flight += n;
	return n;
}

unsigned virtq_pop_burst(struct virtq *q, struct virtq_burst *ret, unsigned max)
{
	if (q->broken || q->kept.area)
		return 0;
	return q->is_packed ? pop_packed(q, ret, max) : pop_split(q, ret, max);
}

static void push_split(struct virtq *q, const uint16_t *head, unsigned n, bool in_order)
{
	struct virtq_split *v = &q->split;
	struct split_used *u = (struct split_used *)v->used;
	uint16_t mask = q->size - 1;
	unsigned entries = in_order ? 1 : n;

	if (in_order)
		head += n - 1;
	for (unsigned i = 0; i < entries; i++) {
		unsigned at = (v->used_idx + i) & mask;

		__atomic_store_n(&u->ring[at].id, head[i], __ATOMIC_RELAXED);
		__atomic_store_n(&u->ring[at].len, 0, __ATOMIC_RELAXED);
	}
	v->used_idx += n;
}

/* One used descriptor that stands for `slots` slots. */
static inline void write_used(struct virtq *q, uint16_t id, unsigned slots)
{
	struct virtq_packed *v = &q->packed;
	struct virtq_packed_desc *d = (struct virtq_packed_desc *)v->ring + v->used.slot;
	uint16_t flags = v->used.wrap ? PACKED_AVAIL | PACKED_USED : 0;

	__atomic_store_n(&d->len, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&d->id, id, __ATOMIC_RELAXED);
	if (v->pending)
		__atomic_store_n(&d->flags, flags, __ATOMIC_RELAXED);
	else
		v->first_flags = flags; /* the batch becomes visible with these */
	v->pending += slots;
	virtq_forward(q, &v->used, slots);
}

static void push_packed(struct virtq *q, const uint16_t *head, unsigned n, bool in_order)
{
	for (unsigned i = 0; i < n; i++)
		q->packed.ndesc[head[i]] = 0;
	q->packed.in_flight -= n;
	if (in_order)
		write_used(q, head[n - 1], n);
	for (unsigned i = 0; i < n && !in_order; i++)
		write_used(q, head[i], 1);
}

void virtq_push_burst(struct virtq *q, const struct virtq_burst *b, unsigned n, bool in_order)
{
	if (n == 0)
		return;
	if (q->is_packed)
		push_packed(q, b->head, n, in_order);
	else
		push_split(q, b->head, n, in_order);
}
