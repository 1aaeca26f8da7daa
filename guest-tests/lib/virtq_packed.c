/* SPDX-License-Identifier: Apache-2.0 */
/* Packed virtqueues (virtio 1.2 §2.8), with indirect tables and event index where negotiated. A
 * chain's id is the slot of its first descriptor. */
#include "case.h"
#include "io.h"
#include "mem.h"
#include "virtio.h"

void vq_packed_open(struct vq *q)
{
	struct vq_packed *p = &q->packed;

	p->ring = mem_alloc(q->size * sizeof(*p->ring), 16);
	p->driver = mem_alloc(sizeof(*p->driver), 4);
	p->device = mem_alloc(sizeof(*p->device), 4);
	p->ndesc = mem_alloc(q->size * sizeof(*p->ndesc), 2);
	p->wrap = p->used_wrap = p->kicked_wrap = true; /* §2.8.1 */
	if (q->dev->features & F_INDIRECT)
		p->table = mem_alloc(16 * sizeof(*p->table), 16);
	vdev_queue_enable(
		q->dev, q->index, q->size, phys(p->ring), phys(p->driver), phys(p->device));
}

static void step(const struct vq *q, uint16_t *slot, bool *wrap, unsigned n)
{
	unsigned to = *slot + n;

	*wrap ^= to >= q->size;
	*slot = (uint16_t)(to >= q->size ? to - q->size : to);
}

static uint16_t write_flag(const struct vq_buf *b)
{
	return b->write ? DESC_WRITE : 0;
}

/* §2.8.21: the first descriptor's flags last, when the rest of the chain is there. */
static uint16_t put(struct vq *q, const struct vq_packed_desc *d, unsigned n)
{
	struct vq_packed *p = &q->packed;
	uint16_t first = p->next, first_flags = 0;

	for (unsigned i = 0; i < n; i++) {
		struct vq_packed_desc *at = &p->ring[p->next];
		uint16_t flags = (uint16_t)(d[i].flags | (p->wrap ? DESC_AVAIL : DESC_USED));

		at->address = d[i].address;
		at->length = d[i].length;
		at->id = first;
		if (i)
			WRITE_ONCE(at->flags, flags);
		else
			first_flags = flags;
		step(q, &p->next, &p->wrap, 1);
	}
	p->ndesc[first] = (uint16_t)n;
	p->added = (uint16_t)(p->added + n);
	wmb();
	WRITE_ONCE(p->ring[first].flags, first_flags);
	q->next_avail++;
	return first;
}

uint16_t vq_packed_add(struct vq *q, const struct vq_buf *b, unsigned n)
{
	struct vq_packed_desc *table = q->packed.table, d[16];

	for (unsigned i = 0; i < n; i++)
		d[i] = (struct vq_packed_desc){phys(b[i].p), b[i].length, 0,
			(uint16_t)(write_flag(&b[i]) | (!table && i + 1 < n ? DESC_NEXT : 0))};
	if (!table)
		return put(q, d, n);
	memcpy(table, d, n * sizeof(*d));
	d[0] = (struct vq_packed_desc){phys(table), n * (uint32_t)sizeof(*d), 0, DESC_INDIRECT};
	return put(q, d, 1);
}

/* §2.8.10: by the flags, or if the slot asked for is among those added. */
bool vq_packed_must_kick(struct vq *q)
{
	struct vq_packed *p = &q->packed;
	uint16_t flags = READ_ONCE(p->device->flags), slot = READ_ONCE(p->device->slot);
	unsigned from = p->kicked, n = p->added;
	bool wrap = slot & 0x8000;
	unsigned at = (slot & 0x7fffu) + (wrap == p->kicked_wrap ? 0 : q->size);

	p->kicked = p->next;
	p->kicked_wrap = p->wrap;
	p->added = 0;
	if (flags != EVENT_DESC)
		return flags != EVENT_DISABLE;
	return at >= from && at < from + n;
}

bool vq_packed_take(struct vq *q, uint32_t *ret_id, uint32_t *ret_length)
{
	struct vq_packed *p = &q->packed;
	struct vq_packed_desc *d = &p->ring[p->next_used];
	uint16_t flags = READ_ONCE(d->flags);

	if (!!(flags & DESC_USED) != p->used_wrap || !!(flags & DESC_AVAIL) != p->used_wrap)
		return false;
	rmb();
	CHECK(d->id < q->size && p->ndesc[d->id], "%s gives back id %u", q->dev->name, d->id);
	if (ret_id)
		*ret_id = d->id;
	if (ret_length)
		*ret_length = flags & DESC_WRITE ? d->length : 0; /* §2.8.4 */
	step(q, &p->next_used, &p->used_wrap, p->ndesc[d->id]);
	p->ndesc[d->id] = 0;
	q->last_used++;
	return true;
}
