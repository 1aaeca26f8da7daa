/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/kill_ring.h"

#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

/* Where the parts lie, from the ring's start. */
#define AT_AVAIL 0x4000
#define AT_USED	 0x8000

static void *at(const struct kill_ring *r, uint64_t gpa)
{
	return r->mem + gpa;
}

static struct vring_avail *avail(const struct kill_ring *r)
{
	return at(r, r->avail);
}

static struct vring_used *used(const struct kill_ring *r)
{
	return at(r, r->used);
}

/* virtio 1.2 §2.7.7.2: the driver's wish is after the available ring, the device's after the used.
 */
static uint16_t *used_event(const struct kill_ring *r)
{
	return &avail(r)->ring[KILL_RING];
}

static uint16_t *avail_event(const struct kill_ring *r)
{
	return (uint16_t *)&used(r)->ring[KILL_RING];
}

void kill_ring_init(struct kill_ring *r, uint8_t *mem, uint64_t from, bool packed, bool event_idx)
{
	*r = (struct kill_ring){
		.mem = mem,
		.desc = from,
		.avail = from + AT_AVAIL,
		.used = from + AT_USED,
		.packed = packed,
		.event_idx = event_idx,
		.nfree = KILL_RING,
		.avail_wrap = true,
		.used_wrap = true,
	};
	for (unsigned i = 0; i < KILL_RING; i++)
		r->next[i] = i + 1;
	memset(mem + from, 0, KILL_RING_BYTES);
	kill_ring_arm(r);
}

/* ---- split (§2.7) ---- */

static uint16_t take_free(struct kill_ring *r)
{
	uint16_t i = r->free_head;

	r->free_head = r->next[i];
	return i;
}

static void make_table(struct kill_ring *r, const struct kill_buf *b, unsigned n, uint64_t table)
{
	struct vring_desc *d = at(r, table);

	for (unsigned i = 0; i < n; i++)
		d[i] = (struct vring_desc){b[i].gpa, b[i].len,
			(b[i].write ? VRING_DESC_F_WRITE : 0) | (i + 1 < n ? VRING_DESC_F_NEXT : 0),
			i + 1};
}

static int add_split(struct kill_ring *r, const struct kill_buf *b, unsigned n, uint64_t table)
{
	struct vring_desc *d = at(r, r->desc);
	uint16_t head = r->free_head, i = head;

	if (table) {
		make_table(r, b, n, table);
		i = take_free(r);
		d[i] = (struct vring_desc){table, n * 16, VRING_DESC_F_INDIRECT, 0};
		n = 1;
	} else {
		for (unsigned k = 0; k < n; k++) {
			i = take_free(r);
			d[i] = (struct vring_desc){b[k].gpa, b[k].len,
				(b[k].write ? VRING_DESC_F_WRITE : 0) |
					(k + 1 < n ? VRING_DESC_F_NEXT : 0),
				r->free_head};
		}
	}
	r->ndesc[head] = n;
	r->nfree -= n;
	avail(r)->ring[r->added % KILL_RING] = head;
	r->added++;
	__atomic_store_n(&avail(r)->idx, r->added, __ATOMIC_RELEASE);
	return head;
}

static int take_split(struct kill_ring *r, uint16_t *ret_id, uint32_t *ret_len)
{
	uint16_t idx = __atomic_load_n(&used(r)->idx, __ATOMIC_ACQUIRE), id, i;
	struct vring_used_elem *e = &used(r)->ring[r->seen % KILL_RING];

	if (idx == r->seen)
		return 0;
	if ((uint16_t)(idx - r->seen) > KILL_RING || e->id >= KILL_RING || !r->ndesc[e->id])
		return -1;
	*ret_id = id = i = e->id;
	*ret_len = e->len;
	r->seen++;
	for (unsigned k = 1; k < r->ndesc[id]; k++)
		i = r->next[i];
	r->nfree += r->ndesc[id];
	r->ndesc[id] = 0;
	r->next[i] = r->free_head;
	r->free_head = id;
	return 1;
}

/* ---- packed (§2.8) ---- */

static struct vring_packed_desc *slot(const struct kill_ring *r, unsigned i)
{
	return (struct vring_packed_desc *)at(r, r->desc) + i;
}

static uint16_t mine(bool wrap)
{
	return wrap ? 1u << VRING_PACKED_DESC_F_AVAIL : 1u << VRING_PACKED_DESC_F_USED;
}

static void put(struct kill_ring *r, struct vring_packed_desc d, uint16_t *ret_flags, bool first)
{
	struct vring_packed_desc *to = slot(r, r->avail_slot);

	d.flags |= mine(r->avail_wrap);
	if (first)
		*ret_flags = d.flags;
	to->addr = d.addr;
	to->len = d.len;
	to->id = d.id;
	if (!first)
		__atomic_store_n(&to->flags, d.flags, __ATOMIC_RELAXED);
	if (++r->avail_slot == KILL_RING) {
		r->avail_slot = 0;
		r->avail_wrap = !r->avail_wrap;
	}
}

/* §2.8.7: a table's flags but WRITE, and its ids, mean nothing. */
static void make_packed_table(
	struct kill_ring *r, const struct kill_buf *b, unsigned n, uint64_t table)
{
	struct vring_packed_desc *d = at(r, table);

	for (unsigned i = 0; i < n; i++)
		d[i] = (struct vring_packed_desc){
			b[i].gpa, b[i].len, 0, b[i].write ? VRING_DESC_F_WRITE : 0};
}

static int add_packed(struct kill_ring *r, const struct kill_buf *b, unsigned n, uint64_t table)
{
	uint16_t id = take_free(r), flags = 0, first = r->avail_slot;

	if (table) {
		make_packed_table(r, b, n, table);
		put(r, (struct vring_packed_desc){table, n * 16, id, VRING_DESC_F_INDIRECT}, &flags,
			true);
		n = 1;
	} else {
		for (unsigned k = 0; k < n; k++)
			put(r,
				(struct vring_packed_desc){b[k].gpa, b[k].len, id,
					(b[k].write ? VRING_DESC_F_WRITE : 0) |
						(k + 1 < n ? VRING_DESC_F_NEXT : 0)},
				&flags, k == 0);
	}
	r->ndesc[id] = n;
	r->nfree -= n;
	r->added += n;
	__atomic_store_n(&slot(r, first)->flags, flags, __ATOMIC_RELEASE);
	return id;
}

static bool is_used(const struct kill_ring *r)
{
	uint16_t f = __atomic_load_n(&slot(r, r->used_slot)->flags, __ATOMIC_ACQUIRE);
	bool a = f >> VRING_PACKED_DESC_F_AVAIL & 1, u = f >> VRING_PACKED_DESC_F_USED & 1;

	return a == u && u == r->used_wrap;
}

static int take_packed(struct kill_ring *r, uint16_t *ret_id, uint32_t *ret_len)
{
	struct vring_packed_desc *d = slot(r, r->used_slot);
	uint16_t id;

	if (!is_used(r))
		return 0;
	id = d->id;
	if (id >= KILL_RING || !r->ndesc[id])
		return -1;
	*ret_id = id;
	/* §2.8.4: the length counts only when something was written. */
	*ret_len = d->flags & VRING_DESC_F_WRITE ? d->len : 0;
	r->used_slot += r->ndesc[id];
	if (r->used_slot >= KILL_RING) {
		r->used_slot -= KILL_RING;
		r->used_wrap = !r->used_wrap;
	}
	r->nfree += r->ndesc[id];
	r->ndesc[id] = 0;
	r->next[id] = r->free_head;
	r->free_head = id;
	return 1;
}

/* ---- both ---- */

int kill_ring_add(struct kill_ring *r, const struct kill_buf *b, unsigned n, uint64_t table)
{
	if (r->nfree < (table ? 1 : n))
		return -1;
	return r->packed ? add_packed(r, b, n, table) : add_split(r, b, n, table);
}

int kill_ring_take(struct kill_ring *r, uint16_t *ret_id, uint32_t *ret_len)
{
	return r->packed ? take_packed(r, ret_id, ret_len) : take_split(r, ret_id, ret_len);
}

/* §2.8.10: is the slot that the device waits for among the last n that were added? */
static bool packed_passed(const struct kill_ring *r, uint16_t event, uint16_t n)
{
	unsigned to = r->avail_slot;
	unsigned want = (event & 0x7fff);

	if ((event >> 15) != r->avail_wrap)
		to += KILL_RING;
	return (uint16_t)(to - want - 1) < n;
}

bool kill_ring_wants_kick(struct kill_ring *r)
{
	uint16_t n = r->added - r->kicked;
	struct vring_packed_desc_event e;

	r->kicked = r->added;
	if (!n)
		return false;
	atomic_thread_fence(memory_order_seq_cst);
	if (!r->packed && r->event_idx)
		return vring_need_event(__atomic_load_n(avail_event(r), __ATOMIC_RELAXED), r->added,
			(uint16_t)(r->added - n));
	if (!r->packed)
		return !(__atomic_load_n(&used(r)->flags, __ATOMIC_RELAXED) &
			 VRING_USED_F_NO_NOTIFY);
	memcpy(&e, at(r, r->used), sizeof(e));
	if (e.flags == VRING_PACKED_EVENT_FLAG_DESC)
		return packed_passed(r, e.off_wrap, n);
	return e.flags == VRING_PACKED_EVENT_FLAG_ENABLE;
}

bool kill_ring_arm(struct kill_ring *r)
{
	struct vring_packed_desc_event e = {0, VRING_PACKED_EVENT_FLAG_ENABLE};

	if (!r->packed) {
		__atomic_store_n(used_event(r), r->seen, __ATOMIC_RELAXED);
		atomic_thread_fence(memory_order_seq_cst);
		return __atomic_load_n(&used(r)->idx, __ATOMIC_RELAXED) != r->seen;
	}
	if (r->event_idx)
		e = (struct vring_packed_desc_event){
			r->used_slot | (uint16_t)r->used_wrap << VRING_PACKED_EVENT_F_WRAP_CTR,
			VRING_PACKED_EVENT_FLAG_DESC};
	memcpy(at(r, r->avail), &e, sizeof(e));
	atomic_thread_fence(memory_order_seq_cst);
	return is_used(r);
}

uint32_t kill_ring_base(const struct kill_ring *r)
{
	uint32_t at_used = r->used_slot | (uint32_t)r->used_wrap << 15;

	return r->packed ? at_used | at_used << 16 : r->seen;
}
