/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's side of memory and rings, split (virtio 1.2 §2.7) and packed (§2.8). Descriptors are
 * taken one after the other: the test sees to it that those from the oldest in flight on fit in the
 * ring. */
#include <linux/virtio_ring.h>
#include <string.h>
#include "devices/testing/guest_driver.h"
#include "vmm/base/num.h"

#define PACKED_AVAIL (1 << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED  (1 << VRING_PACKED_DESC_F_USED)

uint64_t guest_alloc(struct guest_driver *g, uint64_t bytes, uint64_t align)
{
	uint64_t at = align_up(g->heap, align);

	g->heap = at + bytes;
	return at;
}

void *guest_ptr(struct guest_driver *g, uint64_t gpa, uint64_t len)
{
	return guest_mem_ptr(&g->f->mem, gpa, len);
}

static uint64_t area(struct guest_driver *g, uint64_t bytes, uint64_t align)
{
	uint64_t at = guest_alloc(g, bytes, align);

	memset(guest_ptr(g, at, bytes), 0, bytes);
	return at;
}

void guest_queue_init(struct guest_driver *g, unsigned i, uint16_t size)
{
	struct guest_queue *q = &g->q[i];

	*q = (struct guest_queue){.size = size,
		.packed = g->negotiated & VIRTIO_BIT_RING_PACKED,
		.in_order = g->negotiated & VIRTIO_BIT_IN_ORDER,
		.avail_wrap = true,
		.next.wrap = true};
	q->desc = area(g, 16 * (uint64_t)size, 16);
	q->avail = q->packed ? area(g, 4, 4) : area(g, 6 + 2 * (uint64_t)size, 2);
	q->used = q->packed ? area(g, 4, 4) : area(g, 6 + 8 * (uint64_t)size, 4);
	g->t->queue_setup(g, i, size, q->desc, q->avail, q->used);
}

static void put_desc(struct guest_driver *g, uint64_t table, uint16_t i, uint64_t addr,
	uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc d = {addr, len, flags, next};

	memcpy(guest_ptr(g, table + 16 * (uint64_t)i, 16), &d, sizeof(d));
}

static struct vring_packed_desc *slot(struct guest_driver *g, unsigned i, uint16_t s)
{
	return guest_ptr(g, g->q[i].desc + 16 * (uint64_t)s, 16);
}

static void put_slot(struct guest_driver *g, unsigned i, uint16_t s, uint64_t addr, uint32_t len,
	uint16_t flags, uint16_t id)
{
	struct vring_packed_desc *d = slot(g, i, s);

	d->addr = addr;
	d->len = len;
	d->id = id;
	__atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
}

void guest_set_desc(struct guest_driver *g, unsigned q, uint16_t i, uint64_t addr, uint32_t len,
	uint16_t flags, uint16_t next)
{
	if (g->q[q].packed)
		put_slot(g, q, i, addr, len, flags, next);
	else
		put_desc(g, g->q[q].desc, i, addr, len, flags, next);
}

void guest_set_avail_idx(struct guest_driver *g, unsigned q, uint16_t idx)
{
	uint16_t *at = guest_ptr(g, g->q[q].avail + 2, 2);

	if (g->q[q].packed) {
		g->q[q].next_desc = idx % g->q[q].size;
		g->q[q].avail_wrap = idx >> 15;
		return;
	}
	g->q[q].avail_idx = idx;
	__atomic_store_n(at, idx, __ATOMIC_SEQ_CST);
}

static uint16_t avail_flags(const struct guest_queue *q)
{
	return q->avail_wrap ? PACKED_AVAIL : PACKED_USED;
}

static void next_slot(struct guest_queue *q)
{
	q->next_desc = (q->next_desc + 1) % q->size;
	q->avail_wrap ^= q->next_desc == 0;
}

static uint16_t free_id(struct guest_queue *q)
{
	uint16_t id = q->next_desc;

	for (unsigned n = 0; q->ndesc[id] && n < q->size; n++)
		id = (id + 1) % q->size;
	return id;
}

/* §2.8.6, §2.8.21: the first descriptor's flags last, the id in each. */
static uint16_t add_packed(
	struct guest_driver *g, unsigned i, const struct vring_desc *d, unsigned n)
{
	struct guest_queue *q = &g->q[i];
	uint16_t first = q->next_desc, id = free_id(q), first_flags = avail_flags(q) | d[0].flags;

	for (unsigned k = 0; k < n; k++) {
		put_slot(g, i, q->next_desc, d[k].addr, d[k].len,
			k ? avail_flags(q) | d[k].flags : slot(g, i, first)->flags, id);
		next_slot(q);
	}
	q->ndesc[id] = n;
	q->order[q->avail_idx++ % q->size] = id;
	__atomic_store_n(&slot(g, i, first)->flags, first_flags, __ATOMIC_SEQ_CST);
	return id;
}

static uint16_t add_split(
	struct guest_driver *g, unsigned i, const struct vring_desc *d, unsigned n)
{
	struct guest_queue *q = &g->q[i];
	uint16_t head = q->next_desc;

	for (unsigned k = 0; k < n; k++) {
		uint16_t next = (q->next_desc + 1) % q->size;

		put_desc(g, q->desc, q->next_desc, d[k].addr, d[k].len, d[k].flags, next);
		q->next_desc = next;
	}
	guest_make_avail(g, i, head);
	return head;
}

static uint16_t add(struct guest_driver *g, unsigned i, const struct vring_desc *d, unsigned n)
{
	return g->q[i].packed ? add_packed(g, i, d, n) : add_split(g, i, d, n);
}

void guest_make_avail(struct guest_driver *g, unsigned i, uint16_t head)
{
	struct guest_queue *q = &g->q[i];
	uint16_t *at;

	if (q->packed) {
		put_slot(
			g, i, q->next_desc, q->desc, 16, avail_flags(q) | VRING_DESC_F_WRITE, head);
		next_slot(q);
		return;
	}
	q->order[q->avail_idx % q->size] = head;
	at = guest_ptr(g, q->avail + 4 + 2 * (q->avail_idx % q->size), 2);
	__atomic_store_n(at, head, __ATOMIC_RELAXED);
	guest_set_avail_idx(g, i, q->avail_idx + 1);
}

/* Whatever the device pops next: an index that jumps, or an id out of range in every slot. */
/* Writes what the device may be reading: that is the point, and no race of the tests' own. */
__attribute__((noinline, no_sanitize("thread"))) static void spoil_ids(
	struct guest_driver *g, unsigned q, uint16_t id)
{
	for (unsigned i = 0; i < g->q[q].size; i++)
		slot(g, q, i)->id = id;
}

/* Chains that the device knows of already, too: their heads are out of range. */
static void spoil_heads(struct guest_driver *g, unsigned q, uint16_t size)
{
	uint16_t *head = guest_ptr(g, g->q[q].avail + 4, 2 * size);

	for (unsigned i = 0; i < size; i++)
		__atomic_store_n(&head[i], size, __ATOMIC_RELAXED);
}

void guest_break_ring(struct guest_driver *g, unsigned q)
{
	uint16_t size = g->q[q].size;

	if (!g->q[q].packed) {
		spoil_heads(g, q, size);
		guest_set_avail_idx(g, q, g->q[q].avail_idx + size + 1000);
		return;
	}
	spoil_ids(g, q, size);
	guest_make_avail(g, q, size);
}

static void fill(struct vring_desc *d, const struct guest_buf *b, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		d[k] = (struct vring_desc){b[k].gpa, b[k].len,
			(b[k].write ? VRING_DESC_F_WRITE : 0) | (k + 1 < n ? VRING_DESC_F_NEXT : 0),
			k + 1};
}

uint16_t guest_add(struct guest_driver *g, unsigned i, const struct guest_buf *b, unsigned n)
{
	struct vring_desc d[VIRTIO_QUEUE_MAX];

	fill(d, b, n);
	return add(g, i, d, n);
}

uint16_t guest_add_indirect(
	struct guest_driver *g, unsigned i, const struct guest_buf *b, unsigned n)
{
	uint64_t table = guest_alloc(g, 16 * (uint64_t)n, 16);
	struct vring_desc indirect = {table, 16 * n, VRING_DESC_F_INDIRECT, 0};
	struct vring_desc d[VIRTIO_QUEUE_MAX];

	fill(d, b, n);
	for (unsigned k = 0; k < n; k++) {
		if (g->q[i].packed) /* §2.8.7: id 0, no flag but WRITE */
			put_desc(g, table, k, d[k].addr, d[k].len, 0,
				d[k].flags & VRING_DESC_F_WRITE);
		else
			put_desc(g, table, k, d[k].addr, d[k].len, d[k].flags, d[k].next);
	}
	return add(g, i, &indirect, 1);
}

/* The next used descriptor of a packed ring. One whose id was not offered is none: the test waits
 * for it in vain. */
static bool read_packed(struct guest_driver *g, unsigned i, struct guest_seen *s)
{
	struct vring_packed_desc *d = slot(g, i, s->slot);
	uint16_t flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE);

	if (!!(flags & PACKED_USED) != s->wrap || !!(flags & PACKED_AVAIL) != s->wrap)
		return false;
	s->id = d->id;
	s->written = flags & VRING_DESC_F_WRITE ? d->len : 0;
	return s->id < g->q[i].size && g->q[i].ndesc[s->id];
}

static uint16_t split_used_idx(struct guest_driver *g, unsigned i)
{
	return __atomic_load_n((uint16_t *)guest_ptr(g, g->q[i].used + 2, 2), __ATOMIC_ACQUIRE);
}

static bool read_split(struct guest_driver *g, unsigned i, struct guest_seen *s)
{
	const struct guest_queue *q = &g->q[i];
	struct vring_used_elem e;

	memcpy(&e, guest_ptr(g, q->used + 4 + 8 * (uint64_t)(s->chains % q->size), 8), 8);
	s->id = e.id;
	s->written = e.len;
	return true;
}

/* The next chain that came back; steps over it. With VIRTIO_F_IN_ORDER one used element stands for
 * all up to its chain (§2.7.9, §2.8.9). */
static bool take(struct guest_driver *g, unsigned i, struct guest_seen *s, uint32_t *ret_id,
	uint32_t *ret_len)
{
	const struct guest_queue *q = &g->q[i];
	unsigned to;

	if (!q->packed && s->chains == split_used_idx(g, i))
		return false;
	if (!s->batch && !(q->packed ? read_packed(g, i, s) : read_split(g, i, s)))
		return false;
	if (q->in_order && s->chains == q->avail_idx)
		return false; /* more than there were */
	*ret_id = q->in_order ? q->order[s->chains % q->size] : s->id;
	*ret_len = *ret_id == s->id ? s->written : 0;
	s->batch = *ret_id != s->id;
	s->chains++;
	to = s->slot + q->ndesc[*ret_id % VIRTIO_QUEUE_MAX];
	s->wrap ^= to >= q->size;
	s->slot = to % q->size;
	return true;
}

uint16_t guest_used_idx(struct guest_driver *g, unsigned i)
{
	struct guest_seen s = g->q[i].next;
	uint32_t id, len;

	if (!g->q[i].packed)
		return split_used_idx(g, i);
	while (take(g, i, &s, &id, &len))
		;
	return s.chains;
}

bool guest_take_used(struct guest_driver *g, unsigned i, uint32_t *ret_id, uint32_t *ret_len)
{
	uint32_t id, len;

	if (!take(g, i, &g->q[i].next, &id, &len))
		return false;
	g->q[i].seen = g->q[i].next.chains;
	if (g->q[i].packed)
		g->q[i].ndesc[id] = 0;
	if (ret_id)
		*ret_id = id;
	if (ret_len)
		*ret_len = len;
	return true;
}
