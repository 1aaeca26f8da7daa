/* SPDX-License-Identifier: Apache-2.0 */
/* Bursts against a driver that offers chains of every kind: what bursts and virtq_pop() take in
 * turn is each chain once, in order, and each comes back. */
#include <criterion/criterion.h>
#include <string.h>
#include "devices/testing/guest_driver.h"
#include "devices/virtio/virtq_burst.h"
#include "vmm/base/num.h"

#define SIZE   64
#define ROUNDS 3000

struct ring {
	struct fake_host f;
	struct guest_driver g;
	struct virtq q;
	uint64_t lot, data;
	unsigned offered, popped, back, in_burst; /* chains, ever */
	bool in_order;
	struct virtq_setup setup;
	uint64_t area[512]; /* what is in flight, where a test keeps it */
};

static void queue_setup(struct guest_driver *g, unsigned i, uint16_t size, uint64_t desc,
	uint64_t avail, uint64_t used)
{
	struct ring *r = container_of(g, struct ring, g);

	r->setup = (struct virtq_setup){.size = size,
		.desc = desc,
		.avail = avail,
		.used = used,
		.features = g->negotiated};
	cr_assert_eq(virtq_init(&r->q, &r->f.mem, &r->setup), 0);
}

static const struct guest_transport none = {.name = "none", .queue_setup = queue_setup};

static void start(struct ring *r, uint64_t features)
{
	*r = (struct ring){.lot = 1};
	cr_assert_eq(fake_host_init(&r->f, 1 * MIB, true), 0);
	r->g = (struct guest_driver){.f = &r->f, .t = &none, .heap = 0x1000};
	r->g.negotiated = features;
	r->in_order = features & VIRTIO_BIT_IN_ORDER;
	guest_queue_init(&r->g, 0, SIZE);
	r->data = guest_alloc(&r->g, SIZE * 64, 64);
}

static unsigned draw(struct ring *r, unsigned n)
{
	r->lot = r->lot * 6364136223846793005u + 1442695040888963407u;
	return (r->lot >> 33) % n;
}

/* Mostly what bursts take; each begins with its serial number. */
static void offer(struct ring *r)
{
	uint64_t at = r->data + (r->offered % SIZE) * 64, heap = r->g.heap;
	struct guest_buf b[] = {{at, 16, false}, {at + 16, 16, draw(r, 2)}};
	unsigned kind = draw(r, 12);

	memcpy(guest_ptr(&r->g, at, 4), &r->offered, 4);
	if (kind == 0) {
		r->g.heap = r->data + SIZE * 64 + (r->offered % SIZE) * 64;
		guest_add_indirect(&r->g, 0, b, 2);
		r->g.heap = heap;
	} else {
		guest_add(&r->g, 0, b, kind == 1 ? 2 : 1);
	}
	r->offered++;
}

static void expect_next(struct ring *r, const struct iovec *v)
{
	cr_assert_eq(v->iov_len, 16u);
	cr_assert_eq(memcmp(v->iov_base, &r->popped, 4), 0, "chain %u", r->popped);
	r->popped++;
}

/* A burst of which some may be put back. */
static bool take_burst(struct ring *r)
{
	struct virtq_burst b;
	unsigned n = virtq_pop_burst(&r->q, &b, 1 + draw(r, VIRTQ_BURST));
	unsigned keep = n - (draw(r, 4) ? 0 : draw(r, n + 1));

	for (unsigned i = 0; i < keep; i++)
		expect_next(r, &b.buf[i]);
	r->in_burst += keep;
	virtq_push_burst(&r->q, &b, keep, r->in_order);
	virtq_unpop(&r->q, n - keep);
	return n;
}

static bool take_one(struct ring *r)
{
	static struct virtq_chain c;
	int n = virtq_pop(&r->q, &c);

	cr_assert_geq(n, 0);
	if (n == 0)
		return false;
	expect_next(r, &c.iov[0]);
	virtq_push(&r->q, &c, c.in_len);
	return true;
}

static void serve(struct ring *r)
{
	while (take_burst(r) || take_one(r))
		;
	cr_assert_eq(r->popped, r->offered);
	virtq_publish(&r->q);
	while (guest_take_used(&r->g, 0, NULL, NULL))
		r->back++;
	cr_assert_eq(r->back, r->offered);
	cr_assert(!r->g.q[0].next.batch, "the last used element is of the last chain");
}

static void every_kind_of_chain(uint64_t features)
{
	static struct ring r;

	start(&r, features);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned n = draw(&r, SIZE / 2); n; n--)
			offer(&r);
		serve(&r);
	}
	cr_expect_gt(r.in_burst, r.offered / 2, "bursts are the rule");
	fake_host_fini(&r.f);
}

Test(virtq_burst, split)
{
	every_kind_of_chain(VIRTIO_BIT_INDIRECT_DESC);
}

Test(virtq_burst, split_in_order)
{
	every_kind_of_chain(VIRTIO_BIT_INDIRECT_DESC | VIRTIO_BIT_IN_ORDER);
}

Test(virtq_burst, packed)
{
	every_kind_of_chain(VIRTIO_BIT_INDIRECT_DESC | VIRTIO_BIT_RING_PACKED);
}

Test(virtq_burst, packed_in_order)
{
	every_kind_of_chain(
		VIRTIO_BIT_INDIRECT_DESC | VIRTIO_BIT_RING_PACKED | VIRTIO_BIT_IN_ORDER);
}

/* A burst is popped, some of it pushed, and the process dies before it publishes: its successor
 * pops it all again, one by one. */
static void die_after_a_burst(struct ring *r)
{
	unsigned popped = r->popped;
	struct virtq_burst b;
	struct virtq_pos pos;
	unsigned n = virtq_pop_burst(&r->q, &b, 1 + draw(r, VIRTQ_BURST));

	for (unsigned i = 0; i < n; i++)
		expect_next(r, &b.buf[i]);
	virtq_push_burst(&r->q, &b, n / 2, r->in_order);
	virtq_pos_get(&r->q, &pos);
	r->setup.pos = &pos;
	cr_assert_eq(virtq_init(&r->q, &r->f.mem, &r->setup), 0);
	cr_assert_eq(virtq_to_redo(&r->q), n);
	r->popped = popped;
}

static void killed(uint64_t features)
{
	static struct ring r;

	start(&r, features | VIRTIO_BIT_INDIRECT_DESC);
	r.setup.inflight = r.area;
	r.setup.inflight_len = sizeof(r.area);
	cr_assert_eq(virtq_init(&r.q, &r.f.mem, &r.setup), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned n = draw(&r, SIZE / 2); n; n--)
			offer(&r);
		if (draw(&r, 3) == 0)
			die_after_a_burst(&r);
		serve(&r);
	}
	cr_expect_gt(r.in_burst, r.offered / 2, "bursts are the rule");
	fake_host_fini(&r.f);
}

Test(virtq_burst, killed_split)
{
	killed(0);
	killed(VIRTIO_BIT_IN_ORDER);
}

Test(virtq_burst, killed_packed)
{
	killed(VIRTIO_BIT_RING_PACKED);
	killed(VIRTIO_BIT_RING_PACKED | VIRTIO_BIT_IN_ORDER);
}

/* What is wrong is left to virtq_pop(), which says so. */
static void leaves_what_is_wrong(uint64_t features, struct guest_buf wrong)
{
	static struct ring r;
	static struct virtq_chain c;
	struct virtq_burst b;
	struct guest_buf good = {0x8000, 16, false};

	start(&r, features);
	guest_add(&r.g, 0, &good, 1);
	guest_add(&r.g, 0, &wrong, 1);
	cr_expect_eq(virtq_pop_burst(&r.q, &b, VIRTQ_BURST), 1u);
	cr_expect_eq(virtq_pop_burst(&r.q, &b, VIRTQ_BURST), 0u);
	cr_expect_lt(virtq_pop(&r.q, &c), 0);
	cr_expect_eq(virtq_pop_burst(&r.q, &b, VIRTQ_BURST), 0u, "the ring is broken");
	fake_host_fini(&r.f);
}

Test(virtq_burst, wrong_buffers)
{
	static const struct guest_buf wrong[] = {
		{0x8000, 0, false},
		{1 * MIB, 16, false},
		{1 * MIB - 8, 16, false},
		{0x8000, UINT32_MAX, false},
		{UINT64_MAX - 7, 16, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		leaves_what_is_wrong(0, wrong[i]);
		leaves_what_is_wrong(VIRTIO_BIT_RING_PACKED, wrong[i]);
	}
}

Test(virtq_burst, index_that_jumps)
{
	static struct ring r;
	struct virtq_burst b;

	start(&r, 0);
	guest_set_avail_idx(&r.g, 0, SIZE + 1);
	cr_expect_eq(virtq_pop_burst(&r.q, &b, VIRTQ_BURST), 0u);
	fake_host_fini(&r.f);
}

Test(virtq_burst, id_twice)
{
	static struct ring r;
	struct virtq_burst b;

	start(&r, VIRTIO_BIT_RING_PACKED);
	guest_make_avail(&r.g, 0, 3); /* writable: another kind */
	cr_expect_eq(virtq_pop_burst(&r.q, &b, VIRTQ_BURST), 0u);
	start(&r, VIRTIO_BIT_RING_PACKED);
	for (unsigned i = 0; i < 2; i++)
		guest_set_desc(&r.g, 0, i, 0x8000, 16, 1 << 7, 3);
	cr_expect_eq(virtq_pop_burst(&r.q, &b, VIRTQ_BURST), 1u);
	fake_host_fini(&r.f);
}
