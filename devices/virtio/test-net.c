/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net over a socket pair: the test holds the other end of the wire. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices/backend/netdev.h"
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

#define HDR 12

struct nic {
	struct guest_rig rig;
	struct guest_driver *g;
	struct netdev *net;
	int wire;
	uint64_t buf;
};

static void nic_start_on(struct nic *n, const struct guest_transport *t, uint64_t features)
{
	struct virtio_net_opts o = {.mac = {0x52, 0x54, 0, 1, 2, 3}, .mtu = 1400};
	struct timeval limit = {.tv_sec = 5};
	struct virtio_dev *dev;
	int pair[2];

	*n = (struct nic){0};
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	n->wire = pair[0];
	setsockopt(n->wire, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	guest_rig_init(&n->rig, 8 * MIB);
	cr_assert_eq(netdev_stream_new(pair[1], &n->net), 0);
	cr_assert_eq(virtio_net_new(&n->rig.f.host, "_net0", &n->net, &o, &dev), 0);
	guest_rig_attach(&n->rig, t, dev);
	n->g = &n->rig.g;
	cr_assert_eq(guest_negotiate(n->g, features) & 8, 8);
	guest_queue_init(n->g, 0, GUEST_RING);
	guest_queue_init(n->g, 1, GUEST_RING);
	guest_driver_ok(n->g);
	n->buf = guest_alloc(n->g, 256 * KIB, 4096);
}

static void nic_start(struct nic *n, uint64_t features)
{
	nic_start_on(n, &guest_mmio, features);
}

static void nic_stop(struct nic *n)
{
	guest_rig_fini(&n->rig);
	netdev_free(n->net);
	close(n->wire);
}

TestSuite(net, .timeout = 60);

static void wire_send(struct nic *n, const void *frame, uint32_t len)
{
	uint32_t be = htonl(len);

	cr_assert_eq(write(n->wire, &be, 4), 4);
	cr_assert_eq(write(n->wire, frame, len), (ssize_t)len);
}

static void wire_read(struct nic *n, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t r = read(n->wire, (char *)buf + done, len - done);

		cr_assert_gt(r, 0);
		done += r;
	}
}

static uint32_t wire_recv(struct nic *n, void *frame)
{
	uint32_t be;

	wire_read(n, &be, 4);
	wire_read(n, frame, ntohl(be));
	return ntohl(be);
}

static void give_rx(struct nic *n, unsigned count, uint32_t len)
{
	for (unsigned i = 0; i < count; i++) {
		struct guest_buf b = {n->buf + i * len, len, true};

		guest_add(n->g, 0, &b, 1);
	}
	n->g->t->kick(n->g, 0);
}

static void transmit(struct nic *n, const void *frame, uint32_t len)
{
	uint64_t hdr = guest_alloc(n->g, HDR, 4), data = guest_alloc(n->g, len, 4);
	struct guest_buf b[] = {{hdr, HDR, false}, {data, len, false}};

	memcpy(guest_ptr(n->g, data, len), frame, len);
	guest_add(n->g, 1, b, 2);
	n->g->t->kick(n->g, 1);
}

Test(net, identity)
{
	struct nic n;

	nic_start(&n, UINT64_MAX);
	cr_expect_eq(n.g->t->config(n.g, 0, 4), 0x01005452u);
	cr_expect_eq(n.g->t->config(n.g, 6, 2), VIRTIO_NET_S_LINK_UP);
	cr_expect_eq(n.g->t->config(n.g, 10, 2), 1400u);
	cr_expect_not(n.g->negotiated & 1 << VIRTIO_NET_F_CSUM, "the wire has no vnet headers");
	nic_stop(&n);
}

Test(net, sends)
{
	struct nic n;
	char frame[100];

	nic_start(&n, UINT64_MAX);
	transmit(&n, "a frame of this text", 20);
	cr_assert_eq(wire_recv(&n, frame), 20u);
	cr_expect_eq(memcmp(frame, "a frame of this text", 20), 0);
	cr_expect(guest_wait_used(n.g, 1, NULL, NULL));
	nic_stop(&n);
}

Test(net, receives)
{
	struct nic n;
	uint8_t *p;
	uint32_t len;

	nic_start(&n, UINT64_MAX);
	give_rx(&n, 4, 2048);
	wire_send(&n, "first", 5);
	wire_send(&n, "second", 6);
	cr_assert(guest_wait_used(n.g, 0, NULL, &len));
	cr_expect_eq(len, 5u + HDR);
	p = guest_ptr(n.g, n.buf, 2048);
	cr_expect_eq(memcmp(p, "\0\0\0\0\0\0\0\0\0\0\1\0first", 17), 0);
	cr_assert(guest_wait_used(n.g, 0, NULL, &len));
	cr_expect_eq(len, 6u + HDR);
	nic_stop(&n);
}

/* A frame may come before there is a buffer; it waits. */
Test(net, buffers_come_late)
{
	struct nic n;
	uint32_t len;

	nic_start(&n, UINT64_MAX);
	wire_send(&n, "early", 5);
	usleep(20000);
	cr_expect_eq(guest_used_idx(n.g, 0), 0);
	give_rx(&n, 1, 2048);
	cr_assert(guest_wait_used(n.g, 0, NULL, &len));
	wire_send(&n, "again", 5);
	usleep(20000);
	cr_expect_eq(guest_used_idx(n.g, 0), 1);
	give_rx(&n, 1, 2048);
	cr_assert(guest_wait_used(n.g, 0, NULL, &len));
	nic_stop(&n);
}

Test(net, frame_over_merged_buffers)
{
	static uint8_t big[9000];
	struct nic n;
	uint32_t len;
	uint8_t *p;

	nic_start(&n, UINT64_MAX);
	for (unsigned i = 0; i < sizeof(big); i++)
		big[i] = i / 7;
	give_rx(&n, 8, 2048);
	wire_send(&n, big, sizeof(big));
	for (int i = 0; i < 4; i++) {
		cr_assert(guest_wait_used(n.g, 0, NULL, &len));
		cr_expect_eq(len, 2048u);
	}
	cr_assert(guest_wait_used(n.g, 0, NULL, &len));
	cr_expect_eq(len, sizeof(big) + HDR - 4 * 2048);
	p = guest_ptr(n.g, n.buf, 16 * KIB);
	cr_expect_eq(p[10], 5, "num_buffers");
	cr_expect_eq(memcmp(p + HDR, big, sizeof(big)), 0);
	nic_stop(&n);
}

Test(net, frame_too_large_without_merging_is_dropped)
{
	static uint8_t big[9000];
	struct nic n;
	uint32_t len;

	nic_start(&n, ~(1ull << VIRTIO_NET_F_MRG_RXBUF));
	give_rx(&n, 2, 2048);
	wire_send(&n, big, sizeof(big));
	wire_send(&n, "small", 5);
	cr_assert(guest_wait_used(n.g, 0, NULL, &len));
	cr_expect_eq(len, 5u + HDR);
	nic_stop(&n);
}

Test(net, useless_receive_buffers)
{
	struct nic n;
	uint32_t len;

	nic_start(&n, ~(1ull << VIRTIO_NET_F_MRG_RXBUF));
	struct guest_buf tiny = {n.buf, 4, true}, readable = {n.buf, 100, false};
	guest_add(n.g, 0, &tiny, 1);
	guest_add(n.g, 0, &readable, 1);
	n.g->t->kick(n.g, 0);
	wire_send(&n, "small", 5);
	for (int i = 0; i < 2; i++) {
		cr_assert(guest_wait_used(n.g, 0, NULL, &len));
		cr_expect_eq(len, 0u);
	}
	give_rx(&n, 1, 2048);
	cr_assert(guest_wait_used(n.g, 0, NULL, &len));
	nic_stop(&n);
}

Test(net, useless_frames_are_dropped)
{
	struct nic n;
	char frame[100];

	nic_start(&n, UINT64_MAX);
	struct guest_buf only_header = {n.buf, HDR, false}, writable = {n.buf, 100, true},
			 huge[] = {{n.buf, 60000, false}, {n.buf, 60000, false}};
	guest_add(n.g, 1, &only_header, 1);
	guest_add(n.g, 1, &writable, 1);
	guest_add(n.g, 1, huge, 2);
	transmit(&n, "good", 4);
	for (int i = 0; i < 4; i++)
		cr_assert(guest_wait_used(n.g, 1, NULL, NULL));
	cr_expect_eq(wire_recv(&n, frame), 4u);
	nic_stop(&n);
}

/* The far end does not read: frames wait without being lost, until it does. */
Test(net, slow_reader)
{
	static uint8_t frame[60000];
	struct nic n;

	nic_start(&n, UINT64_MAX);
	struct guest_buf b = {n.buf, 50000, false};
	for (int i = 0; i < 20; i++)
		guest_add(n.g, 1, &b, 1);
	n.g->t->kick(n.g, 1);
	usleep(50000);
	cr_expect_lt(guest_used_idx(n.g, 1), 20);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(wire_recv(&n, frame), 50000u - HDR);
	for (int i = 0; i < 20; i++)
		cr_assert(guest_wait_used(n.g, 1, NULL, NULL));
	nic_stop(&n);
}

Test(net, many_frames_each_way)
{
	struct nic n;
	char frame[1500] = "";

	nic_start(&n, UINT64_MAX);
	for (int round = 0; round < 50; round++) {
		give_rx(&n, 32, 2048);
		for (int i = 0; i < 32; i++)
			wire_send(&n, frame, 60 + i);
		for (int i = 0; i < 32; i++)
			cr_assert(guest_wait_used(n.g, 0, NULL, NULL));
	}
	nic_stop(&n);
}

Test(net, peer_hangs_up)
{
	struct nic n;

	nic_start(&n, UINT64_MAX);
	give_rx(&n, 4, 2048);
	close(n.wire);
	usleep(20000);
	transmit(&n, "lost", 4);
	cr_expect(guest_wait_used(n.g, 1, NULL, NULL));
	n.wire = dup(0);
	cr_expect(guest_reset(n.g));
	nic_stop(&n);
}

Test(net, peer_talks_nonsense)
{
	struct nic n;

	nic_start(&n, UINT64_MAX);
	give_rx(&n, 4, 2048);
	cr_assert_eq(write(n.wire, "\xff\xff\xff\xff....", 8), 8);
	usleep(20000);
	cr_expect(guest_reset(n.g));
	nic_stop(&n);
}

/* More useless frames than one turn of the worker takes, all read from the socket at once: the one
 * behind them still comes. */
Test(net, long_backlog)
{
	struct nic n;
	uint32_t len;
	static char frames[300][4 + 100];

	nic_start(&n, ~(1ull << VIRTIO_NET_F_MRG_RXBUF));
	for (int i = 0; i < 300; i++)
		frames[i][3] = 100;
	cr_assert_eq(write(n.wire, frames, sizeof(frames)), (ssize_t)sizeof(frames));
	usleep(20000); /* past the start's own turn */
	wire_send(&n, "small", 5);
	give_rx(&n, 1, 50);
	cr_assert(guest_wait_used(n.g, 0, NULL, &len));
	cr_expect_eq(len, 5u + HDR);
	nic_stop(&n);
}

/* MSI-X goes off while buffers are taken ahead: the queue stops, gives them back and goes on. */
Test(net, restart_keeps_receive_buffers)
{
	struct nic n;
	uint32_t len, id;
	uint64_t cap;

	nic_start_on(&n, &guest_pci_msix, UINT64_MAX);
	give_rx(&n, 4, 2048);
	wire_send(&n, "one", 3);
	cr_assert(guest_wait_used(n.g, 0, &id, &len));
	cap = fake_read(&n.rig.f, n.g->base + 0x34, 1);
	while (fake_read(&n.rig.f, n.g->base + cap, 1) != 0x11)
		cap = fake_read(&n.rig.f, n.g->base + cap + 1, 1);
	fake_write(&n.rig.f, n.g->base + cap + 2, 2, 0);
	for (uint32_t i = 1; i < 4; i++) {
		wire_send(&n, "two", 3);
		cr_assert(guest_wait_used(n.g, 0, &id, &len), "frame %u", i);
		cr_expect_eq(id, i);
	}
	nic_stop(&n);
}

Test(net, reset_and_again)
{
	struct nic n;
	uint32_t len;

	nic_start(&n, UINT64_MAX);
	for (int i = 0; i < 5; i++) {
		give_rx(&n, 16, 2048);
		wire_send(&n, "one", 3);
		cr_assert(guest_wait_used(n.g, 0, NULL, &len));
		cr_assert(guest_reset(n.g));
		cr_assert_eq(guest_negotiate(n.g, UINT64_MAX) & 8, 8);
		guest_queue_init(n.g, 0, GUEST_RING);
		guest_queue_init(n.g, 1, GUEST_RING);
		guest_driver_ok(n.g);
	}
	nic_stop(&n);
}

Test(net, counts)
{
	static const char big[3000];
	struct nic n;
	char frame[100], buf[64];

	nic_start(&n, ~(UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF));
	give_rx(&n, 4, 2048);
	wire_send(&n, "first", 5);
	cr_assert(guest_wait_used(n.g, 0, NULL, NULL));
	wire_send(&n, big, sizeof(big));
	wire_send(&n, "second", 6);
	cr_assert(guest_wait_used(n.g, 0, NULL, NULL));
	transmit(&n, "a frame of this text", 20);
	wire_recv(&n, frame);
	cr_assert(guest_wait_used(n.g, 1, NULL, NULL));
	struct guest_buf b = {n.buf, HDR, false};
	guest_add(n.g, 1, &b, 1); /* nothing behind the header */
	n.g->t->kick(n.g, 1);
	cr_assert(guest_wait_used(n.g, 1, NULL, NULL));
	cr_expect_eq(guest_rig_counter(&n.rig, "rx_frames"), 2u);
	cr_expect_eq(guest_rig_counter(&n.rig, "rx_bytes"), 11u);
	cr_expect_eq(guest_rig_counter(&n.rig, "rx_dropped"), 1u);
	cr_expect_eq(guest_rig_counter(&n.rig, "tx_frames"), 1u);
	cr_expect_eq(guest_rig_counter(&n.rig, "tx_bytes"), 20u);
	cr_expect_eq(guest_rig_counter(&n.rig, "tx_dropped"), 1u);
	cr_expect_str_eq(guest_rig_achieved(&n.rig, "offload_csum", buf),
		"off: the stream has no vnet header");
	nic_stop(&n);
}
