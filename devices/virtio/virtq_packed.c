/* SPDX-License-Identifier: Apache-2.0 */
/* Packed rings (virtio 1.2 §2.8), the device's side. One ring of { addr, len, id, flags } that both
 * write, and a word each for "when do you want to hear of it" (driver area: we read; device area:
 * we write). Driver and device go round it; two flags tell whose a slot is:
 *
 *            slot ─►  0    1    2    3    4    5    6    7
 *                   used used  a a a a a  b b    c    (free)
 *                              ▲                       ▲
 *                              used: where the next    avail: the next to pop
 *                              completion is written
 *
 *   available   AVAIL == wrap, USED != wrap     wrap: 1 in the first lap, then 0, 1 …
 *   used        AVAIL == USED == wrap
 *
 * A chain lies in consecutive slots, or is one slot that names an indirect table. Its completion is
 * one descriptor, written where `used` stands (whichever chain completes first), with the buffer
 * id; then `used` skips as many slots as that chain had. So the length of each chain is kept by id,
 * which bounds ids by the ring's size (as §2.8.22's own driver has them) and forbids one that is in
 * flight already.
 *
 * The driver looks at one place: the flags of the slot after the last used one it saw (§2.8.2). So
 * a batch of completions is written whole, but for the flags of its first, and virtq_publish stores
 * those with release: the batch becomes visible at once, as in a split ring. That costs one ordered
 * store a batch, and buffers that belong together (§2.8.9) need no further care. */
#include <errno.h>
#include <stddef.h>
#include "devices/virtio/virtq_priv.h"

#define DESC_AVAIL (1 << 7)
#define DESC_USED  (1 << 15)

/* §2.8.14: bits 0 to 14 slot, 15 wrap counter, 16 and 17 one of: */
#define EVENT_ENABLE  0
#define EVENT_DISABLE 1
#define EVENT_DESC    2

static struct virtq_packed_desc *slot_of(const struct virtq *q, unsigned slot)
{
	return (struct virtq_packed_desc *)q->packed.ring + slot;
}

static void backward(const struct virtq *q, struct virtq_place *p, unsigned n)
{
	p->wrap ^= n > p->slot;
	p->slot = n > p->slot ? p->slot + q->size - n : p->slot - n;
}

int virtq_packed_init(struct virtq *q, const struct virtq_setup *s)
{
	const struct virtq_pos *pos = s->pos ? s->pos : &VIRTQ_POS_FRESH;
	struct virtq_packed *v = &q->packed;

	if (s->desc & 15 || s->avail & 3 || s->used & 3) /* §2.8.10.1 */
		return -EINVAL;
	if (pos->avail >= q->size || pos->used >= q->size)
		return -EINVAL;
	memset(v, 0, offsetof(struct virtq_packed, ndesc));
	memset(v->ndesc, 0, q->size * sizeof(v->ndesc[0]));
	v->ring_gpa = s->desc;
	v->device_gpa = s->used;
	v->ring = guest_mem_ptr(q->mem, s->desc, 16 * (uint64_t)q->size);
	v->driver = guest_mem_ptr(q->mem, s->avail, 4);
	v->device = guest_mem_ptr(q->mem, s->used, 4);
	if (!v->ring || !v->driver || !v->device)
		return -EFAULT;
	v->avail = (struct virtq_place){pos->avail, pos->avail_wrap};
	v->used = v->told = (struct virtq_place){pos->used, pos->used_wrap};
	return 0;
}

void virtq_packed_pos(const struct virtq *q, struct virtq_pos *ret_pos)
{
	ret_pos->avail = q->packed.avail.slot;
	ret_pos->avail_wrap = q->packed.avail.wrap;
	ret_pos->used = q->packed.told.slot;
	ret_pos->used_wrap = q->packed.told.wrap;
}

static inline struct virtq_packed_desc load_desc(const uint8_t *table, unsigned i)
{
	uint64_t addr, rest;

	virtq_load_halves(table, i, &addr, &rest);
	return (struct virtq_packed_desc){addr, rest, rest >> 32, rest >> 48};
}

static bool is_available(uint16_t flags, bool wrap)
{
	return (flags & (DESC_AVAIL | DESC_USED)) == (wrap ? DESC_AVAIL : DESC_USED);
}

bool virtq_packed_is_available(const struct virtq *q, struct virtq_place p)
{
	return is_available(__atomic_load_n(&slot_of(q, p.slot)->flags, __ATOMIC_ACQUIRE), p.wrap);
}

/* A predecessor may have written completions and been killed before it published their batch. The
 * driver must not take them for part of a later one. */
void virtq_packed_unmark_used(struct virtq *q)
{
	struct virtq_place p = q->packed.used;

	for (unsigned n = q->packed.in_flight; n; n--) {
		uint16_t *at = &slot_of(q, p.slot)->flags;
		uint16_t flags = __atomic_load_n(at, __ATOMIC_RELAXED);

		if (!!(flags & DESC_AVAIL) == p.wrap && !!(flags & DESC_USED) == p.wrap)
			__atomic_store_n(at, flags ^ DESC_USED, __ATOMIC_RELAXED);
		virtq_forward(q, &p, 1);
	}
	guest_mem_dirty(q->mem, q->packed.ring_gpa, 16 * (uint64_t)q->size);
}

/* §2.8.7: no chain inside, flags other than WRITE are ignored. */
static int walk_table(
	struct virtq *q, const struct virtq_packed_desc *indirect, struct virtq_chain *c)
{
	const uint8_t *table;
	unsigned n;
	int r = virtq_indirect_table(q, indirect->addr, indirect->len, &table, &n);

	for (unsigned i = 0; r == 0 && i < n; i++) {
		struct virtq_packed_desc d = load_desc(table, i);

		r = virtq_add_buffer(q, d.addr, d.len, d.flags, c);
	}
	return r;
}

/* The chain from the next slot on, whose flags were loaded already. Returns its slots. */
static __attribute__((noinline)) int walk(
	struct virtq *q, uint16_t first_flags, struct virtq_chain *c)
{
	struct virtq_packed *v = &q->packed;
	unsigned room = q->size - v->in_flight, slot = v->avail.slot;

	for (unsigned n = 1; n <= room; n++) {
		struct virtq_packed_desc d = load_desc(v->ring, slot);
		int r;

		if (n == 1)
			d.flags = first_flags;
		r = q->kept.area ? virtq_packed_keep_desc(q, n == 1, d) : 0;
		if (r < 0)
			return r;
		if (!(d.flags & VIRTQ_DESC_INDIRECT))
			r = virtq_add_buffer(q, d.addr, d.len, d.flags, c);
		else if (n > 1 || d.flags & VIRTQ_DESC_NEXT) /* §2.8.19: alone */
			r = -EPROTO;
		else
			r = walk_table(q, &d, c);
		if (r < 0)
			return r;
		if (!(d.flags & VIRTQ_DESC_NEXT)) {
			c->head = d.id; /* §2.8.6: the last one's */
			return n;
		}
		slot = slot + 1 == q->size ? 0 : slot + 1;
	}
	return -ELOOP; /* §2.8.17: longer than what is free of the ring */
}

/* Most chains of a network are one descriptor. */
static inline int walk_one(struct virtq *q, uint16_t flags, struct virtq_chain *c)
{
	uint64_t addr, rest;
	int r = 0;

	if (q->packed.in_flight == q->size)
		return -ELOOP;
	virtq_load_halves(q->packed.ring, q->packed.avail.slot, &addr, &rest);
	c->head = rest >> 32;
	if (q->kept.area)
		r = virtq_packed_keep_desc(
			q, true, (struct virtq_packed_desc){addr, rest, rest >> 32, flags});
	if (r == 0)
		r = virtq_add_buffer(q, addr, rest, flags, c);
	return r < 0 ? r : 1;
}

int virtq_packed_pop(struct virtq *q, struct virtq_chain *c)
{
	struct virtq_packed *v = &q->packed;
	/* Pairs with the driver's release of the first flags: the rest of the chain is there. */
	uint16_t flags = __atomic_load_n(&slot_of(q, v->avail.slot)->flags, __ATOMIC_ACQUIRE);
	int n;

	if (!is_available(flags, v->avail.wrap))
		return 0;
	n = flags & (VIRTQ_DESC_NEXT | VIRTQ_DESC_INDIRECT) ? walk(q, flags, c)
							    : walk_one(q, flags, c);
	if (n < 0)
		return n;
	if (c->head >= q->size || v->ndesc[c->head])
		return -EPROTO;
	v->ndesc[c->head] = n;
	v->in_flight += n;
	v->order[v->order_at] = c->head;
	v->order_at = v->order_at + 1 == q->size ? 0 : v->order_at + 1;
	virtq_forward(q, &v->avail, n);
	if (q->kept.area) {
		virtq_packed_keep(q, c->head, n);
		q->kept.popped++;
	}
	return 1;
}

/* The slots may hold used descriptors by now: the chain stands in the area. */
int virtq_packed_redo(struct virtq *q, struct virtq_chain *c)
{
	unsigned n = q->packed.ndesc[c->head];
	int r = 0;

	for (unsigned i = 0; r == 0 && i < n; i++) {
		struct virtq_packed_desc d;

		virtq_packed_kept_desc(q, c->head, i, &d);
		if (!(d.flags & VIRTQ_DESC_INDIRECT))
			r = virtq_add_buffer(q, d.addr, d.len, d.flags, c);
		else
			r = n == 1 ? walk_table(q, &d, c) : -EPROTO;
	}
	return r < 0 ? r : 1;
}

/* The chain is in flight no longer; returns its slots. */
static unsigned land(struct virtq *q, uint16_t id)
{
	unsigned n = q->packed.ndesc[id];

	q->packed.ndesc[id] = 0;
	q->packed.in_flight -= n;
	return n;
}

void virtq_packed_unpop(struct virtq *q, unsigned n)
{
	struct virtq_packed *v = &q->packed;

	while (n--) {
		v->order_at = (v->order_at ? v->order_at : q->size) - 1;
		if (q->kept.area)
			virtq_packed_unkeep(q, v->order[v->order_at]);
		backward(q, &v->avail, land(q, v->order[v->order_at]));
	}
}

void virtq_packed_push(struct virtq *q, uint16_t id, uint32_t written)
{
	struct virtq_packed *v = &q->packed;
	struct virtq_packed_desc *d = slot_of(q, v->used.slot);
	uint16_t flags = v->used.wrap ? DESC_AVAIL | DESC_USED : 0;
	unsigned n = land(q, id);

	if (q->kept.area)
		virtq_packed_kept_push(q, id);
	if (written)
		flags |= VIRTQ_DESC_WRITE; /* §2.8.3, §2.8.4: only then len counts */
	__atomic_store_n(&d->len, written, __ATOMIC_RELAXED);
	__atomic_store_n(&d->id, id, __ATOMIC_RELAXED);
	if (v->pending)
		__atomic_store_n(&d->flags, flags, __ATOMIC_RELAXED);
	else
		v->first_flags = flags;
	v->pending += n;
	virtq_forward(q, &v->used, n);
}

/* Does the slot that the driver asked for lie in the n slots from `from`? With the other wrap
 * counter it is in the next lap (or was in the last: then an interrupt too many is no harm). */
static bool passed(const struct virtq *q, uint32_t event, struct virtq_place from, unsigned n)
{
	bool wrap = event & 0x8000;
	unsigned slot = (event & 0x7fff) + (wrap == from.wrap ? 0 : q->size);

	return slot >= from.slot && slot < from.slot + n;
}

bool virtq_packed_publish(struct virtq *q)
{
	struct virtq_packed *v = &q->packed;
	struct virtq_place from = v->told;
	unsigned n = v->pending;
	uint32_t event;

	if (!n)
		return false;
	if (q->kept.area)
		virtq_packed_kept_publish(q);
	__atomic_store_n(&slot_of(q, from.slot)->flags, v->first_flags, __ATOMIC_RELEASE);
	if (q->kept.area)
		virtq_packed_kept_published(q);
	v->told = v->used;
	v->pending = 0;
	guest_mem_dirty(q->mem, v->ring_gpa, 16 * (uint64_t)q->size);
	/* The driver writes its area, then looks at the ring; we the other way round. */
	atomic_thread_fence(memory_order_seq_cst);
	event = __atomic_load_n(v->driver, __ATOMIC_RELAXED);
	switch (event >> 16 & 3) {
	case EVENT_DISABLE:
		return false;
	case EVENT_DESC:
		return !q->event_idx || passed(q, event, from, n);
	default:
		return true;
	}
}

static void tell_driver(struct virtq *q, uint32_t event)
{
	__atomic_store_n(q->packed.device, event, __ATOMIC_RELAXED);
	guest_mem_dirty(q->mem, q->packed.device_gpa, 4);
}

bool virtq_packed_pending(const struct virtq *q)
{
	struct virtq_place at = q->packed.avail;

	return is_available(
		__atomic_load_n(&slot_of(q, at.slot)->flags, __ATOMIC_RELAXED), at.wrap);
}

bool virtq_packed_enable_kick(struct virtq *q)
{
	struct virtq_place at = q->packed.avail;

	if (q->event_idx)
		tell_driver(q, EVENT_DESC << 16 | (uint32_t)at.wrap << 15 | at.slot);
	else
		tell_driver(q, EVENT_ENABLE << 16);
	atomic_thread_fence(memory_order_seq_cst);
	return virtq_packed_pending(q);
}

void virtq_packed_disable_kick(struct virtq *q)
{
	tell_driver(q, EVENT_DISABLE << 16);
}
