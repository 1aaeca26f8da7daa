/* SPDX-License-Identifier: Apache-2.0 */
/* The face of both kinds of ring, and what does not depend on the kind: chains and their buffers.
 * The rings lie whole in one memory region each, so they are reached through host pointers that
 * were checked once. Whatever else comes from the guest is loaded once into a local, and the local
 * is judged. */
#include "devices/virtio/virtq_priv.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "vmm/base/num.h"

/* What a predecessor has left in the area, or a new one. */
static int init_kept(struct virtq *q, const struct virtq_setup *s)
{
	const uint16_t *version = (const uint16_t *)s->inflight + 4; /* after the feature flags */

	if ((uintptr_t)s->inflight & 7 || *version > 1 ||
		s->inflight_len < virtq_inflight_bytes(q->is_packed, q->size))
		return -EINVAL;
	q->kept.area = s->inflight;
	return q->is_packed ? virtq_packed_keep_init(q) : virtq_split_keep_init(q);
}

int virtq_init(struct virtq *q, struct guest_mem *mem, const struct virtq_setup *s)
{
	int r;

	if (!s->size || s->size > VIRTIO_QUEUE_MAX)
		return -EINVAL;
	/* Not all of it: most of it belongs to rings of one kind, and is memory not touched else.
	 */
	memset(q, 0, offsetof(struct virtq, split));
	memset(&q->kept, 0, offsetof(struct virtq_inflight, redo));
	q->mem = mem;
	q->near = &mem->region[0];
	q->size = s->size;
	q->is_packed = s->features & VIRTIO_BIT_RING_PACKED;
	q->event_idx = s->features & VIRTIO_BIT_EVENT_IDX;
	q->indirect = s->features & VIRTIO_BIT_INDIRECT_DESC;
	q->signal = s->signal;
	r = q->is_packed ? virtq_packed_init(q, s) : virtq_split_init(q, s);
	return r == 0 && s->inflight ? init_kept(q, s) : r;
}

void virtq_pos_get(const struct virtq *q, struct virtq_pos *ret_pos)
{
	*ret_pos = VIRTQ_POS_FRESH;
	if (q->is_packed)
		virtq_packed_pos(q, ret_pos);
	else
		virtq_split_pos(q, ret_pos);
}

/* The next chain of a predecessor's. */
static int redo(struct virtq *q, struct virtq_chain *c)
{
	int r;

	c->head = q->kept.redo[q->kept.redone];
	r = q->is_packed ? virtq_packed_redo(q, c) : virtq_split_redo(q, c);
	if (r > 0)
		q->kept.redone++;
	return r;
}

int virtq_pop(struct virtq *q, struct virtq_chain *ret_chain)
{
	int r;

	if (q->broken)
		return -EPROTO;
	ret_chain->nout = ret_chain->nin = 0;
	ret_chain->out_len = ret_chain->in_len = 0;
	if (virtq_to_redo(q))
		r = redo(q, ret_chain);
	else
		r = q->is_packed ? virtq_packed_pop(q, ret_chain) : virtq_split_pop(q, ret_chain);
	q->broken = r < 0;
	return r;
}

void virtq_unpop(struct virtq *q, unsigned n)
{
	/* those to be done again came before all others */
	unsigned fresh = q->kept.area ? MIN((uint64_t)n, q->kept.popped) : n;

	if (q->is_packed)
		virtq_packed_unpop(q, fresh);
	else
		virtq_split_unpop(q, fresh);
	q->kept.popped -= fresh;
	q->kept.redone -= n - fresh;
}

/* Marks what lies behind a host pointer that came from this memory. */
static void mark_dirty(struct virtq *q, const struct iovec *v)
{
	unsigned n = __atomic_load_n(&q->mem->n, __ATOMIC_ACQUIRE); /* regions may be added */

	for (unsigned i = 0; i < n; i++) {
		const struct mem_region *m = &q->mem->region[i];
		uint64_t off = (uintptr_t)v->iov_base - (uintptr_t)m->host;

		if (off < m->size) {
			guest_mem_dirty(q->mem, m->gpa + off, v->iov_len);
			return;
		}
	}
}

static __attribute__((noinline)) void mark_all(
	struct virtq *q, const struct iovec *in, unsigned nin)
{
	for (unsigned i = 0; i < nin; i++)
		mark_dirty(q, &in[i]);
}

void virtq_push_parts(
	struct virtq *q, uint16_t head, const struct iovec *in, unsigned nin, uint32_t written)
{
	if (guest_mem_logging(q->mem))
		mark_all(q, in, nin);
	if (q->is_packed)
		virtq_packed_push(q, head, written);
	else
		virtq_split_push(q, head, written);
}

bool virtq_publish(struct virtq *q)
{
	return q->is_packed ? virtq_packed_publish(q) : virtq_split_publish(q);
}

void virtq_flush(struct virtq *q)
{
	if (virtq_publish(q))
		virtio_signal_raise(&q->signal, VIRTIO_ISR_QUEUE);
}

bool virtq_pending(const struct virtq *q)
{
	return q->is_packed ? virtq_packed_pending(q) : virtq_split_pending(q);
}

bool virtq_enable_kick(struct virtq *q)
{
	bool more = q->is_packed ? virtq_packed_enable_kick(q) : virtq_split_enable_kick(q);

	return more || virtq_to_redo(q);
}

void virtq_disable_kick(struct virtq *q)
{
	/* With event indices the place last asked for lies behind us already: no kick comes. */
	if (q->event_idx)
		return;
	if (q->is_packed)
		virtq_packed_disable_kick(q);
	else
		virtq_split_disable_kick(q);
}

void *virtq_find(struct virtq *q, uint64_t gpa, uint32_t len)
{
	unsigned n = __atomic_load_n(&q->mem->n, __ATOMIC_ACQUIRE); /* regions may be added */

	for (unsigned i = 0; i < n; i++) {
		const struct mem_region *r = &q->mem->region[i];

		if (gpa - r->gpa < r->size)
			q->near = r;
	}
	return guest_mem_ptr(q->mem, gpa, len);
}

int virtq_indirect_table(
	struct virtq *q, uint64_t addr, uint32_t len, const uint8_t **ret_table, unsigned *ret_n)
{
	if (!q->indirect || !len || len % 16)
		return -EPROTO;
	*ret_table = virtq_ptr(q, addr, len);
	*ret_n = len / 16;
	return *ret_table ? 0 : -EFAULT;
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
