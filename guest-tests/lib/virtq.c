/* SPDX-License-Identifier: Apache-2.0 */
/* Split virtqueues (virtio 1.2 §2.7; packed ones are virtq_packed.c's), with indirect tables and
 * event index where negotiated. */
#include "case.h"
#include "io.h"
#include "mem.h"
#include "virtio.h"

int vq_open(struct vq *q, struct vdev *d, unsigned i, unsigned size)
{
	unsigned max = vdev_queue_max(d, i);

	if (!max)
		return -1;
	*q = (struct vq){.dev = d, .index = i, .size = MIN(size, max)};
	q->notify = d->pci ? vdev_notify_address(d, i) : 0;
	q->event_idx = d->features & F_EVENT_IDX;
	q->is_packed = d->features & F_PACKED;
	if (q->is_packed) {
		vq_packed_open(q);
		return 0;
	}
	q->desc = mem_alloc(q->size * sizeof(struct vq_desc), 16);
	q->avail = mem_alloc(6 + 2 * q->size, 2);
	q->used = mem_alloc(6 + 8 * q->size, 4);
	if (d->features & F_INDIRECT)
		q->table = mem_alloc(16 * sizeof(struct vq_desc), 16);
	vdev_queue_enable(d, i, q->size, phys(q->desc), phys(q->avail), phys(q->used));
	return 0;
}

static uint16_t avail_event(const struct vq *q)
{
	return READ_ONCE(*(uint16_t *)&q->used->ring[q->size]);
}

void vq_want_interrupts(struct vq *q, bool want)
{
	if (q->is_packed)
		WRITE_ONCE(q->packed.driver->flags, want ? EVENT_ENABLE : EVENT_DISABLE);
	else
		WRITE_ONCE(q->avail->flags, want ? 0 : AVAIL_NO_INTERRUPT);
}

void vq_interrupt_after(struct vq *q, unsigned n)
{
	unsigned slot = q->packed.next_used + n - 1;
	bool wrap = q->packed.used_wrap;

	if (!q->is_packed) {
		WRITE_ONCE(q->avail->ring[q->size], (uint16_t)(q->last_used + n - 1));
		return;
	}
	if (slot >= q->size) {
		slot -= q->size;
		wrap = !wrap;
	}
	WRITE_ONCE(q->packed.driver->slot, (uint16_t)(slot | (wrap ? 0x8000u : 0)));
	wmb();
	WRITE_ONCE(q->packed.driver->flags, EVENT_DESC);
}

bool vq_asks_for_next(const struct vq *q)
{
	const struct vq_packed *p = &q->packed;

	if (!q->is_packed)
		return avail_event(q) == q->next_avail;
	return READ_ONCE(p->device->flags) == EVENT_DESC &&
	       READ_ONCE(p->device->slot) == (p->next | (p->wrap ? 0x8000u : 0));
}

void vq_offer(struct vq *q, uint16_t head)
{
	q->avail->ring[q->next_avail % q->size] = head;
	wmb(); /* §2.7.13.3 */
	WRITE_ONCE(q->avail->idx, ++q->next_avail);
}

uint16_t vq_add(struct vq *q, const struct vq_buf *b, unsigned n)
{
	struct vq_desc *at = q->table ? q->table : q->desc;
	uint16_t mask = (uint16_t)(q->table ? 15 : q->size - 1);
	uint16_t head = q->next_desc & (uint16_t)(q->size - 1), first = q->table ? 0 : head;

	if (q->is_packed)
		return vq_packed_add(q, b, n);
	for (unsigned i = 0; i < n; i++) {
		struct vq_desc *d = &at[(first + i) & mask];

		d->address = phys(b[i].p);
		d->length = b[i].length;
		d->next = (uint16_t)((first + i + 1) & mask);
		d->flags = (uint16_t)((i + 1 < n ? DESC_NEXT : 0) | (b[i].write ? DESC_WRITE : 0));
	}
	if (q->table)
		q->desc[head] = (struct vq_desc){
			phys(q->table), n * sizeof(struct vq_desc), DESC_INDIRECT, 0};
	q->next_desc = (uint16_t)(q->next_desc + (q->table ? 1 : n));
	vq_offer(q, head);
	return head;
}

void vq_kick(struct vq *q)
{
	uint16_t from = q->kicked, to = q->next_avail;

	mb(); /* §2.7.13.4.1: the index before the look at the suppression */
	q->kicked = to;
	if (q->is_packed) {
		if (!vq_packed_must_kick(q))
			return;
	} else if (q->event_idx) {
		/* vring_need_event, §2.7.10.1 */
		if ((uint16_t)(to - avail_event(q) - 1) >= (uint16_t)(to - from))
			return;
	} else if (READ_ONCE(q->used->flags) & USED_NO_NOTIFY) {
		return;
	}
	if (q->dev->pci) /* no register but that one: a hypervisor need not be left */
		mmio_write16(q->notify, (uint16_t)q->index);
	else
		vdev_notify(q->dev, q->index);
}

bool vq_take(struct vq *q, uint32_t *ret_id, uint32_t *ret_length)
{
	unsigned slot = q->last_used % q->size;

	if (q->is_packed)
		return vq_packed_take(q, ret_id, ret_length);
	if (READ_ONCE(q->used->idx) == q->last_used)
		return false;
	rmb();
	if (ret_id)
		*ret_id = q->used->ring[slot].id;
	if (ret_length)
		*ret_length = q->used->ring[slot].length;
	q->last_used++;
	return true;
}

int vq_wait(struct vq *q, uint32_t *ret_length, unsigned ms)
{
	uint64_t end = deadline_ms(ms);
	uint32_t id;

	while (!vq_take(q, &id, ret_length)) {
		if (deadline_passed(end))
			return -1;
		cpu_relax();
	}
	return (int)id;
}

int64_t vq_do(struct vq *q, const struct vq_buf *b, unsigned n)
{
	uint16_t head = vq_add(q, b, n);
	uint32_t length;

	vq_kick(q);
	return vq_wait(q, &length, 10000) == head ? (int64_t)length : -1;
}
