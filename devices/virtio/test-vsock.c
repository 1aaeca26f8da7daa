/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock as both ends use it: connecting, data, credit, closing. */
#include <pthread.h>
#include "devices/virtio/test-vsock.h"

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

Test(vsock, state)
{
	struct visit_buf saved = {0};
	struct virtio_dev *a, *b;
	struct fake_host f;
	struct vsock_unix u = {.listen_fd = -1};
	struct visitor *v;
	uint64_t cid = 0;

	cr_assert_eq(fake_host_init(&f, 2 * MIB, false), 0);
	cr_assert_eq(virtio_vsock_new(&f.host, "_vsock", 7, &u, &a), 0);
	cr_assert_eq(virtio_vsock_new(&f.host, "_vsock", 8, &u, &b), 0);
	cr_assert_eq(visitor_new_save(&saved, &v), 0);
	cr_expect_eq(a->ops->visit(a, v), 0);
	visitor_free(v);
	cr_assert_eq(visitor_new_load(saved.data, saved.len, &v), 0);
	cr_expect_eq(b->ops->visit(b, v), 0);
	visitor_free(v);
	b->ops->config_read(b, 0, &cid, 8);
	cr_expect_eq(cid, 7);
	for (size_t i = 0; i < saved.len; i++)
		if (saved.data[i] == 7 && i + 8 <= saved.len)
			saved.data[i] = 2; /* the host's CID, wherever it stands */
	cr_assert_eq(visitor_new_load(saved.data, saved.len, &v), 0);
	cr_expect_lt(b->ops->visit(b, v), 0);
	visitor_free(v);
	b->ops->config_read(b, 0, &cid, 8);
	cr_expect_eq(cid, 7);
	visit_buf_fini(&saved);
	virtio_dev_free(a);
	virtio_dev_free(b);
	fake_host_fini(&f);
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
