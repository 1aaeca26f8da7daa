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

/* Buffers lie mostly where the one before lay. NULL: not whole in a region. */
static uint8_t *host_of(
	const struct guest_mem *m, const struct mem_region **last, uint64_t addr, uint32_t len)
{
	const struct mem_region *r = *last;
	unsigned n;

	if (len && addr - r->gpa < r->size && len <= r->size - (addr - r->gpa))
		return r->host + (addr - r->gpa);
	n = __atomic_load_n(&m->n, __ATOMIC_ACQUIRE);
	for (unsigned i = 0; i < n; i++)
		if (addr - m->region[i].gpa < m->region[i].size)
			*last = &m->region[i];
	return guest_mem_ptr(m, addr, len);
}

/* Takes d if it is a whole chain and lies in memory. */
static bool take(const struct virtq *q, const struct mem_region **last, uint64_t addr, uint32_t len,
	uint16_t flags, struct virtq_buf *ret)
{
	if (flags & OTHER_KINDS)
		return false;
	ret->host = host_of(q->mem, last, addr, len);
	ret->len = len;
	if (!ret->host)
		return false;
	__builtin_prefetch(ret->host);
	return true;
}

static unsigned pop_split(struct virtq *q, struct virtq_buf *ret, unsigned max)
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
		struct split_desc d;

		ret[n].head =
			__atomic_load_n(&a->ring[(v->avail_idx + n) & mask], __ATOMIC_RELAXED);
		if (ret[n].head >= q->size)
			break;
		virtq_load_desc(v->desc, ret[n].head, &d);
		if (!take(q, &last, d.addr, d.len, d.flags, &ret[n]))
			break;
	}
	v->avail_idx += n;
	v->seen = seen;
	return n;
}

static bool available(uint16_t flags, bool wrap)
{
	return !!(flags & PACKED_AVAIL) == wrap && !!(flags & PACKED_USED) != wrap;
}

static unsigned pop_packed(struct virtq *q, struct virtq_buf *ret, unsigned max)
{
	const struct mem_region *last = &q->mem->region[0];
	struct virtq_packed *v = &q->packed;
	const struct virtq_packed_desc *ring = (const struct virtq_packed_desc *)v->ring;
	unsigned n;

	max = MIN(max, (unsigned)(q->size - v->in_flight));
	for (n = 0; n < max; n++) {
		const struct virtq_packed_desc *at = &ring[v->avail.slot];
		uint16_t flags = __atomic_load_n(&at->flags, __ATOMIC_ACQUIRE);
		struct virtq_packed_desc d;

		if (!available(flags, v->avail.wrap))
			break;
		virtq_load_desc(v->ring, v->avail.slot, &d);
		if (d.id >= q->size || v->ndesc[d.id])
			break;
		if (!take(q, &last, d.addr, d.len, flags, &ret[n]))
			break;
		ret[n].head = d.id;
		v->ndesc[d.id] = 1;
		v->order[v->order_at] = d.id;
		v->order_at = v->order_at + 1 == q->size ? 0 : v->order_at + 1;
		virtq_forward(q, &v->avail, 1);
	}
	v->in_flight += n;
	return n;
}

unsigned virtq_pop_burst(struct virtq *q, struct virtq_buf *ret, unsigned max)
{
	if (q->broken || q->kept.area)
		return 0;
	return q->is_packed ? pop_packed(q, ret, max) : pop_split(q, ret, max);
}

static void push_split(struct virtq *q, const struct virtq_buf *b, unsigned n)
{
	struct virtq_split *v = &q->split;
	struct split_used *u = (struct split_used *)v->used;
	uint16_t mask = q->size - 1;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = (v->used_idx + i) & mask;

		__atomic_store_n(&u->ring[at].id, b[i].head, __ATOMIC_RELAXED);
		__atomic_store_n(&u->ring[at].len, 0, __ATOMIC_RELAXED);
	}
	v->used_idx += n;
}

static void push_packed(struct virtq *q, const struct virtq_buf *b, unsigned n)
{
	struct virtq_packed *v = &q->packed;
	struct virtq_packed_desc *ring = (struct virtq_packed_desc *)v->ring;

	for (unsigned i = 0; i < n; i++) {
		struct virtq_packed_desc *d = &ring[v->used.slot];
		uint16_t flags = v->used.wrap ? PACKED_AVAIL | PACKED_USED : 0;

		__atomic_store_n(&d->len, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&d->id, b[i].head, __ATOMIC_RELAXED);
		if (v->pending++)
			__atomic_store_n(&d->flags, flags, __ATOMIC_RELAXED);
		else
			v->first_flags = flags;
		v->ndesc[b[i].head] = 0;
		virtq_forward(q, &v->used, 1);
	}
	v->in_flight -= n;
}

void virtq_push_burst(struct virtq *q, const struct virtq_buf *b, unsigned n)
{
	if (q->is_packed)
		push_packed(q, b, n);
	else
		push_split(q, b, n);
}
