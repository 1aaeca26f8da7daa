/* SPDX-License-Identifier: Apache-2.0 */
/* Devices with several queues at a proxy, the control queue that is the VMM's, what the VMM and the
 * driver say besides rings, and devices of which only the type is known. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "devices/testing/guest_driver.h"
#include "offload/test_rig.h"
#include "offload/vu_proxy.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"

#define BIT(b) (UINT64_C(1) << (b))

TestSuite(vu_queues, .timeout = 120);

struct rig {
	struct backend b;
	struct guest_rig r;
	struct vu_peer *peer;
	struct virtio_dev *dev;
};

static void open_machine(struct rig *r, struct vu_peer_opts *o)
{
	struct mem_range ram = {0, 4 * MIB};
	struct mem_opts shared = {.shared = true, .numa_node = -1};
	struct err e = {0};

	o->socket = r->b.path;
	o->queue_size = 64;
	o->flag = "--disk";
	o->id = "_dev0";
	o->retry_ms = 50;
	cr_assert_eq(vu_peer_open(o, &r->peer, &e), 0, "%s", e.text);
	guest_rig_init(&r->r, 4 * MIB);
	guest_mem_fini(&r->r.f.mem);
	cr_assert_eq(guest_mem_init(&r->r.f.mem, &ram, 1, &shared, NULL), 0);
	cr_assert_eq(vu_proxy_new(&r->r.f.host, "_dev0", r->peer, &r->dev), 0);
	guest_rig_attach(&r->r, &guest_pci_msix, r->dev);
}

static void rig_disk(struct rig *r, unsigned theirs, unsigned ours)
{
	struct vu_peer_opts o;

	backend_init_queues(&r->b, theirs);
	vu_peer_opts_blk(&o);
	o.queues = ours;
	open_machine(r, &o);
}

static void rig_net(struct rig *r, unsigned theirs, unsigned ours)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
	struct vu_peer_opts o;

	backend_init_net(&r->b, theirs);
	vu_peer_opts_net(&o, mac, 1500);
	o.queues = 2 * ours;
	open_machine(r, &o);
}

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

static void run_driver(struct rig *r, uint64_t features, unsigned queues)
{
	struct guest_driver *g = &r->r.g;

	cr_assert_eq(guest_negotiate(g, features), 11);
	for (unsigned i = 0; i < queues; i++)
		guest_queue_init(g, i, 16);
	guest_driver_ok(g);
}

/* Waits until the one in the middle has heard what is expected. */
static void becomes(_Atomic int *x, int want, const char *what)
{
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;

	while (*x != want) {
		cr_assert(ev_now_ns() < end, "%s is %d, not %d", what, *x, want);
		guest_sleep_little();
	}
}

/* ---- disks ---- */

static void write_sector(struct guest_driver *g, unsigned queue, uint64_t sector)
{
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_OUT, .sector = sector};
	uint64_t at = guest_alloc(g, 16 + 512 + 1, 16);
	struct guest_buf b[] = {{at, 16, false}, {at + 16, 512, false}, {at + 528, 1, true}};

	memcpy(guest_ptr(g, at, 16), &h, 16);
	*(uint8_t *)guest_ptr(g, at + 528, 1) = 0xff;
	guest_add(g, queue, b, 3);
	g->t->kick(g, queue);
	cr_assert(guest_wait_used(g, queue, NULL, NULL), "queue %u", queue);
	cr_assert_eq(*(uint8_t *)guest_ptr(g, at + 528, 1), 0);
}

static uint16_t num_queues(struct guest_driver *g)
{
	return (uint16_t)g->t->config(g, offsetof(struct virtio_blk_config, num_queues), 2);
}

Test(vu_queues, every_queue_of_a_disk)
{
	struct rig r;

	rig_disk(&r, 4, 4);
	cr_expect_eq(num_queues(&r.r.g), 4);
	run_driver(&r, UINT64_MAX, 4);
	for (unsigned n = 0; n < 3; n++) {
		for (unsigned i = 0; i < 4; i++)
			write_sector(&r.r.g, i, 8 * n + i);
		backend_stop(&r.b);
		backend_start(&r.b);
	}
	for (unsigned i = 0; i < 4; i++)
		write_sector(&r.r.g, i, i);
	rig_fini(&r);
}

/* The peer may have more than the machine's owner wants. */
Test(vu_queues, fewer_than_the_peer_has)
{
	struct rig r;

	rig_disk(&r, 4, 2);
	cr_expect_eq(num_queues(&r.r.g), 2);
	cr_expect(r.r.g.t->features(&r.r.g) & BIT(VIRTIO_BLK_F_MQ));
	cr_expect_eq(r.r.g.t->select(&r.r.g, 2), 0);
	run_driver(&r, UINT64_MAX, 2);
	write_sector(&r.r.g, 1, 1);
	rig_fini(&r);
	rig_disk(&r, 4, 1);
	cr_expect(!(r.r.g.t->features(&r.r.g) & BIT(VIRTIO_BLK_F_MQ)));
	rig_fini(&r);
}

/* ---- what is in flight, and the log ---- */

Test(vu_queues, packed_rings_only_with_an_area)
{
	struct rig r;

	rig_disk(&r, 1, 1);
	cr_expect(r.r.g.t->features(&r.r.g) & VIRTIO_BIT_RING_PACKED);
	r.dev->no_packed = true;
	cr_expect(!(r.r.g.t->features(&r.r.g) & VIRTIO_BIT_RING_PACKED));
	rig_fini(&r);

	backend_init(&r.b);
	r.b.hide = VU_PF(INFLIGHT_SHMFD);
	struct vu_peer_opts o;
	vu_peer_opts_blk(&o);
	open_machine(&r, &o);
	cr_expect(!(r.r.g.t->features(&r.r.g) & VIRTIO_BIT_RING_PACKED));
	run_driver(&r, UINT64_MAX, 1);
	write_sector(&r.r.g, 0, 1);
	cr_expect_eq(r.b.messages[VU_GET_INFLIGHT_FD], 0u);
	rig_fini(&r);
}

/* One area for a driver's session, which every successor gets. */
Test(vu_queues, an_area_lives_as_long_as_the_driver)
{
	struct rig r;

	rig_disk(&r, 1, 1);
	for (unsigned i = 1; i <= 2; i++) {
		run_driver(&r, UINT64_MAX, 1);
		write_sector(&r.r.g, 0, 1);
		guest_rig_pause(&r.r);
		guest_rig_resume(&r.r);
		write_sector(&r.r.g, 0, 2);
		cr_expect_eq(r.b.messages[VU_GET_INFLIGHT_FD], i);
		cr_expect_eq(r.b.messages[VU_SET_INFLIGHT_FD], 2 * i - 1);
		backend_stop(&r.b);
		backend_start(&r.b);
		write_sector(&r.r.g, 0, 3);
		cr_expect_eq(r.b.messages[VU_GET_INFLIGHT_FD], i);
		cr_expect_eq(r.b.messages[VU_SET_INFLIGHT_FD], 2 * i);
	}
	backend_stop(&r.b);
	r.b.hide = VU_PF(INFLIGHT_SHMFD); /* a lesser successor */
	r.b.messages[VU_GET_FEATURES] = 0;
	backend_start(&r.b);
	becomes((_Atomic int *)&r.b.messages[VU_GET_FEATURES], 2, "handshakes");
	cr_expect_eq(r.b.messages[VU_SET_VRING_KICK], 2 * 3u);
	r.b.hide = 0;
	write_sector(&r.r.g, 0, 4);
	rig_fini(&r);
}

/* It promised an area, gave none, and died: only the driver can begin anew. */
Test(vu_queues, a_packed_ring_that_nobody_knows_asks_for_a_reset)
{
	struct rig r;

	rig_disk(&r, 1, 1);
	if (r.r.g.never & VIRTIO_BIT_RING_PACKED) {
		rig_fini(&r);
		return;
	}
	r.b.no_area = true;
	for (unsigned i = 0; i < 2; i++) {
		run_driver(&r, UINT64_MAX, 1);
		write_sector(&r.r.g, 0, 1);
		backend_stop(&r.b);
		if (i == 1)
			guest_rig_pause(&r.r);
		backend_start(&r.b);
		if (i == 1)
			guest_rig_resume(&r.r);
		cr_assert(guest_wait_status(&r.r.g, 64));
		cr_assert(guest_reset(&r.r.g));
	}
	run_driver(&r, ~VIRTIO_BIT_RING_PACKED, 1);
	write_sector(&r.r.g, 0, 1);
	backend_stop(&r.b);
	backend_start(&r.b);
	write_sector(&r.r.g, 0, 1); /* a split ring's index tells */
	rig_fini(&r);
}

#define LOG_BYTES 4096

static uint8_t *make_log(int *ret_fd)
{
	int fd = memfd_create("log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *at;

	cr_assert(fd >= 0 && ftruncate(fd, LOG_BYTES) == 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	at = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(at, MAP_FAILED);
	*ret_fd = fd;
	return at;
}

static bool any_set(const uint8_t *log)
{
	for (unsigned i = 0; i < LOG_BYTES; i++)
		if (log[i])
			return true;
	return false;
}

struct log_msg {
	struct ev_msg msg;
	struct virtio_dev *dev;
	int fd;
	_Atomic int done;
};

static void handle_log(struct ev_msg *m)
{
	struct log_msg *l = container_of(m, struct log_msg, msg);

	cr_assert_eq(vu_proxy_log(l->dev, l->fd, LOG_BYTES), 0);
	l->done = 1;
}

/* On control's loop, which the driver's pump runs; rings run meanwhile. */
static void set_log(struct rig *r, int fd)
{
	struct log_msg l = {.msg.handle = handle_log, .dev = r->dev, .fd = fd};

	ev_post(r->r.f.host.control, &l.msg);
	becomes(&l.done, 1, "logging");
	/* a message later than those it said has been answered */
	guest_rig_pause(&r->r);
	guest_rig_resume(&r->r);
}

Test(vu_queues, what_the_peer_writes_is_logged)
{
	struct rig r;
	uint8_t *log;
	int fd;

	rig_disk(&r, 1, 1);
	log = make_log(&fd);
	run_driver(&r, UINT64_MAX, 1);
	write_sector(&r.r.g, 0, 1);
	set_log(&r, fd);
	write_sector(&r.r.g, 0, 1);
	cr_expect(any_set(log));
	backend_stop(&r.b);
	memset(log, 0, LOG_BYTES);
	backend_start(&r.b);
	write_sector(&r.r.g, 0, 1);
	cr_expect(any_set(log), "a successor logs, too");
	set_log(&r, -1);
	memset(log, 0, LOG_BYTES);
	write_sector(&r.r.g, 0, 1);
	cr_expect(!any_set(log), "no more");
	rig_fini(&r);
	munmap(log, LOG_BYTES);
	close(fd);

	backend_init(&r.b);
	r.b.hide = VU_PF(LOG_SHMFD);
	struct vu_peer_opts o;
	vu_peer_opts_blk(&o);
	open_machine(&r, &o);
	cr_expect_eq(vu_proxy_log(r.dev, 0, LOG_BYTES), -ENOTSUP);
	rig_fini(&r);
}

/* ---- network devices ---- */

/* VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET; returns the answer. */
static uint8_t set_pairs(struct guest_driver *g, unsigned queue, uint16_t pairs)
{
	uint64_t at = guest_alloc(g, 16, 16);
	struct guest_buf b[] = {{at, 2, false}, {at + 2, 2, false}, {at + 4, 1, true}};
	uint8_t *p = guest_ptr(g, at, 5);

	p[0] = VIRTIO_NET_CTRL_MQ;
	p[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
	memcpy(p + 2, &pairs, 2);
	p[4] = 0xff;
	guest_add(g, queue, b, 3);
	g->t->kick(g, queue);
	cr_assert(guest_wait_used(g, queue, NULL, NULL), "the control queue does not answer");
	return p[4];
}

static void send_frame(struct guest_driver *g, unsigned queue)
{
	uint64_t at = guest_alloc(g, 12 + 60, 16);
	struct guest_buf b = {at, 12 + 60, false};

	memset(guest_ptr(g, at, 72), 0, 72);
	guest_add(g, queue, &b, 1);
	g->t->kick(g, queue);
	cr_assert(guest_wait_used(g, queue, NULL, NULL), "queue %u does not send", queue);
}

Test(vu_queues, pairs_are_enabled_as_the_driver_says)
{
	struct guest_driver *g;
	struct rig r;

	rig_net(&r, 2, 2);
	g = &r.r.g;
	cr_expect_eq(g->t->config(g, 8, 2), 2u); /* max_virtqueue_pairs */
	run_driver(&r, UINT64_MAX, 5);
	cr_assert(g->negotiated & BIT(VIRTIO_NET_F_MQ));
	send_frame(g, 1);
	becomes(&r.b.enabled[3], 0, "ring 3");
	cr_expect_eq(r.b.enabled[0], 1);
	cr_expect_eq(r.b.enabled[2], 0);
	cr_expect_eq(set_pairs(g, 4, 0), VIRTIO_NET_ERR);
	cr_expect_eq(set_pairs(g, 4, 3), VIRTIO_NET_ERR);
	cr_expect_eq(set_pairs(g, 4, 2), VIRTIO_NET_OK);
	becomes(&r.b.enabled[2], 1, "ring 2");
	becomes(&r.b.enabled[3], 1, "ring 3");
	send_frame(g, 3);
	cr_expect_eq(r.b.enabled[4], -1, "the control queue is nobody's but ours");

	backend_stop(&r.b);
	cr_expect_eq(set_pairs(g, 4, 1), VIRTIO_NET_OK); /* nobody has to be there */
	cr_expect_eq(set_pairs(g, 4, 2), VIRTIO_NET_OK);
	backend_start(&r.b);
	becomes(&r.b.enabled[3], 1, "a successor's ring 3");
	send_frame(g, 3);
	becomes((_Atomic int *)&r.b.messages[VU_SEND_RARP], 1, "SEND_RARP");
	cr_expect_eq(r.b.said[VU_SEND_RARP], UINT64_C(0x090000000002));
	cr_expect_eq(r.b.said[VU_NET_SET_MTU], 1500u);

	guest_rig_pause(&r.r);
	guest_rig_resume(&r.r);
	send_frame(g, 3);
	cr_expect_eq(set_pairs(g, 4, 2), VIRTIO_NET_OK);
	cr_assert(guest_reset(g));
	run_driver(&r, UINT64_MAX, 5);
	becomes(&r.b.enabled[3], 0, "ring 3 of the next driver");
	rig_fini(&r);
}

/* virtio 1.2 §5.1.2: then the control queue is the third. */
Test(vu_queues, a_driver_without_multi_queue)
{
	struct rig r;

	rig_net(&r, 2, 2);
	run_driver(&r, ~BIT(VIRTIO_NET_F_MQ), 3);
	send_frame(&r.r.g, 1);
	cr_expect_eq(set_pairs(&r.r.g, 2, 1), VIRTIO_NET_ERR);
	cr_expect_eq(r.b.enabled[2], -1);
	rig_fini(&r);
	rig_net(&r, 2, 1);
	cr_expect(
		!(r.r.g.t->features(&r.r.g) & (BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ))));
	cr_expect_eq(r.r.g.t->select(&r.r.g, 2), 0);
	rig_fini(&r);
}

Test(vu_queues, a_broken_control_queue_asks_for_a_reset)
{
	struct rig r;

	rig_net(&r, 2, 2);
	run_driver(&r, UINT64_MAX, 5);
	guest_break_ring(&r.r.g, 4);
	r.r.g.t->kick(&r.r.g, 4);
	cr_expect(guest_wait_status(&r.r.g, 64));
	cr_expect(guest_reset(&r.r.g));
	rig_fini(&r);
}

/* ---- any type ---- */

Test(vu_queues, names_of_types)
{
	struct vu_peer_opts o;
	const char *why = NULL;
	char buf[24];

	cr_expect_eq(vu_type_of("fs"), 26);
	cr_expect_eq(vu_type_of("26"), 26);
	cr_expect_eq(vu_type_of("0"), -EINVAL);
	cr_expect_eq(vu_type_of("64"), -EINVAL);
	cr_expect_eq(vu_type_of("2x"), -EINVAL);
	cr_expect_eq(vu_type_of(""), -EINVAL);
	cr_expect_eq(vu_type_of("floppy"), -EINVAL);
	cr_expect_eq(vu_peer_opts_generic(&o, 16, &why), -EINVAL);
	cr_expect_str_eq(why, "it needs a display, which the VMM has not");
	cr_expect_eq(vu_peer_opts_generic(&o, 26, &why), 0);
	cr_expect(o.queues == 2 && o.config_len == 40);
	cr_expect_eq(vu_peer_opts_generic(&o, 50, &why), 0);
	cr_expect(o.queues == 1 && o.config_len == 0);
	cr_expect(!(
		o.may & (VIRTIO_BIT_ACCESS_PLATFORM | VIRTIO_BIT_RING_RESET | BIT(26) | BIT(30))));
	cr_expect_str_eq(vu_feature_name(2, VIRTIO_BLK_F_MQ, buf), "VIRTIO_BLK_F_MQ");
	cr_expect_str_eq(vu_feature_name(26, VIRTIO_BLK_F_MQ, buf), "feature bit 12");
}

/* A successor hears what the driver wrote to config space; that it refuses does not matter. */
Test(vu_queues, a_successor_hears_of_config_space)
{
	struct vu_peer_opts o;
	struct guest_driver *g;
	const char *why;
	struct rig r;

	backend_init(&r.b);
	cr_assert_eq(vu_peer_opts_generic(&o, VIRTIO_TYPE_CONSOLE, &why), 0);
	o.queues = 1;
	open_machine(&r, &o);
	g = &r.r.g;
	run_driver(&r, VIRTIO_BIT_VERSION_1, 1);
	fake_write(&r.r.f, g->config + 8, 4, 0x21);
	cr_expect_eq(g->t->config(g, 8, 4), 0x21u);
	becomes((_Atomic int *)&r.b.messages[VU_SET_CONFIG], 1, "SET_CONFIG");
	backend_stop(&r.b);
	backend_start(&r.b);
	becomes((_Atomic int *)&r.b.messages[VU_SET_CONFIG], 2, "SET_CONFIG again");
	cr_expect_eq(r.b.said[VU_SET_CONFIG], UINT64_C(4) << 32 | 8); /* size, offset */
	cr_expect_eq(g->t->config(g, 8, 4), 0x21u);
	cr_assert(guest_reset(g));
	rig_fini(&r);
}

/* Config space is the peer's, and features, but for those of a control queue. */
Test(vu_queues, a_device_of_which_only_the_type_is_known)
{
	struct vu_peer_opts o;
	const char *why;
	struct rig r;

	backend_init_net(&r.b, 2);
	cr_assert_eq(vu_peer_opts_generic(&o, VIRTIO_TYPE_NET, &why), 0);
	open_machine(&r, &o);
	cr_expect_eq(r.r.g.t->config(&r.r.g, 0, 4), 2u);
	cr_expect_eq(r.r.g.t->config(&r.r.g, 4, 2), 0x700u);
	cr_expect(
		!(r.r.g.t->features(&r.r.g) & (BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ))));
	run_driver(&r, UINT64_MAX, 2);
	cr_expect(r.r.g.negotiated & BIT(VIRTIO_NET_F_MAC));
	send_frame(&r.r.g, 1);
	rig_fini(&r);
}
