/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-vsock (§5.10): a port that nobody serves is refused, and so is a packet to nobody, of
 * unknown type, or for no connection. With vsock.port=P on the command line, an echo on the host's
 * port P gets 64 KiB and gives them back.
 */
#include "case.h"
#include "io.h"
#include "virtio.h"

#define HOST_CID   2u
#define OWN_PORT   1000u
#define DEAD_PORT  4000000000u
#define RX_BUFFERS 8u
#define TOTAL	   65536u

enum { STREAM = 1 };
enum {
	REQUEST = 1,
	RESPONSE = 2,
	RST = 3,
	SHUTDOWN = 4,
	RW = 5,
	CREDIT_UPDATE = 6,
	CREDIT_REQUEST = 7
};

struct header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

struct packet {
	struct header h;
	uint8_t data[2048 - sizeof(struct header)];
};

static struct packet in[RX_BUFFERS], out, got;

struct socket {
	struct vdev dev;
	struct vq rx, tx;
	uint64_t cid;
	uint16_t next; /* rx buffers come back in the order in which they went */
	uint32_t sent, received, echoed, peer_alloc, peer_fwd;
};

static void give(struct socket *s, unsigned i)
{
	vq_add(&s->rx, &(struct vq_buf){&in[i], sizeof(in[i]), true}, 1);
	vq_kick(&s->rx);
}

static void start(struct socket *s, const struct vdev *dev)
{
	memset(s, 0, sizeof(*s));
	s->dev = *dev;
	CHECK(!vdev_negotiate(&s->dev, 1), "%s does not negotiate", dev->name);
	CHECK(!vq_open(&s->rx, &s->dev, 0, RX_BUFFERS), "%s has no receive queue", dev->name);
	CHECK(!vq_open(&s->tx, &s->dev, 1, 8), "%s has no transmit queue", dev->name);
	CHECK(vdev_queue_max(&s->dev, 2), "%s has no event queue", dev->name);
	s->cid = vdev_config64(&s->dev, 0);
	CHECK(s->cid > HOST_CID && s->cid < 0xffffffffu, "%s has CID %lu", dev->name, s->cid);
	vdev_driver_ok(&s->dev);
	for (unsigned i = 0; i < RX_BUFFERS; i++)
		give(s, i);
}

static void transmit(struct socket *s, uint32_t port, uint16_t op, uint32_t len)
{
	out.h = (struct header){.src_cid = s->cid,
		.dst_cid = HOST_CID,
		.src_port = OWN_PORT,
		.dst_port = port,
		.len = len,
		.type = STREAM,
		.op = op,
		.flags = op == SHUTDOWN ? 3 : 0,
		.buf_alloc = RX_BUFFERS * sizeof(in[0].data),
		.fwd_cnt = s->received};
}

static void commit(struct socket *s)
{
	struct vq_buf b[2] = {{&out.h, sizeof(out.h), false}, {out.data, out.h.len, false}};

	CHECK(vq_do(&s->tx, b, out.h.len ? 2 : 1) == 0, "a packet was not taken");
}

static void receive(struct socket *s, unsigned ms)
{
	uint32_t length;

	CHECK(vq_wait(&s->rx, &length, ms) >= 0, "no answer");
	got = in[s->next];
	CHECK(length == sizeof(got.h) + got.h.len, "%u bytes for %u", length, got.h.len);
	CHECK(got.h.dst_cid == s->cid && got.h.dst_port == OWN_PORT, "not for us");
	give(s, s->next);
	s->next = (s->next + 1) % RX_BUFFERS;
	s->peer_alloc = got.h.buf_alloc;
	s->peer_fwd = got.h.fwd_cnt;
}

static void expect_reset(struct socket *s, const char *what)
{
	struct header sent = out.h;

	commit(s);
	receive(s, 5000);
	CHECK(got.h.op == RST && !got.h.len, "%s: op %u", what, got.h.op);
	CHECK(got.h.src_cid == sent.dst_cid && got.h.src_port == sent.dst_port &&
			got.h.type == sent.type,
		"%s: an RST from elsewhere", what);
}

static void test_refusals(struct socket *s)
{
	transmit(s, DEAD_PORT, REQUEST, 0);
	expect_reset(s, "a port that nobody serves");
	transmit(s, DEAD_PORT, RW, 0);
	expect_reset(s, "no connection");
	transmit(s, DEAD_PORT, REQUEST, 0);
	out.h.dst_cid = 99;
	expect_reset(s, "no such host");
	transmit(s, DEAD_PORT, REQUEST, 0);
	out.h.type = 77;
	expect_reset(s, "unknown type");
	transmit(s, DEAD_PORT, RST, 0);
	commit(s);
	CHECK(vq_wait(&s->rx, NULL, 50) < 0, "an answer to an RST");
}

static uint8_t pattern(uint32_t i)
{
	return (uint8_t)(i * 7 ^ i >> 9);
}

/* One packet of what the credit allows; false: none is left. */
static bool send_some(struct socket *s, uint32_t port)
{
	uint32_t n = s->peer_alloc - (s->sent - s->peer_fwd);

	n = n < sizeof(out.data) ? n : sizeof(out.data);
	n = n < TOTAL - s->sent ? n : TOTAL - s->sent;
	if (!n)
		return false;
	transmit(s, port, RW, n);
	for (uint32_t i = 0; i < n; i++)
		out.data[i] = pattern(s->sent + i);
	commit(s);
	s->sent += n;
	return true;
}

static void take_echo(struct socket *s, uint32_t port)
{
	receive(s, 10000);
	CHECK(got.h.op == RW || got.h.op >= CREDIT_UPDATE, "op %u in an open connection", got.h.op);
	for (uint32_t i = 0; i < got.h.len; i++)
		CHECK(got.data[i] == pattern(s->echoed + i), "byte %u is wrong", s->echoed + i);
	s->echoed += got.h.len;
	s->received += got.h.len;
	transmit(s, port, CREDIT_UPDATE, 0);
	commit(s);
}

static void test_echo(struct socket *s, uint32_t port)
{
	transmit(s, port, REQUEST, 0);
	commit(s);
	receive(s, 5000);
	CHECK(got.h.op == RESPONSE, "op %u for a REQUEST", got.h.op);
	while (s->echoed < TOTAL)
		if (!send_some(s, port) || s->sent - s->echoed > 16384)
			take_echo(s, port);
	transmit(s, port, SHUTDOWN, 0);
	commit(s);
	do
		receive(s, 5000);
	while (got.h.op != RST);
	note("%s: %u bytes there and back\n", s->dev.name, s->echoed);
}

static void test(const struct vdev *dev)
{
	const char *port = word_value(machine.cmdline, "vsock.port", 0);
	static struct socket s;

	for (unsigned round = 0; round < 2; round++) { /* again after a reset */
		start(&s, dev);
		test_refusals(&s);
		if (port) {
			const char *p = port;

			test_echo(&s, (uint32_t)parse_number(&p));
		}
	}
	CHECK(!vdev_reset(&s.dev), "%s does not reset", dev->name);
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(VIRTIO_VSOCK, v);

	if (!n)
		case_skip("no virtio-vsock device");
	for (unsigned i = 0; i < n; i++)
		test(&v[i]);
}

const struct guest_case this_case = {"virtio-vsock", run, .no_irqs = true};
