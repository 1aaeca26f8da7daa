/* SPDX-License-Identifier: Apache-2.0 */
/* One script on rings of both kinds: offers, pops, unpops, completions out of order, publications
 * and stops, drawn by lot. What device and driver see must not depend on the kind: the transcripts
 * are equal, and each buffer comes back once, with its length and its bytes. */
#include <criterion/criterion.h>
#include <string.h>
#include "devices/testing/guest_driver.h"
#include "devices/virtio/virtq.h"
#include "vmm/base/num.h"

#define STEPS 4000
#define LINE  16 /* bytes that the device writes, at most */

struct chain {
	unsigned serial, ndesc;
	uint16_t head;
	uint64_t data;
	struct iovec in;
	unsigned nin;
	uint32_t written;
	enum { OFFERED, POPPED, PUSHED, BACK } state;
};

struct script {
	struct fake_host f;
	struct guest_driver g;
	struct virtq q;
	struct virtq_setup setup;
	struct chain chain[VIRTIO_QUEUE_MAX]; /* a ring: [back, offered) are the driver's */
	unsigned offered, popped, back;
	uint64_t lot;
	uint64_t hash;
	unsigned wraps;
};

static void queue_setup(struct guest_driver *g, unsigned i, uint16_t size, uint64_t desc,
	uint64_t avail, uint64_t used)
{
	struct script *s = container_of(g, struct script, g);

	s->setup = (struct virtq_setup){.size = size,
		.desc = desc,
		.avail = avail,
		.used = used,
		.features = g->negotiated};
	cr_assert_eq(virtq_init(&s->q, &s->f.mem, &s->setup), 0);
}

static const struct guest_transport none = {.name = "none", .queue_setup = queue_setup};

static unsigned draw(struct script *s, unsigned n)
{
	s->lot = s->lot * 6364136223846793005u + 1442695040888963407u;
	return (s->lot >> 33) % n;
}

/* One line of the transcript, of which only the hash is kept. */
static void note(struct script *s, unsigned what, unsigned a, unsigned b)
{
	s->hash = (s->hash ^ what ^ (uint64_t)a << 8 ^ (uint64_t)b << 32) * 0x100000001b3u;
}

static struct chain *at(struct script *s, unsigned n)
{
	return &s->chain[n % VIRTIO_QUEUE_MAX];
}

static unsigned descriptors(struct script *s)
{
	unsigned n = 0;

	for (unsigned i = s->back; i != s->offered; i++)
		n += at(s, i)->ndesc;
	return n;
}

static void offer(struct script *s)
{
	struct chain *c = at(s, s->offered);
	bool indirect = s->q.indirect && draw(s, 3) == 0;
	unsigned out = draw(s, 3), in = draw(s, 3) + (out == 0);
	uint64_t data = 0x100000 + (uint64_t)(s->offered % VIRTIO_QUEUE_MAX) * 64;
	struct guest_buf b[6];
	uint64_t heap = s->g.heap;

	*c = (struct chain){.serial = s->offered, .ndesc = indirect ? 1 : out + in, .data = data};
	if (descriptors(s) + c->ndesc > s->q.size)
		return;
	for (unsigned i = 0; i < out + in; i++)
		b[i] = (struct guest_buf){data + 8 * i, 8, i >= out};
	*(uint64_t *)guest_ptr(&s->g, data, 8) = out ? s->offered : 0;
	s->g.heap = 0x80000 + (s->offered % VIRTIO_QUEUE_MAX) * 128; /* its table, if it has one */
	c->head = indirect ? guest_add_indirect(&s->g, 0, b, out + in)
			   : guest_add(&s->g, 0, b, out + in);
	s->g.heap = heap;
	s->offered++;
	note(s, 1, out, in);
}

static void pop(struct script *s)
{
	static struct virtq_chain v;
	struct chain *c = at(s, s->popped);
	uint64_t serial = 0;
	int r = virtq_pop(&s->q, &v);

	cr_assert_eq(r, s->popped != s->offered);
	note(s, 2, r, 0);
	if (r == 0)
		return;
	cr_assert_eq(v.head, c->head);
	cr_assert_eq(virtq_chain_read(&v, 0, &serial, 8), v.nout ? 8u : 0u);
	cr_assert_eq(serial, v.nout ? c->serial : 0);
	c->nin = v.nin;
	c->in = v.nin ? v.iov[v.nout] : (struct iovec){0};
	c->state = POPPED;
	s->popped++;
	note(s, 3, v.nout << 8 | v.nin, v.out_len << 8 | v.in_len);
}

/* The last popped that nothing was pushed after or of. */
static void unpop(struct script *s)
{
	unsigned n = draw(s, 3);

	for (unsigned i = 0; i < n; i++) {
		if (s->popped == s->back || at(s, s->popped - 1)->state != POPPED) {
			n = i;
			break;
		}
		at(s, --s->popped)->state = OFFERED;
	}
	virtq_unpop(&s->q, n);
	note(s, 4, n, 0);
}

static void push(struct script *s)
{
	unsigned n = s->popped - s->back, from = n ? draw(s, n) : 0;

	for (unsigned i = 0; i < n; i++) {
		struct chain *c = at(s, s->back + (from + i) % n);

		if (c->state != POPPED)
			continue;
		c->written = c->nin ? draw(s, 9) : 0;
		if (c->nin)
			memset(c->in.iov_base, c->serial, c->written);
		c->state = PUSHED;
		virtq_push_parts(&s->q, c->head, &c->in, c->nin, c->written);
		note(s, 5, c->serial, c->written);
		return;
	}
}

static void take(struct script *s)
{
	uint32_t head, len;

	while (guest_take_used(&s->g, 0, &head, &len)) {
		struct chain *c = NULL;

		for (unsigned i = s->back; i != s->popped; i++)
			if (at(s, i)->state == PUSHED && at(s, i)->head == head)
				c = at(s, i);
		cr_assert(c, "head %u came back out of turn", head);
		cr_assert_eq(len, c->written);
		c->state = BACK;
		note(s, 6, c->serial, len);
	}
	for (; s->back != s->popped && at(s, s->back)->state == BACK; s->back++)
		;
}

static void publish(struct script *s)
{
	uint16_t before = guest_used_idx(&s->g, 0);
	bool wanted = virtq_publish(&s->q);
	uint16_t n = guest_used_idx(&s->g, 0) - before;

	note(s, 7, wanted, n);
	cr_assert_eq(wanted, n > 0, "the driver left interrupts on");
	take(s);
}

/* Stops the queue, when all is drained, and starts it again where it stood. */
static void restart(struct script *s)
{
	struct virtq_pos pos;

	while (s->popped != s->back) {
		push(s);
		publish(s);
	}
	virtq_pos_get(&s->q, &pos);
	s->setup.pos = &pos;
	cr_assert_eq(virtq_init(&s->q, &s->f.mem, &s->setup), 0);
	s->setup.pos = NULL;
	s->wraps++;
	note(s, 8, 0, 0);
}

static void step(struct script *s)
{
	switch (draw(s, 16)) {
	case 0 ... 4:
		offer(s);
		break;
	case 5 ... 8:
		pop(s);
		break;
	case 9:
		unpop(s);
		break;
	case 10 ... 12:
		push(s);
		break;
	case 13 ... 14:
		publish(s);
		break;
	default:
		if (draw(s, 20) == 0)
			restart(s);
		virtq_disable_kick(&s->q);
		note(s, 9, virtq_enable_kick(&s->q), 0);
	}
}

static uint64_t run(uint64_t features, uint16_t size, uint64_t lot)
{
	static struct script s;

	memset(&s, 0, sizeof(s));
	cr_assert_eq(fake_host_init(&s.f, 2 * MIB, true), 0);
	s.g = (struct guest_driver){.f = &s.f, .t = &none, .heap = 0x10000, .negotiated = features};
	s.lot = lot;
	guest_queue_init(&s.g, 0, size);
	for (unsigned i = 0; i < STEPS; i++)
		step(&s);
	restart(&s);
	cr_expect_gt(s.wraps, 2u);
	cr_expect_gt(s.back, 4u * size, "the ring went round");
	fake_host_fini(&s.f);
	return s.hash;
}

Test(virtq_both, equal_transcripts, .timeout = 60)
{
	static const uint64_t features[] = {0, VIRTIO_BIT_INDIRECT_DESC};
	static const uint16_t sizes[] = {4, 8, 64};

	for (unsigned f = 0; f < ARRAY_SIZE(features); f++)
		for (unsigned z = 0; z < ARRAY_SIZE(sizes); z++)
			for (uint64_t lot = 1; lot < 20; lot++)
				cr_expect_eq(run(features[f], sizes[z], lot),
					run(features[f] | VIRTIO_BIT_RING_PACKED, sizes[z], lot),
					"features %#lx size %u lot %lu", features[f], sizes[z],
					lot);
}

/* Sizes that only packed rings have (§2.8.10.1). */
Test(virtq_both, odd_sizes, .timeout = 60)
{
	static const uint16_t sizes[] = {4, 5, 7, 13, 100};

	for (unsigned z = 0; z < ARRAY_SIZE(sizes); z++)
		for (uint64_t lot = 1; lot < 20; lot++)
			run(VIRTIO_BIT_INDIRECT_DESC | VIRTIO_BIT_RING_PACKED, sizes[z], lot);
}
