/* SPDX-License-Identifier: Apache-2.0 */
/* Split rings (virtio 1.2 §2.7), the device's side:
 *
 *   desc   the driver's table of { addr, len, flags, next }
 *   avail  { flags, idx, ring[size], used_event }    driver writes, we read
 *   used   { flags, idx, ring[size], avail_event }   we write, driver reads
 *
 * Indices run freely modulo 2^16; an entry's place is its index modulo the size. All three areas
 * lie whole in one memory region, so they are reached through host pointers that were checked once.
 * Whatever else comes from the guest is loaded once into a local, and the local is judged.
 *
 * A packed ring would be a second set of the functions that touch `desc`, `avail` and `used` here
 * (pop, push, publish and the two kick switches), chosen in virtq_init. */
#include "devices/virtio/virtq.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "vmm/base/num.h"

/* virtio 1.2 §2.7.5 to §2.7.8, little-endian as every host we build for. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4

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
	return (struct avail *)q->avail;
}

static struct used *used_of(const struct virtq *q)
{
	return (struct used *)q->used;
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

int virtq_init(struct virtq *q, struct guest_mem *mem, const struct virtq_setup *s)
{
	if (!is_pow2(s->size) || s->size > VIRTIO_QUEUE_MAX)
		return -EINVAL;
	if (s->desc & 15 || s->avail & 1 || s->used & 3) /* §2.7 */
		return -EINVAL;
	*q = (struct virtq){
		.mem = mem,
		.size = s->size,
		.event_idx = s->features & VIRTIO_BIT_EVENT_IDX,
		.indirect = s->features & VIRTIO_BIT_INDIRECT_DESC,
		.used_gpa = s->used,
		.desc = guest_mem_ptr(mem, s->desc, 16 * (uint64_t)s->size),
		.avail = guest_mem_ptr(mem, s->avail, 6 + 2 * (uint64_t)s->size),
		.used = guest_mem_ptr(mem, s->used, 6 + 8 * (uint64_t)s->size),
		.signal = s->signal,
	};
	if (!q->desc || !q->avail || !q->used)
		return -EFAULT;
	if (s->pos) {
		q->avail_idx = s->pos->avail;
		q->used_idx = q->published = s->pos->used;
	}
	return 0;
}

void virtq_pos_get(const struct virtq *q, struct virtq_pos *ret_pos)
{
	*ret_pos = (struct virtq_pos){.avail = q->avail_idx, .used = q->published};
}

/* Copies a descriptor; the barrier keeps the compiler from looking at the guest's copy again. */
static struct desc load_desc(const uint8_t *table, unsigned i)
{
	struct desc d;

	memcpy(&d, table + 16 * (size_t)i, sizeof(d));
	atomic_signal_fence(memory_order_seq_cst);
	return d;
}

static int add_buffer(struct virtq *q, const struct desc *d, struct virtq_chain *c)
{
	unsigned n = c->nout + c->nin;
	bool write = d->flags & DESC_WRITE;
	void *host = guest_mem_ptr(q->mem, d->addr, d->len);

	if (n == VIRTQ_CHAIN_MAX || !host)
		return -EFAULT;
	if (!write && c->nin) /* §2.7.4.2: readable ones come first */
		return -EPROTO;
	if (__builtin_add_overflow(
		    write ? c->in_len : c->out_len, d->len, write ? &c->in_len : &c->out_len))
		return -EOVERFLOW;
	c->iov[n] = (struct iovec){host, d->len};
	*(write ? &c->nin : &c->nout) += 1;
	return 0;
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
		if (d.flags & DESC_INDIRECT) {
			/* §2.7.5.3.1: negotiated, last in the chain, not nested */
			if (!ret_indirect || !q->indirect || d.flags & DESC_NEXT)
				return -EPROTO;
			*ret_indirect = d;
			return 0;
		}
		r = add_buffer(q, &d, c);
		if (r < 0 || !(d.flags & DESC_NEXT))
			return r;
		i = d.next;
	}
	return -ELOOP;
}

static int walk_chain(struct virtq *q, struct virtq_chain *c)
{
	struct desc indirect = {0};
	const uint8_t *table;
	int r = walk(q, q->desc, q->size, c->head, c, &indirect);

	if (r < 0 || !(indirect.flags & DESC_INDIRECT))
		return r;
	if (!indirect.len || indirect.len % 16)
		return -EPROTO;
	table = guest_mem_ptr(q->mem, indirect.addr, indirect.len);
	if (!table)
		return -EFAULT;
	return walk(q, table, indirect.len / 16, 0, c, NULL);
}

static int break_ring(struct virtq *q, int r)
{
	q->broken = true;
	return r;
}

int virtq_pop(struct virtq *q, struct virtq_chain *ret_chain)
{
	struct virtq_chain *c = ret_chain;
	uint16_t ahead, head;
	int r;

	if (q->broken)
		return -EPROTO;
	/* Pairs with the driver's release of idx: entries and descriptors up to it are there. */
	ahead = __atomic_load_n(&avail_of(q)->idx, __ATOMIC_ACQUIRE) - q->avail_idx;
	if (!ahead)
		return 0;
	if (ahead > q->size)
		return break_ring(q, -EPROTO);
	head = load16(&avail_of(q)->ring[q->avail_idx % q->size]);
	c->head = head;
	c->nout = c->nin = 0;
	c->out_len = c->in_len = 0;
	r = walk_chain(q, c);
	if (r < 0)
		return break_ring(q, r);
	q->avail_idx++;
	return 1;
}

void virtq_unpop(struct virtq *q, unsigned n)
{
	q->avail_idx -= n;
}

/* Marks what lies behind a host pointer that came from this memory. */
static void mark_dirty(struct virtq *q, const struct iovec *v)
{
	for (unsigned i = 0; i < q->mem->n; i++) {
		const struct mem_region *m = &q->mem->region[i];
		uint64_t off = (uintptr_t)v->iov_base - (uintptr_t)m->host;

		if (off < m->size) {
			guest_mem_dirty(q->mem, m->gpa + off, v->iov_len);
			return;
		}
	}
}

void virtq_push_parts(
	struct virtq *q, uint16_t head, const struct iovec *in, unsigned nin, uint32_t written)
{
	struct used_elem *e = &used_of(q)->ring[q->used_idx % q->size];

	for (unsigned i = 0; i < nin; i++)
		mark_dirty(q, &in[i]);
	__atomic_store_n(&e->id, head, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, written, __ATOMIC_RELAXED);
	q->used_idx++;
}

void virtq_push(struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
	virtq_push_parts(q, c->head, c->iov + c->nout, c->nin, written);
}

/* §2.7.10.1: has the index passed `event` on its way from old to now? */
static bool passed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

bool virtq_publish(struct virtq *q)
{
	uint16_t old = q->published;

	if (q->used_idx == old)
		return false;
	q->published = q->used_idx;
	__atomic_store_n(&used_of(q)->idx, q->used_idx, __ATOMIC_RELEASE);
	guest_mem_dirty(q->mem, q->used_gpa, used_bytes(q));
	/* The driver writes used_event (or flags), then looks at idx; we the other way round. */
	atomic_thread_fence(memory_order_seq_cst);
	if (q->event_idx)
		return passed(load16(used_event(q)), q->used_idx, old);
	return !(load16(&avail_of(q)->flags) & AVAIL_NO_INTERRUPT);
}

void virtq_flush(struct virtq *q)
{
	if (virtq_publish(q))
		virtio_signal_raise(&q->signal, VIRTIO_ISR_QUEUE);
}

bool virtq_enable_kick(struct virtq *q)
{
	if (q->event_idx)
		store16(avail_event(q), q->avail_idx);
	else
		store16(&used_of(q)->flags, 0);
	guest_mem_dirty(q->mem, q->used_gpa, used_bytes(q));
	atomic_thread_fence(memory_order_seq_cst);
	return load16(&avail_of(q)->idx) != q->avail_idx;
}

void virtq_disable_kick(struct virtq *q)
{
	/* With event indices the old avail_event lies behind us already: no kick comes. */
	if (q->event_idx)
		return;
	store16(&used_of(q)->flags, USED_NO_NOTIFY);
	guest_mem_dirty(q->mem, q->used_gpa, used_bytes(q));
}

/* Copies between part [iov, iov+n) from byte `off` and buf, one way or the other. */
static size_t copy(
	const struct iovec *iov, unsigned n, size_t off, uint8_t *buf, size_t len, bool to_guest)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		size_t part;
		uint8_t *p;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		p = (uint8_t *)iov[i].iov_base + off;
		part = MIN(iov[i].iov_len - off, len - done);
		if (to_guest)
			memcpy(p, buf + done, part);
		else
			memcpy(buf + done, p, part);
		done += part;
		off = 0;
	}
	return done;
}

size_t virtq_chain_read(const struct virtq_chain *c, size_t off, void *buf, size_t len)
{
	return copy(c->iov, c->nout, off, buf, len, false);
}

size_t virtq_chain_write(const struct virtq_chain *c, size_t off, const void *buf, size_t len)
{
	return copy(c->iov + c->nout, c->nin, off, (uint8_t *)buf, len, true);
}
