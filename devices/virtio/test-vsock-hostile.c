/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that break the rules of virtio-vsock, or flood: each gets its answer, or none, and the
 * device serves the next connection as if nothing had been. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include "devices/virtio/test-vsock.h"

TestSuite(vsock_hostile, .timeout = 120);

/* An honest connection still works. */
static void expect_service(struct box *b)
{
	struct packet p;
	struct flow f;
	char text[4];
	int fd = open_from_host(b, &f);

	cr_assert_eq(write(fd, "in", 2), 2);
	expect_op(b, &f, VIRTIO_VSOCK_OP_RW, 0, &p);
	send_data(b, &f, "out", 3);
	host_read(fd, text, 3);
	send_op(b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, 3);
	expect_op(b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	expect_end(fd);
}

/* An RST to the address that h came from, from the one it went to. */
static void expect_reset(struct box *b, const struct virtio_vsock_hdr *h)
{
	struct packet p;

	receive(b, &p);
	cr_expect_eq(p.h.op, VIRTIO_VSOCK_OP_RST);
	cr_expect(p.h.src_cid == h->dst_cid && p.h.dst_cid == h->src_cid);
	cr_expect(p.h.src_port == h->dst_port && p.h.dst_port == h->src_port);
	cr_expect(p.h.type == h->type && !p.h.len);
}

Test(vsock_hostile, packets_to_nobody)
{
	struct flow f = {.guest_port = 1, .host_port = 2};
	struct virtio_vsock_hdr h;
	struct box b;

	box_start(&b);
	for (unsigned op = 0; op < 300; op += op < 9 ? 1 : 97) {
		h = make_hdr(&f, op, 0);
		send_raw(&b, &h, NULL, 0);
		if (op != VIRTIO_VSOCK_OP_RST)
			expect_reset(&b, &h);
	}
	h = make_hdr(&f, VIRTIO_VSOCK_OP_REQUEST, 0);
	h.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	send_raw(&b, &h, NULL, 0);
	expect_reset(&b, &h);
	h.type = 0xffff;
	send_raw(&b, &h, NULL, 0);
	expect_reset(&b, &h);
	h.type = VIRTIO_VSOCK_TYPE_STREAM;
	h.dst_cid = 77;
	send_raw(&b, &h, NULL, 0);
	expect_reset(&b, &h);
	h.dst_cid = 2 | UINT64_C(1) << 32;
	send_raw(&b, &h, NULL, 0);
	expect_reset(&b, &h);
	h.op = VIRTIO_VSOCK_OP_RST;
	send_raw(&b, &h, NULL, 0);
	expect_silence(&b);
	expect_service(&b);
	box_stop(&b);
}

/* Nothing can be answered to these. */
Test(vsock_hostile, packets_from_nobody)
{
	struct flow f = {.guest_port = 1, .host_port = 2};
	struct virtio_vsock_hdr h = make_hdr(&f, VIRTIO_VSOCK_OP_REQUEST, 0);
	struct box b;

	box_start(&b);
	for (uint32_t len = 1; len < HDR; len += 14) {
		struct guest_buf part = {b.tx, len, false};

		guest_add(b.g, TX, &part, 1);
		b.g->t->kick(b.g, TX);
		cr_assert(guest_wait_used(b.g, TX, NULL, NULL));
	}
	struct guest_buf writable = {b.tx, HDR, true};
	guest_add(b.g, TX, &writable, 1);
	b.g->t->kick(b.g, TX);
	cr_assert(guest_wait_used(b.g, TX, NULL, NULL));
	h.src_cid = CID + 1;
	send_raw(&b, &h, NULL, 0);
	h.src_cid = CID | UINT64_C(1) << 40;
	send_raw(&b, &h, NULL, 0);
	h = make_hdr(&f, VIRTIO_VSOCK_OP_RW, 5);
	send_raw(&b, &h, "four", 4);
	h.len = UINT32_MAX;
	send_raw(&b, &h, "four", 4);
	expect_silence(&b);
	expect_service(&b);
	box_stop(&b);
}

/* In a connection, what may not come now ends it. */
Test(vsock_hostile, wrong_moment)
{
	static const struct {
		uint16_t before, flags, op;
	} wrong[] = {
		{0, 0, VIRTIO_VSOCK_OP_INVALID},
		{0, 0, VIRTIO_VSOCK_OP_REQUEST},
		{0, 0, VIRTIO_VSOCK_OP_RESPONSE},
		{0, 0, 8},
		{0, 0, 0xffff},
		{VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, VIRTIO_VSOCK_OP_RW},
	};
	struct box b;
	struct flow f;
	int fd;

	box_start(&b);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		fd = open_from_host(&b, &f);
		if (wrong[i].before)
			send_op(&b, &f, wrong[i].before, wrong[i].flags);
		send_op(&b, &f, wrong[i].op, 0);
		expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
		expect_end(fd);
	}
	/* Harmless: no data, no flags, an RST twice. */
	fd = open_from_host(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_RW, 0);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, 0xfffffffc);
	expect_silence(&b);
	send_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0);
	send_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0);
	expect_end(fd);
	expect_silence(&b);
	expect_service(&b);
	box_stop(&b);
}

/* The device has read all that was written to it; on its loop nothing comes before what that means.
 */
static void until_heard(int fd)
{
	int left = 1;

	while (left && ioctl(fd, SIOCOUTQ, &left) == 0)
		usleep(1000);
}

Test(vsock_hostile, answers_before_it_was_asked)
{
	struct packet p;
	struct flow f = {.guest_port = 52};
	struct box b;
	uint16_t op;
	int fd;

	box_start(&b);
	for (op = VIRTIO_VSOCK_OP_SHUTDOWN; op <= VIRTIO_VSOCK_OP_CREDIT_REQUEST; op++) {
		fd = host_connect(&b, "CONNECT 52\n");
		receive(&b, &p);
		f.host_port = p.h.src_port;
		send_op(&b, &f, op, 0);
		expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
		expect_end(fd);
	}
	expect_service(&b);
	box_stop(&b);
	/* The ring has no buffer: the REQUEST has not been sent, but the port is easy to guess. */
	box_start_on(&b, &guest_mmio);
	fd = host_connect(&b, "CONNECT 52\n");
	until_heard(fd);
	f.host_port = 1 << 30;
	send_op(&b, &f, VIRTIO_VSOCK_OP_RESPONSE, 0);
	expect_end(fd);
	give_rx(&b, RX_N);
	expect_service(&b);
	box_stop(&b);
}

/* More answers than the device keeps: it takes no more packets until there are buffers. */
Test(vsock_hostile, flood_without_receive_buffers)
{
	struct flow f = {.guest_port = 1, .host_port = 2};
	struct virtio_vsock_hdr h = make_hdr(&f, VIRTIO_VSOCK_OP_RW, 0);
	struct guest_buf buf = {0, HDR, false};
	struct box b;
	unsigned sent = 0;

	box_start_on(&b, &guest_mmio);
	buf.gpa = b.tx;
	memcpy(guest_ptr(b.g, b.tx, HDR), &h, HDR);
	for (; sent < 1000; sent++) {
		guest_add(b.g, TX, &buf, 1);
		b.g->t->kick(b.g, TX);
		for (int i = 0; i < 5000 && guest_used_idx(b.g, TX) == b.g->q[TX].seen; i++)
			usleep(100);
		if (guest_used_idx(b.g, TX) == b.g->q[TX].seen)
			break;
		guest_wait_used(b.g, TX, NULL, NULL);
	}
	cr_expect(sent >= 200 && sent < 300, "%u", sent);
	give_rx(&b, RX_N);
	for (unsigned i = 0; i <= sent; i++)
		expect_reset(&b, &h);
	cr_assert(guest_wait_used(b.g, TX, NULL, NULL));
	expect_service(&b);
	box_stop(&b);
}

Test(vsock_hostile, useless_receive_buffers)
{
	struct box b;
	uint32_t len;

	box_start_on(&b, &guest_mmio);
	struct guest_buf tiny = {b.rx, HDR - 1, true}, no_room = {b.rx, HDR, true},
			 readable = {b.rx, 100, false};
	guest_add(b.g, RX, &tiny, 1);
	guest_add(b.g, RX, &no_room, 1);
	guest_add(b.g, RX, &readable, 1);
	give_rx(&b, RX_N);
	int fd = host_connect(&b, "CONNECT 52\n");
	for (int i = 0; i < 3; i++) {
		cr_assert(guest_wait_used(b.g, RX, NULL, &len));
		cr_expect_eq(len, 0u);
	}
	struct packet p;
	receive(&b, &p);
	cr_expect_eq(p.h.op, VIRTIO_VSOCK_OP_REQUEST);
	close(fd);
	receive(&b, &p);
	expect_service(&b);
	box_stop(&b);
}

/* The header and the payload may be split anywhere. */
Test(vsock_hostile, odd_buffers)
{
	struct box b;
	struct flow f;
	uint32_t len;
	char text[5];

	box_start_on(&b, &guest_mmio);
	struct guest_buf in[] = {{b.rx, 10, true}, {b.rx + 10, 33, true}, {b.rx + 43, 3, true},
		{b.rx + 46, 100, true}};
	struct guest_buf out[] = {{b.tx, 20, false}, {b.tx + 20, 26, false}, {b.tx + 46, 3, false}};
	give_rx(&b, 1); /* for the REQUEST; then the odd one, then what receive() gives back */
	guest_add(b.g, RX, in, 4);
	int fd = open_from_host(&b, &f);
	cr_assert_eq(write(fd, "world", 5), 5);
	cr_assert(guest_wait_used(b.g, RX, NULL, &len));
	cr_expect_eq(len, HDR + 5u);
	cr_expect_eq(memcmp(guest_ptr(b.g, b.rx + HDR, 5), "world", 5), 0);
	struct virtio_vsock_hdr h = make_hdr(&f, VIRTIO_VSOCK_OP_RW, 5);
	memcpy(guest_ptr(b.g, b.tx, HDR), &h, HDR);
	memcpy(guest_ptr(b.g, b.tx + HDR, 5), "hello", 5);
	guest_add(b.g, TX, out, 3);
	b.g->t->kick(b.g, TX);
	host_read(fd, text, 5);
	cr_expect_eq(memcmp(text, "hello", 5), 0);
	close(fd);
	box_stop(&b);
}

Test(vsock_hostile, broken_rings)
{
	struct box b;
	struct flow f;
	int fd;

	box_start(&b);
	for (unsigned q = RX; q <= TX; q++) {
		fd = open_from_host(&b, &f);
		guest_break_ring(b.g, q);
		b.g->t->kick(b.g, q);
		send(fd, "x", 1, MSG_NOSIGNAL);
		cr_assert(guest_wait_status(b.g, 64), "DEVICE_NEEDS_RESET");
		box_queues(&b);
		expect_end(fd);
		give_rx(&b, RX_N);
		expect_service(&b);
	}
	box_stop(&b);
}

static void raise_fd_limit(void)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	if (l.rlim_cur < 4096)
		cr_skip_test("needs 4096 file descriptors");
}

/* 1024 connections and no more, from either side; each that ends makes room. */
Test(vsock_hostile, full_table)
{
	static int fd[1024];
	struct flow f = {.host_port = 99, .alloc = ALLOC};
	struct box b;
	int listener;

	raise_fd_limit();
	box_start(&b);
	listener = host_listen(&b, 99);
	for (unsigned i = 0; i < ARRAY_SIZE(fd); i++) {
		f.guest_port = i;
		send_op(&b, &f, VIRTIO_VSOCK_OP_REQUEST, 0);
		expect_op(&b, &f, VIRTIO_VSOCK_OP_RESPONSE, 0, NULL);
		fd[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		cr_assert_geq(fd[i], 0);
	}
	f.guest_port = 5000;
	send_op(&b, &f, VIRTIO_VSOCK_OP_REQUEST, 0);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	expect_end(host_connect(&b, ""));
	f.guest_port = 512;
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, 3);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	expect_service(&b);
	for (unsigned i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
	host_unlisten(&b, 99, listener);
	box_stop(&b);
}

/* When the process runs out of fds, callers wait until it has some again. */
Test(vsock_hostile, out_of_fds)
{
	struct rlimit l, few;
	struct box b;
	int client, last;

	box_start(&b);
	client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	last = dup(client);
	getrlimit(RLIMIT_NOFILE, &l);
	few = l;
	few.rlim_cur = last + 1;
	while (dup(client) < last) {
	}
	setrlimit(RLIMIT_NOFILE, &few);
	struct sockaddr_un a = address(&b, -1);
	cr_assert_eq(connect(client, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(write(client, "CONNECT 52\n", 11), 11);
	expect_silence(&b);
	setrlimit(RLIMIT_NOFILE, &l);
	struct packet p;
	receive(&b, &p);
	cr_expect_eq(p.h.op, VIRTIO_VSOCK_OP_REQUEST);
	box_stop(&b);
	close(client);
}
