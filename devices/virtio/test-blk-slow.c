/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-blk over a back-end that answers when the test says so: what happens to requests while the
 * disk is slow. */
#include <criterion/criterion.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "devices/backend/block.h"
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/virtq.h"
#include "vmm/base/num.h"

#define RING 8

struct slow {
	struct block block; /* first */
	struct block_lane lane;
	struct ev_loop *loop;
	void (*drained)(void *arg);
	void *arg;
	struct block_req *held; /* the worker's */
	_Atomic unsigned nheld, most;
	struct ev_msg let_go;
	_Atomic bool bound;
};

static int slow_open(struct block *b, struct ev_loop *loop, void (*drained)(void *arg), void *arg,
	struct block_lane **ret_lane)
{
	struct slow *s = (struct slow *)b;

	s->loop = loop;
	s->drained = drained;
	s->arg = arg;
	s->bound = true;
	*ret_lane = &s->lane;
	return 0;
}

static void slow_close(struct block_lane *l)
{
	struct slow *s = container_of(l, struct slow, lane);

	cr_expect_eq(s->nheld, 0u, "nothing is in flight");
	s->bound = false;
}

static void slow_submit(struct block_lane *l, struct block_req *r)
{
	struct slow *s = container_of(l, struct slow, lane);

	r->next = s->held;
	s->held = r;
	s->nheld++;
	s->most = MAX(s->most, s->nheld);
}

static void slow_kick(struct block_lane *l)
{
}

static void answer_all(struct ev_msg *m)
{
	struct slow *s = container_of(m, struct slow, let_go);

	while (s->held) {
		struct block_req *r = s->held;

		s->held = r->next;
		s->nheld--;
		r->done(r, 0);
	}
	s->drained(s->arg);
}

static void answer_youngest(struct ev_msg *m)
{
	struct slow *s = container_of(m, struct slow, let_go);
	struct block_req *r = s->held;

	s->held = r->next;
	r->done(r, 0);
	s->drained(s->arg);
	s->nheld--;
}

static const struct block_ops slow_ops = {
	.name = "slow",
	.open = slow_open,
};

static const struct block_lane_ops slow_lane_ops = {
	.batch = 64,
	.submit = slow_submit,
	.kick = slow_kick,
	.close = slow_close,
};

static struct guest_rig rig;
static struct guest_driver *g;
static struct virtio_dev *dev;
static struct slow slow;
static uint64_t hdr;

static void start(uint64_t features)
{
	cr_assert_eq(guest_negotiate(g, features) & 8, 8);
	guest_queue_init(g, 0, RING);
	guest_driver_ok(g);
}

static void make_with(bool in_order)
{
	struct virtio_blk_opts o = {.queue_size = RING, .in_order = in_order};

	slow = (struct slow){.block = {&slow_ops, .size = 1 * MIB, .block_size = 512},
		.lane.ops = &slow_lane_ops,
		.let_go.handle = answer_all};
	guest_rig_init(&rig, 4 * MIB);
	cr_assert_eq(virtio_blk_new(&rig.f.host, "_disk0", &slow.block, &o, &dev), 0);
	guest_rig_attach(&rig, &guest_pci_msix, dev);
	g = &rig.g;
	start(UINT64_MAX);
	hdr = guest_alloc(g, 32, 16);
	*(uint32_t *)guest_ptr(g, hdr, 4) = VIRTIO_BLK_T_FLUSH;
}

static void make(void)
{
	make_with(false);
}

static void unmake(void)
{
	guest_rig_fini(&rig);
}

TestSuite(blk_slow, .init = make, .fini = unmake, .timeout = 30);

static void flush_requests(unsigned n)
{
	struct guest_buf b[2] = {{hdr, 16, false}, {hdr + 16, 1, true}};

	for (unsigned i = 0; i < n; i++)
		guest_add(g, 0, b, 2);
	g->t->kick(g, 0);
}

static void wait_held(unsigned n)
{
	for (int i = 0; i < 5000 && slow.nheld != n; i++)
		usleep(1000);
	cr_assert_eq(slow.nheld, n);
}

Test(blk_slow, answers_come_later)
{
	flush_requests(3);
	wait_held(3);
	cr_expect_eq(guest_used_idx(g, 0), 0);
	ev_post(slow.loop, &slow.let_go);
	for (int i = 0; i < 3; i++)
		cr_expect(guest_wait_used(g, 0, NULL, NULL));
}

/* A driver that reuses descriptors which are still in flight (a packed ring has no room for that):
 * the device holds no more than its ring, and goes on when there is room. */
Test(blk_slow, more_than_the_ring_holds)
{
	start(~VIRTIO_BIT_RING_PACKED);
	flush_requests(4);
	wait_held(4);
	flush_requests(4);
	wait_held(8);
	flush_requests(4);
	usleep(20000);
	cr_expect_eq(slow.nheld, 8u);
	ev_post(slow.loop, &slow.let_go);
	for (int i = 0; i < 8; i++)
		cr_assert(guest_wait_used(g, 0, NULL, NULL));
	wait_held(4);
	ev_post(slow.loop, &slow.let_go);
	for (int i = 0; i < 4; i++)
		cr_assert(guest_wait_used(g, 0, NULL, NULL));
	cr_expect_eq(slow.most, 8u);
}

/* §2.4: a reset has ended only when the device touches guest memory no more. */
Test(blk_slow, reset_waits_for_what_is_in_flight)
{
	flush_requests(2);
	wait_held(2);
	g->t->set_status(g, 0);
	usleep(20000);
	cr_expect_neq(g->t->status(g), 0);
	cr_expect(slow.bound);
	ev_post(slow.loop, &slow.let_go);
	cr_expect(guest_reset(g));
	cr_expect_not(slow.bound);
}

static void wait_paused(bool yes)
{
	for (int i = 0; i < 5000 && rig.device->ops->paused(rig.device) != yes; i++)
		usleep(1000);
	cr_assert_eq(rig.device->ops->paused(rig.device), yes);
}

/* A pause waits for requests that the host has, and serves no new ones. */
Test(blk_slow, pause_waits_for_what_is_in_flight)
{
	flush_requests(2);
	wait_held(2);
	rig.device->ops->pause(rig.device);
	flush_requests(2);
	usleep(20000);
	cr_expect_not(rig.device->ops->paused(rig.device));
	cr_expect_eq(slow.nheld, 2u);
	ev_post(slow.loop, &slow.let_go);
	wait_paused(true);
	cr_expect_eq(guest_used_idx(g, 0), 2, "drained");
	cr_expect_not(slow.bound);
	guest_rig_resume(&rig);
	wait_held(2);
	ev_post(slow.loop, &slow.let_go);
	for (int i = 0; i < 4; i++)
		cr_expect(guest_wait_used(g, 0, NULL, NULL));
}

Test(blk_slow, pause_during_reset)
{
	flush_requests(2);
	wait_held(2);
	g->t->set_status(g, 0);
	rig.device->ops->pause(rig.device);
	usleep(20000);
	cr_expect_not(rig.device->ops->paused(rig.device));
	ev_post(slow.loop, &slow.let_go);
	wait_paused(true);
	cr_expect_eq(g->t->status(g), 0);
	guest_rig_resume(&rig);
	start(UINT64_MAX);
	flush_requests(1);
	wait_held(1);
	ev_post(slow.loop, &slow.let_go);
	cr_expect(guest_wait_used(g, 0, NULL, NULL));
}

/* The back-end answers the last request first; the driver sees them in its own order. */
Test(blk_order, the_used_index_says_what_is_done, .timeout = 30)
{
	for (int in_order = 0; in_order < 2; in_order++) {
		struct guest_buf b[2] = {{0, 16, false}, {0, 1, true}};
		uint32_t head[4], id;
		make_with(in_order);
		start(~VIRTIO_BIT_RING_PACKED);
		b[0].gpa = hdr;
		b[1].gpa = hdr + 16;
		for (unsigned i = 0; i < 4; i++)
			head[i] = guest_add(g, 0, b, 2);
		g->t->kick(g, 0);
		wait_held(4);
		ev_post(slow.loop, &slow.let_go);
		for (unsigned i = 0; i < 4; i++) {
			cr_assert(guest_wait_used(g, 0, &id, NULL));
			cr_expect_eq(id, head[in_order ? i : 3 - i], "%u", i);
		}
		unmake();
	}
}

/* Only what is first may be answered: the oldest is held back, so nothing is visible. */
Test(blk_order, the_oldest_holds_the_others, .timeout = 30)
{
	make_with(true);
	start(~VIRTIO_BIT_RING_PACKED);
	flush_requests(2);
	wait_held(2);
	slow.let_go.handle = answer_youngest;
	ev_post(slow.loop, &slow.let_go);
	wait_held(1);
	usleep(20000);
	cr_expect_eq(guest_used_idx(g, 0), 0);
	slow.let_go.handle = answer_all;
	ev_post(slow.loop, &slow.let_go);
	cr_expect(guest_wait_used(g, 0, NULL, NULL));
	cr_expect(guest_wait_used(g, 0, NULL, NULL));
	unmake();
}

Test(blk_order, offered_where_it_is_kept, .timeout = 30)
{
	for (int in_order = 0; in_order < 2; in_order++) {
		make_with(in_order);
		cr_expect_eq(!!(g->negotiated & VIRTIO_BIT_IN_ORDER), in_order);
		unmake();
	}
}

/* As a transport starts a queue whose ring keeps what is in flight. */
static void start_kept(uint64_t features, void *area, uint32_t len)
{
	struct guest_queue *q = &g->q[0];
	struct virtq_setup s = {.size = RING, .inflight = area, .inflight_len = len};

	cr_assert(guest_reset(g));
	cr_assert_eq(guest_negotiate(g, features) & 8, 8);
	guest_queue_init(g, 0, RING);
	s.features = g->negotiated;
	s.desc = q->desc;
	s.avail = q->avail;
	s.used = q->used;
	s.kick_fd = eventfd(0, EFD_NONBLOCK);
	cr_assert_eq(dev->ops->queue_start(dev, 0, &s), 0);
	flush_requests(4);
	eventfd_write(s.kick_fd, 1);
	wait_held(4);
	ev_post(slow.loop, &slow.let_go);
	for (int i = 0; i < 5000 && slow.nheld; i++)
		usleep(1000);
	dev->ops->queue_stop(dev, 0);
	for (int i = 0; i < 5000 && slow.bound; i++)
		usleep(1000);
	cr_assert_not(slow.bound);
	close(s.kick_fd);
}

/* Such a ring lets requests overtake each other, unless the driver was promised that none does. */
Test(blk_order, a_ring_that_keeps_them_need_not_wait, .timeout = 30)
{
	const uint64_t all = ~VIRTIO_BIT_RING_PACKED;
	uint32_t first = 0;
	uint64_t len = virtq_inflight_bytes(false, RING);
	void *area;

	for (int promised = 0; promised < 2; promised++) {
		area = calloc(1, len);
		make_with(true);
		start_kept(promised ? all : all & ~VIRTIO_BIT_IN_ORDER, area, len);
		cr_expect_eq(guest_used_idx(g, 0), 4);
		cr_assert(guest_take_used(g, 0, &first, NULL));
		cr_expect_eq(first, promised ? 0u : 6u, "%u", first); /* chains of two */
		unmake();
		free(area);
	}
}
