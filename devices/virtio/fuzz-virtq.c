/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile driver's ring, split or packed. Descriptors are mostly valid, so that chains are really
 * walked; some fields are wrong now and then. Whatever comes, a chain that is handed out lies in
 * guest memory.
 */
#include <stdlib.h>
#include <string.h>
#include "devices/virtio/virtq_burst.h"
#include "vmm/base/num.h"

#define SIZE  16
#define DESC  0x1000
#define AVAIL 0x2000
#define USED  0x3000
#define TABLE 0x4000
#define RAM   (64 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct guest_mem mem;

struct input {
	const uint8_t *p;
	size_t n;
};

static uint32_t take(struct input *in, unsigned bytes)
{
	uint32_t v = 0;

	bytes = MIN((size_t)bytes, in->n);
	if (!bytes)
		return 0; /* no input at all has no address either */
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->n -= bytes;
	return v;
}

static bool rarely(struct input *in)
{
	return take(in, 1) == 0x55;
}

static uint8_t *at(uint64_t gpa)
{
	return mem.region[0].host + gpa;
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void put_desc(struct input *in, uint64_t table, unsigned i, unsigned n)
{
	uint64_t addr = take(in, 2) & 0x7fff;
	uint32_t len = 1 + (take(in, 2) & 0x7fff);
	uint16_t flags = take(in, 1) & 3, next = (i + 1) % n;
	uint8_t *d = at(table + 16 * i);

	if (rarely(in))
		addr = (uint64_t)take(in, 4) << take(in, 1) % 33;
	if (rarely(in))
		len = take(in, 4);
	if (rarely(in))
		next = take(in, 2);
	if (table == DESC && (take(in, 1) & 7) == 0) {
		flags = 4;
		addr = TABLE;
		len = 16 * (1 + take(in, 1) % SIZE);
	}
	if (rarely(in))
		flags = take(in, 2);
	store_le(d, 8, addr);
	store_le(d + 8, 4, len);
	store_le(d + 12, 2, flags);
	store_le(d + 14, 2, next);
}

static void check_chain(const struct virtq_chain *c)
{
	uint64_t out = 0, in = 0;

	check(c->head < SIZE && c->nout + c->nin >= 1 && c->nout + c->nin <= VIRTQ_CHAIN_MAX);
	for (unsigned i = 0; i < (unsigned)c->nout + c->nin; i++) {
		uint64_t off = (uint8_t *)c->iov[i].iov_base - mem.region[0].host;

		check(off < RAM && c->iov[i].iov_len <= RAM - off && c->iov[i].iov_len);
		*(i < c->nout ? &out : &in) += c->iov[i].iov_len;
	}
	check(out == c->out_len && in == c->in_len);
}

/* The device's own books of a packed ring: what is in flight is counted, and there is no more of it
 * than slots. What waits to be published may be more: of a driver that offers slots again which it
 * has not got back. It harms its own ring only. */
static void check_books(const struct virtq *q)
{
	const struct virtq_packed *v = &q->packed;
	unsigned n = 0;

	for (unsigned i = 0; i < SIZE; i++)
		n += v->ndesc[i];
	check(n == v->in_flight && n <= SIZE);
	check(v->avail.slot < SIZE && v->used.slot < SIZE && v->order_at < SIZE);
	check((v->used.slot + n) % SIZE == v->avail.slot);
}

/* Chains that were popped and are pushed later, in another order. */
struct kept {
	uint16_t head[SIZE];
	unsigned n;
};

/* A burst, of which some are put back. */
static void serve_burst(struct virtq *q, struct input *in)
{
	struct virtq_burst b;
	unsigned n = virtq_pop_burst(q, &b, take(in, 1) % (VIRTQ_BURST + 1)), keep;

	check(n <= SIZE);
	for (unsigned i = 0; i < n; i++) {
		uint64_t off = (uint8_t *)b.buf[i].iov_base - mem.region[0].host;

		check(b.head[i] < SIZE && b.buf[i].iov_len);
		check(off < RAM && b.buf[i].iov_len <= RAM - off);
	}
	keep = n - (rarely(in) ? take(in, 1) % (n + 1) : 0);
	virtq_push_burst(q, &b, keep, take(in, 1) & 1);
	virtq_unpop(q, n - keep);
}

static void serve(struct virtq *q, struct kept *kept, struct input *in)
{
	static struct virtq_chain c;
	int n = 0, r;

	if (take(in, 1) & 1)
		serve_burst(q, in);
	while ((r = virtq_pop(q, &c)) > 0) {
		check(++n <= SIZE);
		check_chain(&c);
		if (rarely(in)) {
			virtq_unpop(q, 1);
			break;
		}
		if (take(in, 1) & 1 && kept->n < SIZE)
			kept->head[kept->n++] = c.head;
		else
			virtq_push(q, &c, c.in_len);
		if (take(in, 1) & 1)
			virtq_publish(q);
	}
	check(r >= 0 ? !q->broken : q->broken);
	for (unsigned i = take(in, 1) % (SIZE + 1); i && kept->n; i--)
		virtq_push_parts(q, kept->head[--kept->n], NULL, 0, take(in, 1));
	if (q->is_packed)
		check_books(q);
	virtq_publish(q);
	virtq_disable_kick(q);
	virtq_enable_kick(q);
}

static void offer_split(struct virtq *q, struct input *in)
{
	uint16_t idx = load_le(at(AVAIL + 2), 2), fresh = take(in, 1) % (SIZE + 1);

	for (unsigned i = 0; i < SIZE; i++)
		put_desc(in, DESC, i, SIZE);
	for (unsigned i = 0; i < fresh; i++)
		store_le(at(AVAIL + 4 + 2 * ((idx + i) % SIZE)), 2,
			rarely(in) ? take(in, 2) : take(in, 1) % SIZE);
	store_le(at(AVAIL + 4 + 2 * SIZE), 2, take(in, 2));
	store_le(at(AVAIL), 2, take(in, 1) & 1);
	store_le(at(AVAIL + 2), 2, rarely(in) ? take(in, 2) : idx + fresh);
}

/* One lap from where the device pops next: mostly a chain after the other, ids in turn. */
static void offer_packed(struct virtq *q, struct input *in)
{
	unsigned room = SIZE - (take(in, 1) & 3 ? q->packed.in_flight : 0);
	unsigned fresh = take(in, 1) % (room + 1), slot = q->packed.avail.slot, id = take(in, 1);
	bool wrap = q->packed.avail.wrap;

	for (unsigned i = 0; i < fresh; i++) {
		uint8_t *d = at(DESC + 16 * slot);
		uint16_t flags;

		put_desc(in, DESC, slot, SIZE);
		flags = (load_le(d + 12, 2) & ~0x8080u) | (wrap ? 0x80 : 0x8000);
		if (i + 1 == fresh && !rarely(in))
			flags &= ~1;
		if (flags & 4 && !rarely(in))
			flags &= ~1;
		if (rarely(in))
			flags = take(in, 2);
		for (unsigned n = 0; n < SIZE && q->packed.ndesc[id % SIZE]; n++)
			id++;
		store_le(d + 12, 2, rarely(in) ? take(in, 1) % (2 * SIZE) : id % SIZE);
		store_le(d + 14, 2, flags);
		id += !(flags & 1);
		slot = (slot + 1) % SIZE;
		wrap ^= slot == 0;
	}
	store_le(at(AVAIL), 4, take(in, 3));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct mem_range ram = {0, RAM};
	struct virtq_setup s = {.size = SIZE, .desc = DESC, .avail = AVAIL, .used = USED};
	struct kept kept = {.n = 0};
	struct virtq q;

	if (!mem.n)
		check(guest_mem_init(&mem, &ram, 1, NULL, NULL) == 0);
	memset(at(DESC), 0, TABLE - DESC);
	s.features = (uint64_t)take(&in, 1) << 28 & VIRTIO_RING_FEATURES;
	if (rarely(&in))
		s.used = take(&in, 4);
	if (virtq_init(&q, &mem, &s) < 0)
		return 0;
	for (unsigned i = 0; i < SIZE; i++) /* valid, of one byte */
		put_desc(&(struct input){0}, TABLE, i, SIZE);
	for (int round = 0; in.n && round < 16; round++) {
		if (q.is_packed)
			offer_packed(&q, &in);
		else
			offer_split(&q, &in);
		for (unsigned i = 0; i < 3; i++)
			put_desc(&in, TABLE, take(&in, 1) % SIZE, SIZE);
		serve(&q, &kept, &in);
		if (q.broken)
			break;
	}
	return 0;
}
