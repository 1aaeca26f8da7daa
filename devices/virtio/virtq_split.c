/* SPDX-License-Identifier: Apache-2.0 */
/* Split rings (virtio 1.2 §2.7), the device's side:
 *
 *   desc   the driver's table of { addr, len, flags, next }
 *   avail  { flags, idx, ring[size], used_event }    driver writes, we read
 *   used   { flags, idx, ring[size], avail_event }   we write, driver reads
 *
 * Indices run freely modulo 2^16; an entry's place is its index modulo the size, which is a power
 * of two. */
#include <errno.h>
#include "devices/virtio/virtq_priv.h"
#include "vmm/base/num.h"

/* virtio 1.2 §2.7.5 to §2.7.8, little-endian as every host we build for. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct avail {
	uint16_t flags, idx, ring[];
};
#define AVAIL_NO_INTERRUPT 1

struct used_elem {
	uint32_t id, len;
};

struct used {
	uint16_t flags, idx;
	struct used_elem ring[];
};
#define USED_NO_NOTIFY 1

static uint16_t load16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void store16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static struct avail *avail_of(const struct virtq *q)
{
	return (struct avail *)q->split.avail;
}

static struct used *used_of(const struct virtq *q)
{
	return (struct used *)q->split.used;
}

static uint16_t *used_event(const struct virtq *q)
{
	return &avail_of(q)->ring[q->size];
}

static uint16_t *avail_event(const struct virtq *q)
{
	return (uint16_t *)&used_of(q)->ring[q->size];
}

static uint64_t used_bytes(const struct virtq *q)
{
	return 6 + 8 * (uint64_t)q->size;
}

static void mark_used(struct virtq *q)
{
	const struct virtq_split *v = &q->split;

	guest_mem_dirty(q->mem, v->used_gpa, used_bytes(q));
	if (v->used_log && guest_mem_logging(q->mem))
		guest_mem_mark_log(q->mem, v->used_log, used_bytes(q));
}

int virtq_split_init(struct virtq *q, const struct virtq_setup *s)
{
	struct virtq_split *v = &q->split;

	if (!is_pow2(s->size) || s->desc & 15 || s->avail & 1 || s->used & 3) /* §2.7 */
		return -EINVAL;
	*v = (struct virtq_split){.used_gpa = s->used, .used_log = s->used_log};
	v->desc = guest_mem_ptr(q->mem, s->desc, 16 * (uint64_t)s->size);
	v->avail = guest_mem_ptr(q->mem, s->avail, 6 + 2 * (uint64_t)s->size);
	v->used = guest_mem_ptr(q->mem, s->used, used_bytes(q));
	if (!v->desc || !v->avail || !v->used)
		return -EFAULT;
	if (s->pos) {
		v->avail_idx = v->seen = s->pos->avail;
		v->used_idx = v->published = s->pos->used;
	}
	return 0;
}

void virtq_split_pos(const struct virtq *q, struct virtq_pos *ret_pos)
{
	ret_pos->avail = q->split.avail_idx;
	ret_pos->used = q->split.published;
}

static inline struct desc load_desc(const uint8_t *table, unsigned i)
{
	uint64_t addr, rest;

	virtq_load_halves(table, i, &addr, &rest);
	return (struct desc){addr, rest, rest >> 32, rest >> 48};
}

/* Follows next from entry i of a table of n; a chain longer than its table is a loop. An indirect
 * descriptor is handed back in *ret_indirect, where it may stand. */
static int walk(struct virtq *q, const uint8_t *table, unsigned n, unsigned i,
	struct virtq_chain *c, struct desc *ret_indirect)
{
	for (unsigned seen = 0; seen < n; seen++) {
		struct desc d;
		int r;

		if (i >= n)
			return -EPROTO;
		d = load_desc(table, i);
		if (d.flags & VIRTQ_DESC_INDIRECT) {
			/* §2.7.5.3.1: negotiated, last in the chain, not nested */
			if (!ret_indirect || d.flags & VIRTQ_DESC_NEXT)
				return -EPROTO;
			*ret_indirect = d;
			return 0;
		}
		r = virtq_add_buffer(q, d.addr, d.len, d.flags, c);
		if (r < 0 || !(d.flags & VIRTQ_DESC_NEXT))
			return r;
		i = d.next;
	}
	return -ELOOP;
}

static __attribute__((noinline)) int walk_long(struct virtq *q, struct virtq_chain *c)
{
	struct desc indirect = {0};
	const uint8_t *table;
	unsigned n;
	int r = walk(q, q->split.desc, q->size, c->head, c, &indirect);

	if (r < 0 || !(indirect.flags & VIRTQ_DESC_INDIRECT))
		return r;
	r = virtq_indirect_table(q, indirect.addr, indirect.len, &table, &n);
	return r < 0 ? r : walk(q, table, n, 0, c, NULL);
}

/* Most chains of a network are one descriptor. */
static inline int walk_chain(struct virtq *q, struct virtq_chain *c)
{
	struct desc d;

	if (c->head >= q->size)
		return -EPROTO;
	d = load_desc(q->split.desc, c->head);
	if (d.flags & (VIRTQ_DESC_NEXT | VIRTQ_DESC_INDIRECT))
		return walk_long(q, c);
	return virtq_add_buffer(q, d.addr, d.len, d.flags, c);
}

/* Looks how far the driver has got: 1, 0 = no further, or it jumped. */
static int look(struct virtq *q)
{
	struct virtq_split *v = &q->split;
	/* Pairs with the driver's release of idx: entries and descriptors up to it are there. */
	uint16_t seen = __atomic_load_n(&avail_of(q)->idx, __ATOMIC_ACQUIRE);
	uint16_t ahead = seen - v->avail_idx;

	if (ahead > q->size)
		return -EPROTO;
	v->seen = seen;
	return ahead > 0;
}

int virtq_split_pop(struct virtq *q, struct virtq_chain *c)
{
	struct virtq_split *v = &q->split;
	int r;

	if (v->avail_idx == v->seen) {
		r = look(q);
		if (r <= 0)
			return r;
	}
	c->head = load16(&avail_of(q)->ring[v->avail_idx & (q->size - 1)]);
	r = walk_chain(q, c);
	if (r < 0)
		return r;
	v->avail_idx++;
	if (q->kept.area) {
		virtq_split_keep(q, c->head);
		q->kept.popped++;
	}
	return 1;
}

/* What is in flight, the driver leaves alone: its descriptors stand where they stood. */
int virtq_split_redo(struct virtq *q, struct virtq_chain *c)
{
	int r = walk_chain(q, c);

	return r < 0 ? r : 1;
}

void virtq_split_unpop(struct virtq *q, unsigned n)
{
	while (n--) {
		uint16_t head = load16(&avail_of(q)->ring[--q->split.avail_idx & (q->size - 1)]);

		if (q->kept.area)
			virtq_split_unkeep(q, head);
	}
	q->split.seen = q->split.avail_idx; /* look again: more than a ring may be ahead now */
}

void virtq_split_push(struct virtq *q, uint16_t head, uint32_t written)
{
	struct used_elem *e = &used_of(q)->ring[q->split.used_idx & (q->size - 1)];

	__atomic_store_n(&e->id, head, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, written, __ATOMIC_RELAXED);
	q->split.used_idx++;
	if (q->kept.area)
		virtq_split_kept_push(q, head);
}

/* §2.7.10.1: has the index passed `event` on its way from old to now? */
static bool passed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

bool virtq_split_publish(struct virtq *q)
{
	struct virtq_split *v = &q->split;
	uint16_t old = v->published;

	if (v->used_idx == old)
		return false;
	v->published = v->used_idx;
	__atomic_store_n(&used_of(q)->idx, v->used_idx, __ATOMIC_RELEASE);
	if (q->kept.area)
		virtq_split_kept_publish(q, (uint16_t)(v->used_idx - old));
	mark_used(q);
	/* The driver writes used_event (or flags), then looks at idx; we the other way round. */
	atomic_thread_fence(memory_order_seq_cst);
	if (q->event_idx)
		return passed(load16(used_event(q)), v->used_idx, old);
	return !(load16(&avail_of(q)->flags) & AVAIL_NO_INTERRUPT);
}

bool virtq_split_pending(const struct virtq *q)
{
	return load16(&avail_of(q)->idx) != q->split.avail_idx;
}

bool virtq_split_enable_kick(struct virtq *q)
{
	if (q->event_idx)
		store16(avail_event(q), q->split.avail_idx);
	else
		store16(&used_of(q)->flags, 0);
	mark_used(q);
	atomic_thread_fence(memory_order_seq_cst);
	return virtq_split_pending(q);
}

void virtq_split_disable_kick(struct virtq *q)
{
	store16(&used_of(q)->flags, USED_NO_NOTIFY);
	mark_used(q);
}
