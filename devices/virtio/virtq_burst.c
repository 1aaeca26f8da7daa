/* SPDX-License-Identifier: Apache-2.0 */
/* The same steps as in virtq_split.c and virtq_packed.c, in a loop without calls. */
#include "devices/virtio/virtq_burst.h"

#include "devices/virtio/virtq_priv.h"
#include "vmm/base/num.h"

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

/* Where a buffer is looked for first: the region of the one before, in registers. */
struct near {
	uint64_t gpa, size;
	uint8_t *host;
};

/* The region of [addr, addr+len), or one that is as good as none. */
static __attribute__((noinline)) struct near find(
	const struct guest_mem *m, uint64_t addr, uint32_t len)
{
	uint8_t *host = guest_mem_ptr(m, addr, len);
	unsigned n = __atomic_load_n(&m->n, __ATOMIC_ACQUIRE); /* regions may be added */

	for (unsigned i = 0; host && i < n; i++) {
		const struct mem_region *r = &m->region[i];

		if (addr - r->gpa < r->size)
			return (struct near){r->gpa, r->size, r->host};
	}
	return (struct near){0};
}

/* The buffer's place in our memory; NULL when it lies in none, or is empty. */
static inline uint8_t *host_of(
	const struct guest_mem *m, struct near *near, uint64_t addr, uint64_t len)
{
	uint64_t off = addr - near->gpa;

	if (__builtin_expect(off < near->size && len - 1 < near->size - off, true))
		return near->host + off;
	*near = find(m, addr, len);
	return near->host ? near->host + (addr - near->gpa) : NULL;
}

/* Half a descriptor, once. */
static inline uint64_t load64(const uint8_t *ring, unsigned i, unsigned half)
{
	return __atomic_load_n((const uint64_t *)(ring + 16 * (size_t)i) + half, __ATOMIC_RELAXED);
}

static unsigned pop_split(struct virtq *q, struct virtq_burst *ret, unsigned max)
{
	struct virtq_split *v = &q->split;
	const struct split_avail *a = (const struct split_avail *)v->avail;
	const uint8_t *table = v->desc;
	const struct guest_mem *m = q->mem;
	uint16_t seen = __atomic_load_n(&a->idx, __ATOMIC_ACQUIRE), ahead = seen - v->avail_idx;
	unsigned size = q->size, at = v->avail_idx, n;
	struct near near = {0};

	if (ahead > size)
		return 0;
	max = MIN(max, (unsigned)ahead);
	for (n = 0; n < max; n++, at++) {
		unsigned head = __atomic_load_n(&a->ring[at & (size - 1)], __ATOMIC_RELAXED);
		uint64_t rest;
		uint8_t *host;

		if (head >= size)
			break;
		rest = load64(table, head, 1); /* len, flags, next */
		if (rest >> 32 & OTHER_KINDS)
			break;
		host = host_of(m, &near, load64(table, head, 0), (uint32_t)rest);
		if (!host)
			break;
		__builtin_prefetch(host);
		ret->buf[n] = (struct iovec){host, (uint32_t)rest};
		ret->head[n] = head;
	}
	v->avail_idx = at;
	v->seen = seen;
	for (unsigned i = 0; q->kept.area && i < n; i++)
		virtq_split_keep(q, ret->head[i]);
	return n;
}

static bool keep_slot(struct virtq *q, uint64_t addr, uint64_t rest)
{
	struct virtq_packed_desc d = {addr, rest, rest >> 32, rest >> 48};

	if (virtq_packed_keep_desc(q, true, d) < 0)
		return false;
	virtq_packed_keep(q, d.id, 1);
	return true;
}

static unsigned pop_packed(struct virtq *q, struct virtq_burst *ret, unsigned max)
{
	struct virtq_packed *v = &q->packed;
	const uint8_t *ring = v->ring;
	const struct guest_mem *m = q->mem;
	unsigned size = q->size, slot = v->avail.slot, order_at = v->order_at, n;
	unsigned offered = v->avail.wrap ? PACKED_AVAIL : PACKED_USED;
	bool kept = q->kept.area;
	struct near near = {0};

	max = MIN(max, size - v->in_flight);
	for (n = 0; n < max; n++) {
		unsigned flags = __atomic_load_n(
			(const uint16_t *)(ring + 16 * (size_t)slot) + 7, __ATOMIC_ACQUIRE);
		uint64_t addr, rest;
		uint16_t id;
		uint8_t *host;

		/* The driver's offer, and no chain or other kind. */
		if ((flags & (PACKED_AVAIL | PACKED_USED | OTHER_KINDS)) != offered)
			break;
		rest = load64(ring, slot, 1); /* len, id, flags */
		id = rest >> 32;
		if (id >= size || v->ndesc[id])
			break;
		addr = load64(ring, slot, 0);
		host = host_of(m, &near, addr, (uint32_t)rest);
		if (!host)
			break;
		if (kept && !keep_slot(q, addr, rest))
			break;
		__builtin_prefetch(host);
		ret->buf[n] = (struct iovec){host, (uint32_t)rest};
		ret->head[n] = v->order[order_at] = id;
		v->ndesc[id] = 1;
		if (++order_at == size)
			order_at = 0;
		if (++slot == size) {
			slot = 0;
			offered ^= PACKED_AVAIL | PACKED_USED;
		}
	}
	v->avail = (struct virtq_place){slot, offered & PACKED_AVAIL};
	v->order_at = order_at;
	v->in_flight += n;
	return n;
}

unsigned virtq_pop_burst(struct virtq *q, struct virtq_burst *ret, unsigned max)
{
	unsigned n;

	if (q->broken || virtq_to_redo(q))
		return 0;
	n = q->is_packed ? pop_packed(q, ret, max) : pop_split(q, ret, max);
	q->kept.popped += n;
	return n;
}

static void push_split(struct virtq *q, const uint16_t *head, unsigned n, bool in_order)
{
	struct virtq_split *v = &q->split;
	struct split_used *u = (struct split_used *)v->used;
	uint16_t mask = q->size - 1;
	unsigned entries = in_order ? 1 : n;
	const uint16_t *first = head;

	if (in_order)
		head += n - 1;
	for (unsigned i = 0; i < entries; i++) {
		unsigned at = (v->used_idx + i) & mask;

		__atomic_store_n(&u->ring[at].id, head[i], __ATOMIC_RELAXED);
		__atomic_store_n(&u->ring[at].len, 0, __ATOMIC_RELAXED);
	}
	v->used_idx += n;
	for (unsigned i = 0; q->kept.area && i < n; i++)
		virtq_split_kept_push(q, first[i]);
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
	for (unsigned i = 0; q->kept.area && i < n; i++)
		virtq_packed_kept_push(q, head[i]);
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
