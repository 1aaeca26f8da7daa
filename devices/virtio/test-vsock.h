/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's vsock driver for tests, and the host programs it talks with. The driver speaks packets:
 * what it sends is what the test says, right or wrong. */
#ifndef DEVICES_VIRTIO_TEST_VSOCK_H
#define DEVICES_VIRTIO_TEST_VSOCK_H

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "devices/backend/vsock_unix.h"
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

#define CID    5
#define RX     0
#define TX     1
#define HDR    44
#define RX_LEN (HDR + 4096)
#define RX_N   32
#define TX_LEN (HDR + 64 * KIB)
#define ALLOC  (32 * KIB) /* what the guest lets the host send ahead */

#define BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)
#define SEND VIRTIO_VSOCK_SHUTDOWN_SEND
#define RCV  VIRTIO_VSOCK_SHUTDOWN_RCV

struct box {
	struct guest_rig rig;
	struct guest_driver *g;
	struct vsock_unix *u;
	char dir[40], path[64];
	uint64_t rx, tx; /* guest memory: RX_LEN an entry; one packet */
};

/* A connection as the guest keeps it. */
struct flow {
	uint32_t guest_port, host_port;
	uint32_t sent, received, peer_alloc, peer_fwd, alloc;
};

struct packet {
	struct virtio_vsock_hdr h;
	uint8_t data[4096];
};

static inline void box_queues(struct box *b)
{
	cr_assert_eq(guest_negotiate(b->g, UINT64_MAX) & 8, 8);
	guest_queue_init(b->g, RX, GUEST_RING);
	guest_queue_init(b->g, TX, GUEST_RING);
	guest_queue_init(b->g, 2, 16);
	guest_driver_ok(b->g);
}

static inline void give_rx(struct box *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct guest_buf buf = {
			b->rx + b->g->q[RX].next_desc * (uint64_t)RX_LEN, RX_LEN, true};

		guest_add(b->g, RX, &buf, 1);
	}
	b->g->t->kick(b->g, RX);
}

static inline void box_start_on(struct box *b, const struct guest_transport *t)
{
	struct virtio_dev *dev;

	*b = (struct box){.dir = "/tmp/polyvisor-vsock-XXXXXX"};
	cr_assert_not_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/s", b->dir);
	cr_assert_eq(vsock_unix_open(b->path, -1, "--vsock", NULL, &b->u, NULL), 0);
	guest_rig_init(&b->rig, 4 * MIB);
	cr_assert_eq(virtio_vsock_new(&b->rig.f.host, "_vsock", CID, b->u, &dev), 0);
	guest_rig_attach(&b->rig, t, dev);
	b->g = &b->rig.g;
	box_queues(b);
	b->rx = guest_alloc(b->g, GUEST_RING * RX_LEN, 16);
	b->tx = guest_alloc(b->g, TX_LEN, 16);
}

static inline void box_start(struct box *b)
{
	box_start_on(b, &guest_mmio);
	give_rx(b, RX_N);
}

static inline void box_stop(struct box *b)
{
	guest_rig_fini(&b->rig);
	vsock_unix_free(b->u);
	cr_expect_eq(rmdir(b->dir), 0);
}

/* The guest's side. */

static inline struct virtio_vsock_hdr make_hdr(const struct flow *f, uint16_t op, uint32_t len)
{
	return (struct virtio_vsock_hdr){.src_cid = CID,
		.dst_cid = 2,
		.src_port = f->guest_port,
		.dst_port = f->host_port,
		.len = len,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = f->alloc,
		.fwd_cnt = f->received};
}

/* Puts a packet into the ring and waits until the device has taken it. */
static inline void send_raw(
	struct box *b, const struct virtio_vsock_hdr *h, const void *data, uint32_t len)
{
	struct guest_buf buf[] = {{b->tx, HDR, false}, {b->tx + HDR, len, false}};

	memcpy(guest_ptr(b->g, b->tx, HDR), h, HDR);
	if (len)
		memcpy(guest_ptr(b->g, b->tx + HDR, len), data, len);
	guest_add(b->g, TX, buf, len ? 2 : 1);
	b->g->t->kick(b->g, TX);
	cr_assert(guest_wait_used(b->g, TX, NULL, NULL));
}

static inline void send_op(struct box *b, struct flow *f, uint16_t op, uint32_t flags)
{
	struct virtio_vsock_hdr h = make_hdr(f, op, 0);

	h.flags = flags;
	send_raw(b, &h, NULL, 0);
}

static inline void send_data(struct box *b, struct flow *f, const void *data, uint32_t len)
{
	struct virtio_vsock_hdr h = make_hdr(f, VIRTIO_VSOCK_OP_RW, len);

	send_raw(b, &h, data, len);
	f->sent += len;
}

/* The next packet; its buffer goes back to the ring. */
static inline void receive(struct box *b, struct packet *ret)
{
	uint32_t id, len;
	uint8_t *p;

	cr_assert(guest_wait_used(b->g, RX, &id, &len), "a packet for the guest");
	p = guest_ptr(b->g, b->rx + id * (uint64_t)RX_LEN, RX_LEN);
	memcpy(&ret->h, p, HDR);
	cr_assert_eq(len, HDR + ret->h.len);
	memcpy(ret->data, p + HDR, ret->h.len);
	give_rx(b, 1);
}

/* The next packet must be this. */
static inline void expect_op(
	struct box *b, struct flow *f, uint16_t op, uint32_t flags, struct packet *ret)
{
	struct packet own, *p = ret ? ret : &own;

	receive(b, p);
	cr_assert_eq(p->h.op, op, "op %u, not %u", p->h.op, op);
	cr_expect_eq(p->h.flags, flags);
	cr_expect_eq(p->h.type, VIRTIO_VSOCK_TYPE_STREAM);
	cr_expect(p->h.src_cid == 2 && p->h.dst_cid == CID);
	cr_expect(p->h.src_port == f->host_port && p->h.dst_port == f->guest_port);
	f->peer_alloc = p->h.buf_alloc;
	f->peer_fwd = p->h.fwd_cnt;
	f->received += p->h.len;
}

static inline void expect_silence(struct box *b)
{
	usleep(20000);
	cr_expect_eq(guest_used_idx(b->g, RX), b->g->q[RX].seen, "no packet");
}

static inline uint32_t guest_credit(const struct flow *f)
{
	return f->peer_alloc - (f->sent - f->peer_fwd);
}

/* The host's side. */

static inline void set_limit(int fd)
{
	struct timeval limit = {.tv_sec = 20};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

/* port < 0: the device's own socket. */
static inline struct sockaddr_un address(struct box *b, int64_t port)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (port < 0)
		strcpy(a.sun_path, b->path);
	else
		snprintf(a.sun_path, sizeof(a.sun_path), "%s_%u", b->path, (uint32_t)port);
	return a;
}

static inline int host_connect(struct box *b, const char *line)
{
	struct sockaddr_un a = address(b, -1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	set_limit(fd);
	cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	if (*line)
		cr_assert_eq(send(fd, line, strlen(line), MSG_NOSIGNAL), (ssize_t)strlen(line));
	return fd;
}

static inline int host_listen(struct box *b, uint32_t port)
{
	struct sockaddr_un a = address(b, port);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	unlink(a.sun_path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(fd, 2000), 0);
	return fd;
}

static inline void host_unlisten(struct box *b, uint32_t port, int fd)
{
	close(fd);
	unlink(address(b, port).sun_path);
}

static inline void host_read(int fd, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		cr_assert_gt(n, 0);
		done += n;
	}
}

/* The stream ends here, one way or the other. */
static inline void expect_end(int fd)
{
	char c;
	ssize_t n = read(fd, &c, 1);

	cr_expect(n == 0 || (n < 0 && errno == ECONNRESET), "%zd, %s", n, strerrordesc_np(errno));
	close(fd);
}

/* A connection each way, established. */
static inline int open_from_host(struct box *b, struct flow *f)
{
	int fd = host_connect(b, "CONNECT 52\n");
	char line[32], want[32];
	struct packet p;

	receive(b, &p);
	cr_assert_eq(p.h.op, VIRTIO_VSOCK_OP_REQUEST);
	cr_expect(p.h.src_cid == 2 && p.h.dst_cid == CID && p.h.dst_port == 52);
	cr_expect(p.h.type == VIRTIO_VSOCK_TYPE_STREAM && p.h.len == 0);
	cr_expect_eq(p.h.buf_alloc, 64 * KIB);
	*f = (struct flow){.guest_port = 52,
		.host_port = p.h.src_port,
		.alloc = ALLOC,
		.peer_alloc = p.h.buf_alloc};
	send_op(b, f, VIRTIO_VSOCK_OP_RESPONSE, 0);
	snprintf(want, sizeof(want), "OK %u\n", p.h.src_port);
	host_read(fd, line, strlen(want));
	cr_assert_eq(memcmp(line, want, strlen(want)), 0);
	return fd;
}

static inline int open_from_guest(struct box *b, struct flow *f, int listener, uint32_t host_port)
{
	int fd;

	*f = (struct flow){.guest_port = 3000, .host_port = host_port, .alloc = ALLOC};
	send_op(b, f, VIRTIO_VSOCK_OP_REQUEST, 0);
	expect_op(b, f, VIRTIO_VSOCK_OP_RESPONSE, 0, NULL);
	fd = accept(listener, NULL, NULL);
	cr_assert_geq(fd, 0);
	set_limit(fd);
	return fd;
}

/* Sends until the credit is used up; returns the bytes. */
static inline uint32_t fill(struct box *b, struct flow *f)
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

static inline void expect_filled(int fd, uint32_t total)
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

#endif
