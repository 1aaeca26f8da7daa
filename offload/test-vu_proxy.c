/* SPDX-License-Identifier: Apache-2.0 */
/* A driver at a proxy, whose back-end is our own transport in another thread. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <string.h>
#include <unistd.h>
#include "devices/testing/guest_driver.h"
#include "offload/test_rig.h"
#include "offload/vu_proxy.h"
#include "vmm/base/num.h"

static const struct guest_transport *const transports[] = {
	&guest_mmio, &guest_pci_msix, &guest_pci_intx};

TestSuite(vu_proxy, .timeout = 120);

struct rig {
	struct backend b;
	struct guest_rig r;
	struct vu_peer *peer;
	uint64_t heap; /* of the driver, before it set anything up */
};

static struct vu_peer *open_peer(const struct backend *b, unsigned timeout_ms)
{
	struct vu_peer_opts o;
	struct vu_peer *p;
	struct err e = {0};

	vu_peer_opts_blk(&o);
	o.socket = b->path;
	o.queue_size = 64;
	o.flag = "--disk";
	o.id = "_disk0";
	o.timeout_ms = timeout_ms;
	o.retry_ms = 50;
	cr_assert_eq(vu_peer_open(&o, &p, &e), 0, "%s", e.text);
	return p;
}

static void share_memory(struct fake_host *f)
{
	struct mem_range ram = {0, 4 * MIB};
	struct mem_opts o = {.shared = true, .numa_node = -1};

	guest_mem_fini(&f->mem);
	cr_assert_eq(guest_mem_init(&f->mem, &ram, 1, &o, NULL), 0);
}

static void rig_machine(struct rig *r, const struct guest_transport *t)
{
	struct virtio_dev *dev;

	guest_rig_init(&r->r, 4 * MIB);
	share_memory(&r->r.f);
	cr_assert_eq(vu_proxy_new(&r->r.f.host, "_disk0", r->peer, &dev), 0);
	guest_rig_attach(&r->r, t, dev);
	r->heap = r->r.g.heap;
}

/* hide: protocol features that the back-end is to lack. */
static void rig_init(
	struct rig *r, const struct guest_transport *t, uint64_t hide, unsigned timeout_ms)
{
	backend_init(&r->b);
	r->b.hide = hide;
	r->peer = open_peer(&r->b, timeout_ms);
	rig_machine(r, t);
}

/* The peer lives on the machine's loop here, so it goes before the host does. */
static void rig_fini(struct rig *r)
{
	guest_driver_fini(&r->r.g);
	device_free(r->r.device);
	if (r->r.root)
		device_free(pci_root_device(r->r.root));
	vu_peer_close(r->peer);
	fake_host_fini(&r->r.f);
	backend_fini(&r->b);
}

static void run_driver(struct rig *r)
{
	struct guest_driver *g = &r->r.g;

	g->heap = r->heap;
	memset(guest_ptr(g, r->heap, 64 * KIB), 0, 64 * KIB);
	cr_assert_eq(guest_negotiate(g, UINT64_MAX), 11);
	guest_queue_init(g, 0, 16);
	guest_driver_ok(g);
}

/* Offers one request; the answer is judged by finish(). */
static uint64_t submit(struct guest_driver *g, uint32_t type, uint64_t sector, uint8_t fill)
{
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};
	uint64_t at = guest_alloc(g, 16 + 512 + 1, 16);
	struct guest_buf b[] = {
		{at, 16, false}, {at + 16, 512, type == VIRTIO_BLK_T_IN}, {at + 528, 1, true}};

	memcpy(guest_ptr(g, at, 16), &h, 16);
	memset(guest_ptr(g, at + 16, 512), fill, 512);
	*(uint8_t *)guest_ptr(g, at + 528, 1) = 0xff;
	guest_add(g, 0, b, 3);
	g->t->kick(g, 0);
	return at;
}

static void finish(struct guest_driver *g, uint64_t at, const char *what)
{
	cr_assert(guest_wait_used(g, 0, NULL, NULL), "%s: no answer", what);
	cr_assert_eq(*(uint8_t *)guest_ptr(g, at + 528, 1), 0, "%s: refused", what);
}

/* Writes a sector and reads it back. */
static void write_and_read(struct guest_driver *g, uint64_t sector, uint8_t fill)
{
	uint64_t at = submit(g, VIRTIO_BLK_T_OUT, sector, fill);

	finish(g, at, "write");
	at = submit(g, VIRTIO_BLK_T_IN, sector, 0);
	finish(g, at, "read");
	for (unsigned i = 0; i < 512; i++)
		cr_assert_eq(((uint8_t *)guest_ptr(g, at + 16, 512))[i], fill);
}

static bool connected(struct rig *r)
{
	struct vu_peer_status st;

	vu_peer_status(r->peer, &st);
	return st.connected;
}

static void wait_connected(struct rig *r, bool want)
{
	uint64_t end = ev_now_ns() + 10000000000ull;

	while (connected(r) != want) {
		cr_assert(ev_now_ns() < end, "connected is not %d", want);
		usleep(1000);
	}
}

Test(vu_proxy, io_over_every_transport)
{
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++) {
		struct rig r;
		char text[64];

		rig_init(&r, transports[i], 0, 3000);
		cr_expect_eq(r.r.g.t->config(&r.r.g, 0, 4), 2048u);
		run_driver(&r);
		write_and_read(&r.r.g, 5, 0x5a);
		cr_expect(guest_wait_interrupt(&r.r.g, 0), "%s", transports[i]->name);
		for (unsigned n = 0; n < 100; n++)
			write_and_read(&r.r.g, n, n);
		cr_expect_eq(guest_rig_counter(&r.r, "reconnects"), 0u);
		cr_expect(!strncmp(guest_rig_achieved(&r.r, "offload", text), "connected", 9));
		rig_fini(&r);
	}
}

/* Old back-ends know no slots, no acknowledgements, no channel of their own. */
Test(vu_proxy, io_with_fewer_protocol_features)
{
	static const uint64_t hide[] = {VU_PF(CONFIGURE_MEM_SLOTS), VU_PF(REPLY_ACK),
		VU_PF(BACKEND_REQ), VU_PF(MQ), ~VU_PF(CONFIG)};

	for (unsigned i = 0; i < ARRAY_SIZE(hide); i++) {
		struct rig r;

		rig_init(&r, &guest_pci_msix, hide[i], 3000);
		run_driver(&r);
		write_and_read(&r.r.g, 7, 0x77);
		cr_expect_eq(
			r.b.messages[VU_ADD_MEM_REG] > 0, !(hide[i] & VU_PF(CONFIGURE_MEM_SLOTS)));
		rig_fini(&r);
	}
}

Test(vu_proxy, memory_is_sealed)
{
	struct rig r;

	rig_init(&r, &guest_mmio, 0, 3000);
	cr_expect(fcntl(r.r.f.mem.region[0].fd, F_GET_SEALS) & F_SEAL_SHRINK);
	rig_fini(&r);
}

Test(vu_proxy, memory_that_is_not_shared_is_refused)
{
	struct virtio_dev *dev;
	struct fake_host f;
	struct backend b;
	struct vu_peer *p;

	backend_init(&b);
	p = open_peer(&b, 3000);
	cr_assert_eq(fake_host_init(&f, 4 * MIB, true), 0);
	cr_expect_eq(vu_proxy_new(&f.host, "_disk0", p, &dev), -ENOTSUP);
	vu_peer_close(p);
	fake_host_fini(&f);
	backend_fini(&b);
}

Test(vu_proxy, reset_and_again)
{
	struct rig r;

	rig_init(&r, &guest_pci_msix, 0, 3000);
	for (unsigned i = 0; i < 20; i++) {
		run_driver(&r);
		write_and_read(&r.r.g, i, i);
		cr_assert(guest_reset(&r.r.g));
	}
	r.r.g.heap = r.heap;
	guest_negotiate(&r.r.g, ~VIRTIO_BIT_EVENT_IDX);
	memset(guest_ptr(&r.r.g, r.heap, 4096), 0, 4096);
	guest_queue_init(&r.r.g, 0, 8);
	guest_driver_ok(&r.r.g);
	write_and_read(&r.r.g, 3, 0x33);
	rig_fini(&r);
}

/* The machine is rebuilt over the same connection. */
Test(vu_proxy, a_reboot_keeps_the_connection)
{
	struct vu_peer_status st;
	struct rig r;

	rig_init(&r, &guest_pci_msix, 0, 3000);
	for (unsigned i = 0; i < 3; i++) {
		struct virtio_dev *dev;
		struct pci_root *root = r.r.root;

		run_driver(&r);
		write_and_read(&r.r.g, i, 0x10 + i);
		guest_driver_fini(&r.r.g);
		device_free(r.r.device);
		device_free(pci_root_device(root));
		share_memory(&r.r.f);
		cr_assert_eq(vu_proxy_new(&r.r.f.host, "_disk0", r.peer, &dev), 0);
		guest_rig_attach(&r.r, &guest_pci_msix, dev);
	}
	vu_peer_status(r.peer, &st);
	cr_expect_eq(st.connects, 1u);
	rig_fini(&r);
}

/* Whichever message the connection ends at, and the next one's too. */
Test(vu_proxy, the_back_end_is_dropped_at_every_step)
{
	struct rig r;
	unsigned lost = 0;

	rig_init(&r, &guest_pci_msix, 0, 3000);
	for (int at = 1; at <= 22; at++) {
		r.b.drop_at = at;
		r.b.drops = 2;
		run_driver(&r);
		write_and_read(&r.r.g, at, at);
		cr_assert(guest_reset(&r.r.g));
		lost += 2 - r.b.drops;
		r.b.drops = 0;
		wait_connected(&r, true);
	}
	cr_expect_gt(lost, 25u);
	cr_expect_gt(guest_rig_counter(&r.r, "reconnects"), 10u);
	rig_fini(&r);
}

Test(vu_proxy, io_waits_for_a_successor)
{
	struct rig r;
	uint64_t at;
	char text[64];

	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++) {
		rig_init(&r, transports[i], 0, 3000);
		run_driver(&r);
		write_and_read(&r.r.g, 1, 0x11);
		backend_stop(&r.b);
		wait_connected(&r, false);
		at = submit(&r.r.g, VIRTIO_BLK_T_OUT, 9, 0x99);
		cr_expect(!strncmp(guest_rig_achieved(&r.r, "offload", text), "away", 4));
		usleep(200000);
		cr_expect_eq(*(uint8_t *)guest_ptr(&r.r.g, at + 528, 1), 0xff);
		cr_expect_eq(r.r.g.t->status(&r.r.g), 15u);
		cr_expect_eq(r.r.g.t->config(&r.r.g, 0, 4), 2048u);
		while (r.r.g.t->interrupted(&r.r.g, 0))
			;
		backend_start(&r.b);
		finish(&r.r.g, at, "write across an outage");
		cr_expect(guest_wait_interrupt(&r.r.g, 0));
		write_and_read(&r.r.g, 9, 0x9a);
		cr_expect_eq(guest_rig_counter(&r.r, "reconnects"), 1u);
		cr_expect_eq(r.r.f.notices[DEV_NOTICE_DISCONNECTED], 1u);
		cr_expect_eq(r.r.f.notices[DEV_NOTICE_RECONNECTED], 1u);
		rig_fini(&r);
	}
}

/* Nobody waits for a back-end that is away. */
Test(vu_proxy, stops_and_resets_while_away)
{
	struct rig r;
	uint64_t at;

	rig_init(&r, &guest_mmio, 0, 3000);
	run_driver(&r);
	write_and_read(&r.r.g, 1, 0x11);
	backend_stop(&r.b);
	wait_connected(&r, false);
	at = submit(&r.r.g, VIRTIO_BLK_T_OUT, 2, 0x22);
	guest_rig_pause(&r.r);
	guest_rig_resume(&r.r);
	backend_start(&r.b);
	finish(&r.r.g, at, "write across pause and outage");

	backend_stop(&r.b);
	wait_connected(&r, false);
	cr_assert(guest_reset(&r.r.g));
	run_driver(&r); /* set up while away */
	at = submit(&r.r.g, VIRTIO_BLK_T_OUT, 3, 0x33);
	backend_start(&r.b);
	finish(&r.r.g, at, "write of a driver that began in the outage");
	write_and_read(&r.r.g, 3, 0x34);
	rig_fini(&r);
}

/* It holds its answers back: after the timeout it counts as gone. */
Test(vu_proxy, a_silent_back_end_holds_nobody_up)
{
	struct rig r;
	uint64_t at;

	rig_init(&r, &guest_mmio, 0, 150);
	for (unsigned i = 0; i < 3; i++) {
		run_driver(&r);
		write_and_read(&r.r.g, 1, 0x11);
		r.b.stall = true;
		if (i == 0)
			guest_rig_pause(&r.r);
		else
			cr_assert(guest_reset(&r.r.g));
		wait_connected(&r, false);
		if (i == 0)
			guest_rig_resume(&r.r);
		else
			run_driver(&r);
		at = submit(&r.r.g, VIRTIO_BLK_T_OUT, 2, 0x22);
		usleep(400000); /* shakes no hands, either */
		cr_expect(!connected(&r));
		r.b.stall = false;
		finish(&r.r.g, at, "write after the silence");
		wait_connected(&r, true);
	}
	rig_fini(&r);
}

/* It is silent when the driver comes: memory, the area and rings are under way. */
Test(vu_proxy, a_back_end_silent_from_the_start_holds_nobody_up)
{
	struct rig r;
	uint64_t at;

	rig_init(&r, &guest_mmio, 0, 30000);
	r.b.stall = true;
	run_driver(&r);
	submit(&r.r.g, VIRTIO_BLK_T_OUT, 2, 0x22);
	guest_rig_pause(&r.r);
	guest_rig_resume(&r.r);
	cr_assert(guest_reset(&r.r.g));
	backend_stop(&r.b); /* what it has swallowed, it will not answer */
	r.b.stall = false;
	backend_start(&r.b);
	run_driver(&r);
	at = submit(&r.r.g, VIRTIO_BLK_T_OUT, 3, 0x33);
	finish(&r.r.g, at, "write of the next driver");
	rig_fini(&r);
}

/* A successor that offers less than the driver was promised is not taken. */
Test(vu_proxy, a_lesser_successor_is_refused)
{
	struct rig r;
	uint64_t at;

	rig_init(&r, &guest_pci_msix, 0, 3000);
	run_driver(&r);
	write_and_read(&r.r.g, 1, 0x11);
	r.b.hide_features = 1ull << VIRTIO_BLK_F_FLUSH;
	backend_stop(&r.b);
	wait_connected(&r, false);
	at = submit(&r.r.g, VIRTIO_BLK_T_OUT, 2, 0x22);
	backend_start(&r.b);
	usleep(500000);
	cr_expect(!connected(&r));
	cr_expect_gt(r.b.messages[VU_GET_FEATURES], 1u);
	r.b.hide_features = 0;
	finish(&r.r.g, at, "write");
	rig_fini(&r);
}

Test(vu_proxy, config_changes_reach_the_guest)
{
	struct guest_driver *g;
	uint64_t end;
	struct rig r;

	rig_init(&r, &guest_mmio, 0, 3000);
	g = &r.r.g;
	run_driver(&r);
	cr_expect_eq(g->t->config(g, 0, 4), 2048u);
	r.b.resize = 2049 * 512;
	end = ev_now_ns() + 5000000000ull;
	while (!(fake_read(&r.r.f, g->base + 0x60, 4) & 2)) { /* config interrupt */
		cr_assert(ev_now_ns() < end);
		usleep(1000);
	}
	cr_expect_eq(g->t->config(g, 0, 4), 2049u);
	cr_expect_eq(fake_read(&r.r.f, g->base + 0xfc, 4), 1u); /* generation */
	rig_fini(&r);
}

/* The driver's mistake comes back through the back-end. */
Test(vu_proxy, a_broken_ring_asks_for_a_reset)
{
	struct rig r;

	rig_init(&r, &guest_mmio, 0, 3000);
	run_driver(&r);
	write_and_read(&r.r.g, 1, 0x11);
	guest_make_avail(&r.r.g, 0, 4000);
	r.r.g.t->kick(&r.r.g, 0);
	cr_expect(guest_wait_status(&r.r.g, 64));
	cr_expect(guest_reset(&r.r.g));
	run_driver(&r);
	write_and_read(&r.r.g, 1, 0x12);
	rig_fini(&r);
}
