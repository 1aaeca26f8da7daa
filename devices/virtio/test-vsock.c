/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock as both ends use it: connecting, data, credit, closing. */
#include <pthread.h>
#include "devices/virtio/test-vsock.h"

#define BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)
#define SEND VIRTIO_VSOCK_SHUTDOWN_SEND
#define RCV  VIRTIO_VSOCK_SHUTDOWN_RCV

TestSuite(vsock, .timeout = 120);

static uint64_t counter(struct box *b, const char *name)
{
	struct dev_counter c[8];
	unsigned n = b->rig.device->ops->counters(b->rig.device, c, 8);

	for (unsigned i = 0; i < n; i++)
		if (strcmp(c[i].name, name) == 0)
			return c[i].value;
	cr_assert_fail("no counter %s", name);
	return 0;
}

Test(vsock, identity)
{
	struct virtio_dev *dev;
	struct box b;

	box_start(&b);
	cr_expect_eq(b.g->t->config(b.g, 0, 4), CID);
	cr_expect_eq(b.g->t->config(b.g, 4, 4), 0u);
	cr_expect_eq(b.g->negotiated & 0xffffff, 1u, "VIRTIO_VSOCK_F_STREAM alone");
	cr_expect_eq(virtio_vsock_new(&b.rig.f.host, "x", 2, b.u, &dev), -EINVAL);
	cr_expect_eq(virtio_vsock_new(&b.rig.f.host, "x", UINT32_MAX, b.u, &dev), -EINVAL);
	box_stop(&b);
}

/* The far end of an echo: sends back what it reads, in pieces of its own. */
static void *echo(void *arg)
{
	int fd = *(int *)arg;
	char buf[3000];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t done = 0; done < n;) {
			ssize_t w = send(fd, buf + done, n - done, MSG_NOSIGNAL);

			if (w < 0)
				return NULL;
			done += w;
		}
	shutdown(fd, SHUT_WR);
	return NULL;
}

static uint32_t checksum(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = (sum ^ p[i]) * 16777619u;
	return sum;
}

/* 1 MiB to the host and back, each side within its credit. */
static void exchange(struct box *b, struct flow *f, int fd)
{
	uint32_t out = 1, back = 1, total = MIB, received = 0, rnd = 7;
	static uint8_t data[64 * KIB];
	pthread_t far;
	struct packet p;

	pthread_create(&far, NULL, echo, &fd);
	while (received < total) {
		uint32_t n = MIN(guest_credit(f), (uint32_t)(rnd % sizeof(data)) + 1);

		n = MIN(n, total - f->sent);
		rnd = rnd * 1103515245 + 12345;
		for (uint32_t i = 0; i < n; i++)
			data[i] = f->sent + i + rnd / 65536;
		out = checksum(out, data, n);
		if (n)
			send_data(b, f, data, n);
		while (received < total && (guest_used_idx(b->g, RX) != b->g->q[RX].seen || !n)) {
			receive(b, &p);
			f->peer_fwd = p.h.fwd_cnt;
			f->received += p.h.len;
			received += p.h.len;
			back = checksum(back, p.data, p.h.len);
			if (p.h.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST || p.h.len)
				send_op(b, f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
			if (f->sent < total && guest_credit(f))
				break;
		}
	}
	cr_expect_eq(out, back, "what came back is what was sent");
	cr_expect_eq(received, total);
	send_op(b, f, VIRTIO_VSOCK_OP_SHUTDOWN, SEND);
	pthread_join(far, NULL);
	close(fd);
}

/* The far end has closed: wait for both flags, then answer. */
static void expect_closed(struct box *b, struct flow *f)
{
	struct packet p;

	do {
		receive(b, &p);
		cr_assert(p.h.op == VIRTIO_VSOCK_OP_SHUTDOWN ||
			  p.h.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE ||
			  p.h.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	} while (p.h.op != VIRTIO_VSOCK_OP_SHUTDOWN || p.h.flags != BOTH);
	send_op(b, f, VIRTIO_VSOCK_OP_RST, 0);
	expect_silence(b);
}

Test(vsock, host_connects)
{
	struct box b;
	struct flow f;
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	exchange(&b, &f, fd);
	expect_closed(&b, &f);
	cr_expect_eq(counter(&b, "connections"), 1);
	cr_expect_eq(counter(&b, "rx_bytes"), MIB);
	cr_expect_eq(counter(&b, "tx_bytes"), MIB);
	cr_expect_eq(counter(&b, "refused"), 0);
	box_stop(&b);
}

Test(vsock, guest_connects)
{
	struct box b;
	struct flow f;
	int fd, listener;

	box_start_on(&b, &guest_pci_msix);
	give_rx(&b, RX_N);
	listener = host_listen(&b, 1234);
	fd = open_from_guest(&b, &f, listener, 1234);
	exchange(&b, &f, fd);
	expect_closed(&b, &f);
	host_unlisten(&b, 1234, listener);
	box_stop(&b);
}

Test(vsock, guest_is_refused)
{
	struct flow f = {.guest_port = 9, .host_port = 1234};
	struct box b;
	int listener;

	box_start(&b);
	send_op(&b, &f, VIRTIO_VSOCK_OP_REQUEST, 0);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	listener = host_listen(&b, 1234);
	close(listener); /* the name stays, nobody serves it */
	send_op(&b, &f, VIRTIO_VSOCK_OP_REQUEST, 0);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	unlink(address(&b, 1234).sun_path);
	cr_expect_eq(counter(&b, "refused"), 2);
	box_stop(&b);
}

Test(vsock, host_is_refused)
{
	struct flow f = {.guest_port = 52};
	struct packet p;
	struct box b;
	int fd;

	box_start(&b);
	fd = host_connect(&b, "CONNECT 52\n");
	receive(&b, &p);
	f.host_port = p.h.src_port;
	send_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0);
	expect_end(fd);
	expect_silence(&b);
	cr_expect_eq(counter(&b, "refused"), 1);
	box_stop(&b);
}

/* Forms that clients send, the line in pieces, and data right behind it. */
Test(vsock, lines)
{
	static const char *const good[] = {"CONNECT 7\n", "connect 7\n", "CONNECT  0x7\nrest"};
	struct packet p;
	struct flow f = {.alloc = ALLOC, .guest_port = 7};
	struct box b;
	int fd;

	box_start(&b);
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		fd = host_connect(&b, "");
		for (unsigned k = 0; k < 9; k++) {
			cr_assert_eq(write(fd, good[i] + k, 1), 1);
			usleep(1000);
		}
		cr_assert_gt(write(fd, good[i] + 9, strlen(good[i] + 9)), 0);
		receive(&b, &p);
		cr_expect(p.h.op == VIRTIO_VSOCK_OP_REQUEST && p.h.dst_port == 7);
		f.host_port = p.h.src_port;
		send_op(&b, &f, VIRTIO_VSOCK_OP_RESPONSE, 0);
		if (strstr(good[i], "rest")) {
			expect_op(&b, &f, VIRTIO_VSOCK_OP_RW, 0, &p);
			cr_expect_eq(memcmp(p.data, "rest", 4), 0);
		}
		send_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0);
		close(fd);
	}
	box_stop(&b);
}

Test(vsock, bad_lines)
{
	static const char *const bad[] = {"\n", "CONNECT\n", "CONNECT \n", "CONNECT x\n",
		"CONNECT -1\n", "CONNECT 4294967296\n", "CONNECT 1 2\n", "GET / HTTP/1.1\r\n",
		"CONNECT 000000000000000000000000001\n", "cccccccccccccccccccccccccccccccccccccc"};
	struct box b;

	box_start(&b);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		expect_end(host_connect(&b, bad[i]));
	expect_silence(&b);
	cr_expect_eq(counter(&b, "refused"), ARRAY_SIZE(bad));
	box_stop(&b);
}

/* Who says nothing, and a guest that answers nothing, are waited for two seconds. */
Test(vsock, timeouts)
{
	struct flow f = {.guest_port = 52}, closed;
	struct packet p;
	struct box b;
	int silent, half, asked, fd;

	box_start(&b);
	fd = open_from_host(&b, &closed);
	silent = host_connect(&b, "");
	half = host_connect(&b, "CONN");
	asked = host_connect(&b, "CONNECT 52\n");
	receive(&b, &p);
	cr_expect_eq(p.h.op, VIRTIO_VSOCK_OP_REQUEST);
	f.host_port = p.h.src_port;
	close(fd);
	expect_op(&b, &closed, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH, NULL);
	expect_end(silent);
	expect_end(half);
	expect_end(asked);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	expect_op(&b, &closed, VIRTIO_VSOCK_OP_RST, 0, NULL);
	/* Too late: the guest hears that there is no such connection. */
	send_op(&b, &f, VIRTIO_VSOCK_OP_RESPONSE, 0);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	cr_expect_eq(counter(&b, "refused"), 3);
	box_stop(&b);
}

Test(vsock, host_gives_up_early)
{
	struct flow f = {.guest_port = 52};
	struct packet p;
	struct box b;
	int fd;

	box_start(&b);
	fd = host_connect(&b, "CONNECT 52\n");
	receive(&b, &p);
	f.host_port = p.h.src_port;
	close(fd);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	box_stop(&b);
}

/* Before the guest has even had a buffer for the REQUEST: it never hears of it. */
Test(vsock, host_gives_up_at_once)
{
	struct box b;
	struct flow f;

	box_start_on(&b, &guest_mmio);
	for (int i = 0; i < 10; i++) {
		close(host_connect(&b, i % 2 ? "CONNECT 52\n" : "CONN"));
		usleep(1000);
	}
	give_rx(&b, RX_N);
	expect_silence(&b);
	close(open_from_host(&b, &f));
	box_stop(&b);
}

Test(vsock, half_close_by_host)
{
	struct packet p;
	struct box b;
	struct flow f;
	char text[8];
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	cr_assert_eq(write(fd, "ask", 3), 3);
	shutdown(fd, SHUT_WR);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RW, 0, &p);
	cr_expect_eq(memcmp(p.data, "ask", 3), 0);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, SEND, NULL);
	send_data(&b, &f, "answer", 6);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	host_read(fd, text, 6);
	cr_expect_eq(memcmp(text, "answer", 6), 0);
	expect_end(fd);
	box_stop(&b);
}

Test(vsock, half_close_by_guest)
{
	struct packet p;
	struct box b;
	struct flow f;
	char c;
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, SEND);
	cr_expect_eq(read(fd, &c, 1), 0);
	cr_assert_eq(write(fd, "more", 4), 4);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RW, 0, &p);
	cr_expect_eq(memcmp(p.data, "more", 4), 0);
	close(fd);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH, NULL);
	send_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0);
	expect_silence(&b);

	fd = open_from_host(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, RCV);
	cr_expect_eq(send(fd, "x", 1, MSG_NOSIGNAL), -1, "the guest does not listen any more");
	send_data(&b, &f, "y", 1);
	host_read(fd, &c, 1);
	close(fd);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH, NULL);
	box_stop(&b);
}

/* The host stops reading but has more to say: the guest is told, and what it sends is nothing. */
Test(vsock, host_reads_no_more)
{
	static uint8_t data[32 * KIB];
	struct packet p;
	struct box b;
	struct flow f;
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	shutdown(fd, SHUT_RD);
	send_data(&b, &f, data, sizeof(data));
	expect_op(&b, &f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, RCV, NULL);
	cr_assert_eq(write(fd, "bye", 3), 3);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RW, 0, &p);
	close(fd);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH, NULL);
	box_stop(&b);
}

/* Sends until the credit is used up; returns the bytes. */
static uint32_t fill(struct box *b, struct flow *f)
{
	static uint8_t data[4096];
	struct packet p;

	for (uint32_t n; (n = MIN(guest_credit(f), (uint32_t)sizeof(data)));) {
		for (uint32_t i = 0; i < n; i++)
			data[i] = (f->sent + i) * 7 >> 3;
		send_data(b, f, data, n);
		while (guest_used_idx(b->g, RX) != b->g->q[RX].seen) {
			receive(b, &p);
			cr_expect_eq(p.h.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
			f->peer_fwd = p.h.fwd_cnt;
		}
		if (!guest_credit(f)) { /* the last word? */
			send_op(b, f, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
			expect_op(b, f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL);
		}
	}
	return f->sent;
}

static void expect_filled(int fd, uint32_t total)
{
	uint8_t byte[4096];

	for (uint32_t at = 0; at < total;) {
		uint32_t n = MIN(total - at, (uint32_t)sizeof(byte));

		host_read(fd, byte, n);
		for (uint32_t i = 0; i < n; i++, at++)
			if (byte[i] != (uint8_t)(at * 7 >> 3))
				cr_assert_fail("byte %u", at);
	}
}

/* The host does not read: the guest's credit ends, and comes back with the reading. */
Test(vsock, slow_host)
{
	struct box b;
	struct flow f;
	uint32_t total;
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	total = fill(&b, &f);
	cr_expect_geq(total, 64 * KIB);
	cr_expect_lt(total, 8 * MIB);
	expect_silence(&b);
	expect_filled(fd, total);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL);
	send_data(&b, &f, "on", 2);
	expect_filled(fd, 0);
	close(fd);
	box_stop(&b);
}

/* A guest that closes at once is let go; its last bytes still arrive. */
Test(vsock, close_with_bytes_waiting)
{
	struct box b;
	struct flow f;
	uint32_t total;
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	total = fill(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	expect_filled(fd, total);
	expect_end(fd);
	fd = open_from_host(&b, &f);
	fill(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	close(fd);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	fd = open_from_host(&b, &f);
	fill(&b, &f);
	send_op(&b, &f, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	box_stop(&b);
	close(fd);
}

Test(vsock, credit_overdrawn)
{
	static uint8_t data[64 * KIB];
	struct box b;
	struct flow f;
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	fill(&b, &f);
	send_data(&b, &f, data, 1);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RST, 0, NULL);
	close(fd);
	box_stop(&b);
}

/* Without credit the host's data waits in its socket; one question, and on with the answer. */
Test(vsock, guest_without_credit)
{
	struct packet p;
	struct box b;
	struct flow f;
	int fd;

	box_start(&b);
	fd = open_from_host(&b, &f);
	f.alloc = 0;
	send_op(&b, &f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	cr_assert_eq(write(fd, "abcdef", 6), 6);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, NULL);
	send_op(&b, &f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	expect_silence(&b);
	f.alloc = 4;
	send_op(&b, &f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RW, 0, &p);
	cr_expect(p.h.len == 4 && memcmp(p.data, "abcd", 4) == 0);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, NULL);
	/* It claims to have had more than there was. */
	f.received += 1000;
	send_op(&b, &f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	expect_silence(&b);
	f.received -= 1000;
	send_op(&b, &f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	expect_op(&b, &f, VIRTIO_VSOCK_OP_RW, 0, &p);
	cr_expect(p.h.len == 2 && memcmp(p.data, "ef", 2) == 0);
	close(fd);
	box_stop(&b);
}

/* Without buffers nothing is read from the host; with them all comes, in turns. */
Test(vsock, buffers_come_late)
{
	struct packet p;
	struct box b;
	struct flow f[2];
	unsigned seen[2] = {0};
	int fd[2];

	box_start_on(&b, &guest_mmio);
	give_rx(&b, 2);
	for (int i = 0; i < 2; i++)
		fd[i] = open_from_host(&b, &f[i]);
	for (int k = 0; k < 2; k++) /* takes the ring's two buffers out of the game */
		send_op(&b, &f[0], VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 5; k++)
			cr_assert_eq(write(fd[i], p.data, 4096), 4096);
	give_rx(&b, RX_N);
	for (int k = 0; k < 12 && (seen[0] < 5 || seen[1] < 5); k++) {
		receive(&b, &p);
		if (p.h.op == VIRTIO_VSOCK_OP_RW)
			seen[p.h.src_port == f[1].host_port]++;
	}
	cr_expect(seen[0] == 5 && seen[1] == 5);
	close(fd[0]);
	close(fd[1]);
	box_stop(&b);
}

Test(vsock, reset_closes_everything)
{
	struct box b;
	struct flow f;
	int fd;

	box_start(&b);
	for (int i = 0; i < 3; i++) {
		fd = open_from_host(&b, &f);
		if (i == 1)
			fill(&b, &f);
		cr_assert(guest_reset(b.g));
		if (i != 1)
			expect_end(fd);
		else
			close(fd);
		fd = host_connect(&b, "CONNECT 9\n"); /* waits for the next driver */
		box_queues(&b);
		give_rx(&b, RX_N);
		expect_op(&b, &(struct flow){.guest_port = 9, .host_port = f.host_port + 1},
			VIRTIO_VSOCK_OP_REQUEST, 0, NULL);
		close(fd);
		expect_op(&b, &(struct flow){.guest_port = 9, .host_port = f.host_port + 1},
			VIRTIO_VSOCK_OP_RST, 0, NULL);
	}
	box_stop(&b);
}

/* While paused nothing moves; afterwards everything is still there. */
Test(vsock, pause_keeps_connections)
{
	struct packet p;
	struct box b;
	struct flow f;
	char text[8];
	int fd, late;

	box_start_on(&b, &guest_pci_msix);
	give_rx(&b, RX_N);
	fd = open_from_host(&b, &f);
	for (int i = 0; i < 3; i++) {
		guest_rig_pause(&b.rig);
		cr_assert_eq(write(fd, "wait", 4), 4);
		late = host_connect(&b, "CONNECT 8\n");
		expect_silence(&b);
		b.rig.device->ops->resume(b.rig.device);
		for (int k = 0; k < 2; k++) {
			receive(&b, &p);
			cr_expect(p.h.op == (p.h.dst_port == 8 ? VIRTIO_VSOCK_OP_REQUEST
							       : VIRTIO_VSOCK_OP_RW));
		}
		f.received += 4;
		send_data(&b, &f, "go on", 5);
		host_read(fd, text, 5);
		close(late);
		receive(&b, &p);
		cr_expect_eq(p.h.op, VIRTIO_VSOCK_OP_RST);
	}
	close(fd);
	box_stop(&b);
}
