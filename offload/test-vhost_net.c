/* SPDX-License-Identifier: Apache-2.0 */
/* A driver at vhost-net, whose kernel is the test's. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "devices/testing/guest_driver.h"
#include "offload/vhost_fake.h"
#include "offload/vhost_kernel.h"
#include "vmm/base/num.h"

#define BIT(b) (UINT64_C(1) << (b))
#define KERNEL                                                                                     \
	(VIRTIO_BIT_VERSION_1 | VIRTIO_BIT_INDIRECT_DESC | VIRTIO_BIT_EVENT_IDX |                  \
		BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(26) | BIT(27) | VIRTIO_BIT_ACCESS_PLATFORM)

#define RING(i, base)                                                                              \
	"NUM:" #i "=16 BASE:" #i "=" base " ADDR:" #i " CALL:" #i " ERR:" #i " KICK:" #i           \
	" BACKEND:" #i "=tap "
#define DOWN(i) "BACKEND:" #i "=off GET_BASE:" #i " "

static const struct guest_transport *const transports[] = {
	&guest_mmio, &guest_pci_msix, &guest_pci_intx};

TestSuite(vhost_net, .timeout = 60);

struct rig {
	struct guest_rig r;
	struct vhost_net *v;
	uint64_t heap;
};

static const struct vhost_net_opts defaults = {
	.mac = {2, 0, 0, 0, 0, 1}, .mtu = 1400, .flag = "--net", .id = "_net0"};

static void rig_init(
	struct rig *r, const struct guest_transport *t, uint64_t features, unsigned pairs)
{
	struct vhost_net_opts o = defaults;
	struct virtio_dev *dev;
	struct err e = {0};

	vhost_fake_reset();
	vhost_fake.features = features;
	o.pairs = pairs;
	cr_assert_eq(vhost_net_open(&o, &r->v, &e), 0, "%s", e.text);
	guest_rig_init(&r->r, 4 * MIB);
	r->r.f.log = (struct log){memfd_create("log", MFD_CLOEXEC), LOG_DEBUG};
	cr_assert_eq(vhost_net_new(&r->r.f.host, "_net0", r->v, &dev), 0);
	guest_rig_attach(&r->r, t, dev);
	r->heap = r->r.g.heap;
	vhost_fake_forget();
}

static void rig_fini(struct rig *r)
{
	close(r->r.f.log.fd);
	r->r.f.log.fd = -1;
	guest_rig_fini(&r->r);
	vhost_net_close(r->v);
	for (unsigned i = 0; i < FAKE_RINGS; i++)
		if (vhost_fake.tap_end[i] >= 0)
			close(vhost_fake.tap_end[i]);
}

static void run_driver(struct rig *r, uint64_t want, unsigned queues)
{
	struct guest_driver *g = &r->r.g;

	g->heap = r->heap;
	memset(guest_ptr(g, r->heap, 64 * KIB), 0, 64 * KIB);
	cr_assert_eq(guest_negotiate(g, want), 11);
	for (unsigned i = 0; i < queues; i++)
		guest_queue_init(g, i, 16);
	guest_driver_ok(g);
}

/* The log so far names what. */
static bool logged(struct rig *r, const char *what)
{
	char text[8192] = {0};

	return pread(r->r.f.log.fd, text, sizeof(text) - 1, 0) >= 0 && strstr(text, what);
}

Test(vhost_net, starts_resets_and_starts)
{
	struct rig r;

	for (unsigned t = 0; t < ARRAY_SIZE(transports); t++) {
		rig_init(&r, transports[t], KERNEL, 1);
		cr_expect_eq(r.r.g.t->config(&r.r.g, 0, 4), 2u);
		for (unsigned n = 0; n < 3; n++) {
			run_driver(&r, UINT64_MAX, 2);
			cr_assert(vhost_fake_said(
				"OFFLOAD:f SET_FEATURES MEM_TABLE:1 " RING(0, "0") RING(1, "0")));
			/* What the tap and we do, and what is not ours, the kernel is not told. */
			cr_expect_eq(vhost_fake.driver_features,
				KERNEL & ~(BIT(26) | BIT(27) | VIRTIO_BIT_ACCESS_PLATFORM));
			cr_expect_eq(vhost_fake.memory, 4 * MIB);
			cr_assert(guest_reset(&r.r.g));
			cr_assert(vhost_fake_said(DOWN(0) DOWN(1)));
		}
		rig_fini(&r);
	}
}

Test(vhost_net, offers_what_the_kernel_has)
{
	struct rig r;
	uint64_t f;

	rig_init(&r, &guest_mmio, VIRTIO_BIT_VERSION_1 | VIRTIO_BIT_RING_PACKED, 1);
	f = r.r.g.t->features(&r.r.g);
	cr_expect(f & VIRTIO_BIT_RING_PACKED);
	cr_expect(f & BIT(VIRTIO_NET_F_HOST_TSO4) && f & BIT(VIRTIO_NET_F_MTU));
	cr_expect_not(f & (VIRTIO_BIT_EVENT_IDX | BIT(VIRTIO_NET_F_MRG_RXBUF)));
	cr_expect_not(f & (BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ)));
	/* An offload without the checksums that it needs (virtio 1.2 §5.1.3.1). */
	cr_expect_eq(
		guest_negotiate(&r.r.g, VIRTIO_BIT_VERSION_1 | BIT(VIRTIO_NET_F_GUEST_TSO4)), 3);
	rig_fini(&r);
}

Test(vhost_net, goes_on_where_it_stood)
{
	struct rig r;

	rig_init(&r, &guest_pci_msix, KERNEL, 1);
	run_driver(&r, UINT64_MAX, 2);
	cr_assert(vhost_fake_said("OFFLOAD:f SET_FEATURES MEM_TABLE:1 " RING(0, "0") RING(1, "0")));
	for (unsigned n = 0; n < 2; n++) {
		vhost_fake.moved = 0xfff0;
		guest_rig_pause(&r.r);
		cr_assert(vhost_fake_said(DOWN(0) DOWN(1)));
		guest_rig_resume(&r.r);
		cr_assert(n ? vhost_fake_said(RING(0, "ffe0") RING(1, "ffe0"))
			    : vhost_fake_said(RING(0, "fff0") RING(1, "fff0")));
	}
	rig_fini(&r);
}

/* Both places and both wrap counters. */
Test(vhost_net, goes_on_where_it_stood_packed)
{
	struct rig r;

	rig_init(&r, &guest_mmio, KERNEL | VIRTIO_BIT_RING_PACKED, 1);
	run_driver(&r, UINT64_MAX, 2);
	cr_assert(vhost_fake_said(
		"OFFLOAD:f SET_FEATURES MEM_TABLE:1 " RING(0, "80008000") RING(1, "80008000")));
	vhost_fake.moved = 0x80050007; /* the used one has wrapped once, the other has not */
	guest_rig_pause(&r.r);
	cr_assert(vhost_fake_said(DOWN(0) DOWN(1)));
	guest_rig_resume(&r.r);
	cr_assert(vhost_fake_said(RING(0, "58007") RING(1, "58007")));
	rig_fini(&r);
}

Test(vhost_net, calls_reach_the_driver)
{
	for (unsigned t = 0; t < ARRAY_SIZE(transports); t++) {
		struct rig r;

		rig_init(&r, transports[t], KERNEL, 1);
		run_driver(&r, UINT64_MAX, 2);
		cr_assert(vhost_fake_said(
			"OFFLOAD:f SET_FEATURES MEM_TABLE:1 " RING(0, "0") RING(1, "0")));
		for (unsigned n = 0; n < 3; n++) {
			eventfd_write(vhost_fake.call[n % 2], 1);
			cr_expect(guest_wait_interrupt(&r.r.g, n % 2), "%s", transports[t]->name);
		}
		r.r.g.t->kick(&r.r.g, 1);
		cr_expect_eq(vhost_fake.kick[0] == vhost_fake.kick[1], false);
		rig_fini(&r);
	}
}

Test(vhost_net, the_kernel_says_that_a_ring_is_broken)
{
	struct rig r;

	rig_init(&r, &guest_mmio, KERNEL, 1);
	run_driver(&r, UINT64_MAX, 2);
	cr_assert(vhost_fake_said("OFFLOAD:f SET_FEATURES MEM_TABLE:1 " RING(0, "0") RING(1, "0")));
	eventfd_write(vhost_fake.err[1], 1);
	cr_expect(guest_wait_status(&r.r.g, 64));
	cr_expect(guest_reset(&r.r.g));
	rig_fini(&r);
}

/* Whichever call fails: one line names it, the driver is asked for a reset, and after that all is
 * well. */
Test(vhost_net, each_call_may_fail)
{
	static const char *const names[] = {"VHOST_SET_FEATURES", "VHOST_SET_MEM_TABLE",
		"VHOST_SET_VRING_NUM", "VHOST_SET_VRING_BASE", "VHOST_SET_VRING_ADDR",
		"VHOST_SET_VRING_CALL", "VHOST_SET_VRING_ERR", "VHOST_SET_VRING_KICK",
		"VHOST_NET_SET_BACKEND"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		struct rig r;

		rig_init(&r, transports[i % 3], KERNEL, 1);
		cr_assert_eq(guest_negotiate(&r.r.g, UINT64_MAX), 11);
		guest_queue_init(&r.r.g, 0, 16);
		vhost_fake.fail_at = i + 1;
		guest_driver_ok(&r.r.g);
		cr_expect(guest_wait_status(&r.r.g, 64), "%s", names[i]);
		cr_expect(logged(&r, names[i]), "%s", names[i]);
		cr_expect(guest_reset(&r.r.g));
		vhost_fake_forget();
		run_driver(&r, UINT64_MAX, 2);
		cr_expect(vhost_fake_said(
			"OFFLOAD:f SET_FEATURES MEM_TABLE:1 " RING(0, "0") RING(1, "0")));
		rig_fini(&r);
	}
}

Test(vhost_net, a_tap_that_vanishes_is_a_link_that_goes_down)
{
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;
	struct rig r;

	rig_init(&r, &guest_mmio, KERNEL, 1);
	run_driver(&r, UINT64_MAX, 2);
	cr_expect_eq(r.r.g.t->config(&r.r.g, 6, 2), 1u);
	close(vhost_fake.tap_end[0]);
	vhost_fake.tap_end[0] = -1;
	while (r.r.g.t->config(&r.r.g, 6, 2) == 1 && ev_now_ns() < end)
		guest_sleep_little();
	cr_expect_eq(r.r.g.t->config(&r.r.g, 6, 2), 0u);
	while (!(fake_read(&r.r.f, r.r.g.base + 0x60, 4) & 2) && ev_now_ns() < end)
		guest_sleep_little();
	cr_expect(fake_read(&r.r.f, r.r.g.base + 0x60, 4) & 2);
	cr_expect(logged(&r, "was deleted"));
	rig_fini(&r);
}

/* ---- several pairs ---- */

static uint8_t set_pairs(struct guest_driver *g, unsigned queue, uint16_t n)
{
	uint64_t at = guest_alloc(g, 8, 8);
	uint8_t *p = guest_ptr(g, at, 8);
	struct guest_buf b[] = {{at, 2, false}, {at + 2, 2, false}, {at + 4, 1, true}};

	p[0] = VIRTIO_NET_CTRL_MQ;
	p[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
	memcpy(p + 2, &n, 2);
	p[4] = 0xff;
	guest_add(g, queue, b, 3);
	g->t->kick(g, queue);
	cr_assert(guest_wait_used(g, queue, NULL, NULL));
	return p[4];
}

Test(vhost_net, pairs_are_attached_as_the_driver_says)
{
	struct rig r;

	rig_init(&r, &guest_pci_msix, KERNEL, 3);
	cr_expect_eq(r.r.g.t->config(&r.r.g, 8, 2), 3u);
	run_driver(&r, UINT64_MAX, 7);
	cr_assert(vhost_fake_said("OFFLOAD:f SET_FEATURES MEM_TABLE:1 SET_FEATURES MEM_TABLE:1 "
				  "SET_FEATURES MEM_TABLE:1 " RING(0, "0") RING(1, "0") RING(2, "0")
					  RING(3, "0") RING(4, "0") RING(5, "0")));
	cr_expect_eq(set_pairs(&r.r.g, 6, 3), 0);
	cr_assert(vhost_fake_said("ATTACH ATTACH "));
	cr_expect_eq(set_pairs(&r.r.g, 6, 2), 0);
	cr_assert(vhost_fake_said("DETACH "));
	cr_expect_eq(set_pairs(&r.r.g, 6, 4), 1);
	cr_expect_eq(set_pairs(&r.r.g, 6, 0), 1);
	guest_rig_pause(&r.r);
	cr_assert(vhost_fake_said(DOWN(0) DOWN(1) DOWN(2) DOWN(3) DOWN(4) DOWN(5)));
	guest_rig_resume(&r.r);
	cr_assert(vhost_fake_said(
		RING(0, "0") RING(1, "0") RING(2, "0") RING(3, "0") RING(4, "0") RING(5, "0")));
	vhost_fake.fail_at = 1;
	cr_expect_eq(set_pairs(&r.r.g, 6, 3), 1);
	cr_expect_eq(set_pairs(&r.r.g, 6, 3), 0);
	cr_assert(vhost_fake_said("ATTACH ATTACH "));
	cr_assert(guest_reset(&r.r.g));
	cr_assert(
		vhost_fake_said(DOWN(0) DOWN(1) DOWN(2) DOWN(3) DOWN(4) DOWN(5) "DETACH DETACH "));
	rig_fini(&r);
}

/* What cannot be told to a later pair is named too. */
Test(vhost_net, a_later_pair_may_fail)
{
	struct rig r;

	rig_init(&r, &guest_mmio, KERNEL, 2);
	cr_assert_eq(guest_negotiate(&r.r.g, UINT64_MAX), 11);
	guest_queue_init(&r.r.g, 0, 16);
	vhost_fake.fail_at = 4;
	guest_driver_ok(&r.r.g);
	cr_expect(guest_wait_status(&r.r.g, 64));
	cr_expect(logged(&r, "queue 0: VHOST_SET_MEM_TABLE"));
	rig_fini(&r);
}

/* virtio 1.2 §5.1.2: the control queue is where the driver thinks that it is. */
Test(vhost_net, a_driver_without_multi_queue)
{
	struct rig r;

	rig_init(&r, &guest_mmio, KERNEL, 2);
	run_driver(&r, ~BIT(VIRTIO_NET_F_MQ), 3);
	cr_expect_eq(set_pairs(&r.r.g, 2, 2), 1);
	guest_break_ring(&r.r.g, 2);
	r.r.g.t->kick(&r.r.g, 2);
	cr_expect(guest_wait_status(&r.r.g, 64));
	rig_fini(&r);
}

/* ---- opening ---- */

static int try_open(const struct vhost_net_opts *o, struct err *e)
{
	struct vhost_net *v = NULL;
	int r;

	*e = (struct err){0};
	r = vhost_net_open(o, &v, e);
	vhost_net_close(v);
	return r;
}

Test(vhost_net, what_is_missing_is_named)
{
	static const struct {
		int error;
		const char *says;
	} cases[] = {{-ENOENT, "modprobe vhost_net"}, {-ENODEV, "modprobe vhost_net"},
		{-EACCES, "/dev/vhost-net: no permission"}, {-EMFILE, "Too many open files"}};
	struct vhost_net_opts o = defaults;
	int fds[2] = {-1, -1};
	struct err e;

	vhost_fake_reset();
	vhost_fake.features = KERNEL;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		vhost_fake.open_error = cases[i].error;
		cr_expect_eq(try_open(&o, &e), cases[i].error);
		cr_expect(strstr(e.text, cases[i].says), "%s", e.text);
	}
	vhost_fake.open_error = 0;
	vhost_fake.fail_at = 1;
	vhost_fake.error = -ENOTTY;
	cr_expect_eq(try_open(&o, &e), -ENOTTY);
	cr_expect(strstr(e.text, "/dev/vhost-net is no vhost device"), "%s", e.text);
	vhost_fake.fail_at = 2;
	cr_expect_eq(try_open(&o, &e), -ENOTTY);
	cr_expect(strstr(e.text, "VHOST_GET_FEATURES"), "%s", e.text);
	o.tap = "busy";
	cr_expect_eq(try_open(&o, &e), -EBUSY);
	o.tap_fd = fds;
	cr_expect_eq(try_open(&o, &e), -EBADF);
	o.tap_fd = NULL;
	o.tap = NULL;
	o.pairs = 9;
	cr_expect_eq(try_open(&o, &e), -EINVAL);
	cr_expect(strstr(e.text, "1..8"), "%s", e.text);
	o.pairs = 2;
	vhost_fake.fail_at = 5; /* after two devices with two calls each */
	vhost_fake.error = -EPERM;
	cr_expect_eq(try_open(&o, &e), -EPERM);
	cr_expect(strstr(e.text, "TUNSETQUEUE"), "%s", e.text);
	o.pairs = 1;
	vhost_fake.features = 0;
	cr_expect_eq(try_open(&o, &e), -ENOTSUP);
	cr_expect(strstr(e.text, "VIRTIO_F_VERSION_1"), "%s", e.text);
	vhost_fake.features = KERNEL;
	cr_expect_eq(try_open(&o, &e), 0);
}

Test(vhost_net, given_taps_are_taken_on_success_only)
{
	struct vhost_net_opts o = defaults;
	int fds[2] = {eventfd(0, 0), eventfd(0, 0)};
	struct err e;

	vhost_fake_reset();
	o.tap_fd = fds;
	o.pairs = 2;
	cr_expect_neq(try_open(&o, &e), 0); /* no features */
	cr_expect_geq(fcntl(fds[0], F_GETFD), 0);
	vhost_fake.features = KERNEL;
	vhost_fake.fail_at = 5;
	cr_expect_neq(try_open(&o, &e), 0); /* TUNSETQUEUE */
	cr_expect_geq(fcntl(fds[0], F_GETFD), 0);
	cr_expect_eq(try_open(&o, &e), 0);
	cr_expect_lt(fcntl(fds[0], F_GETFD), 0);
}
