/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's vsock packets, right and wrong, against host programs that come and go. Ports are few,
 * so that packets meet connections. After each input the device must obey a reset, close all its
 * connections and bring the next host's REQUEST to the guest. */
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
#define RX_LEN 512
#define RING   16
#define STEPS  60
#define PEERS  4
#define PORTS  2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t n;
};

static struct guest_rig rig;
static struct vsock_unix *host;
static char dir[] = "/tmp/polyvisor-fuzz-XXXXXX";
static int listener[2], peer[PEERS];
static uint64_t heap_mark, rx, tx;
/* The connection that a host has begun last, as its REQUEST said. */
static uint32_t asked_guest, asked_host;

static uint32_t take(struct input *in, unsigned bytes)
{
	uint32_t v = 0;

	bytes = MIN((size_t)bytes, in->n);
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->n -= bytes;
	return v;
}

static bool rarely(struct input *in)
{
	return take(in, 1) % 16 == 5;
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static struct sockaddr_un address(int port)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (port < 0)
		snprintf(a.sun_path, sizeof(a.sun_path), "%s/s", dir);
	else
		snprintf(a.sun_path, sizeof(a.sun_path), "%s/s_%d", dir, port);
	return a;
}

static void clean_up(void)
{
	vsock_unix_free(host);
	for (unsigned i = 0; i < ARRAY_SIZE(listener); i++)
		unlink(address(i).sun_path);
	rmdir(dir);
}

static void serve(int port)
{
	struct sockaddr_un a = address(port);

	listener[port] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	check(bind(listener[port], (struct sockaddr *)&a, sizeof(a)) == 0);
	check(listen(listener[port], 64) == 0);
}

static void make(void)
{
	struct virtio_dev *dev;
	char path[64];

	check(mkdtemp(dir));
	atexit(clean_up);
	snprintf(path, sizeof(path), "%s/s", dir);
	check(vsock_unix_open(path, -1, "--vsock", NULL, &host, NULL) == 0);
	serve(0);
	serve(1);
	memset(peer, -1, sizeof(peer));
	guest_rig_init(&rig, 4 * MIB);
	check(virtio_vsock_new(&rig.f.host, "_vsock", CID, host, &dev) == 0);
	guest_rig_attach(&rig, &guest_mmio, dev);
	rx = guest_alloc(&rig.g, RING * RX_LEN, 16);
	tx = guest_alloc(&rig.g, HDR + 128 * KIB, 16);
	heap_mark = rig.g.heap;
}

static void run(struct guest_driver *g)
{
	g->heap = heap_mark;
	check(guest_negotiate(g, UINT64_MAX) == 11);
	memset(guest_ptr(g, heap_mark, 4096), 0, 4096);
	guest_queue_init(g, RX, RING);
	guest_queue_init(g, TX, RING);
	guest_driver_ok(g);
}

static void give_rx(struct guest_driver *g, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct guest_buf b = {rx + g->q[RX].next_desc * RX_LEN, RX_LEN, true};

		guest_add(g, RX, &b, 1);
	}
	g->t->kick(g, RX);
}

/* Looks at what has come, and gives the buffers back. */
static void receive(struct guest_driver *g)
{
	struct virtio_vsock_hdr h;
	unsigned n = 0;
	uint32_t id;

	for (; guest_used_idx(g, RX) != g->q[RX].seen; n++) {
		check(guest_wait_used(g, RX, &id, NULL));
		memcpy(&h, guest_ptr(g, rx + id * RX_LEN, HDR), HDR);
		if (h.op != VIRTIO_VSOCK_OP_REQUEST)
			continue;
		asked_guest = h.dst_port;
		asked_host = h.src_port;
	}
	give_rx(g, n);
}

static struct virtio_vsock_hdr some_header(struct input *in)
{
	static const uint8_t ops[] = {1, 1, 1, 2, 2, 3, 4, 4, 5, 5, 5, 5, 5, 6, 6, 7};
	struct virtio_vsock_hdr h = {.src_cid = CID,
		.dst_cid = 2,
		.src_port = take(in, 1) % PORTS,
		.dst_port = take(in, 1) % PORTS,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = ops[take(in, 1) % sizeof(ops)],
		.flags = take(in, 1) % 4,
		.buf_alloc = take(in, 2),
		.fwd_cnt = rarely(in) ? take(in, 1) : 0};

	if (take(in, 1) & 1) {
		h.src_port = asked_guest;
		h.dst_port = asked_host;
	}
	return h;
}

static void settle(struct guest_driver *g)
{
	for (int i = 0; i < 30; i++) {
		while (guest_take_used(g, TX, NULL, NULL))
			;
		if (g->q[TX].seen == g->q[TX].avail_idx)
			return;
		usleep(10);
	}
}

static void put(struct guest_driver *g, const struct virtio_vsock_hdr *h, const struct guest_buf *b,
	unsigned n)
{
	memcpy(guest_ptr(g, tx, HDR), h, HDR);
	guest_add(g, TX, b, n);
	g->t->kick(g, TX);
}

static void send_packet(struct guest_driver *g, struct input *in)
{
	struct virtio_vsock_hdr h = some_header(in);
	uint32_t len = take(in, 2) << (take(in, 1) % 2);
	struct guest_buf b[] = {{tx, HDR, false}, {tx + HDR, len, false}};

	h.len = h.op == VIRTIO_VSOCK_OP_RW ? len : 0;
	if (rarely(in))
		h.len = take(in, 4);
	if (rarely(in))
		b[0].len = take(in, 1);
	if (rarely(in))
		((uint8_t *)&h)[take(in, 1) % HDR] = take(in, 1);
	if (rarely(in))
		b[1].write = true;
	put(g, &h, b, len ? 2 : 1);
	if (!rarely(in)) /* else the next one overwrites it while it is read */
		settle(g);
}

/* More than a socket takes: the rest waits in the device. */
static void pour(struct guest_driver *g, struct input *in)
{
	struct virtio_vsock_hdr h = some_header(in);
	struct guest_buf b[] = {{tx, HDR, false}, {tx + HDR, 30000, false}};

	h.op = VIRTIO_VSOCK_OP_RW;
	h.len = b[1].len;
	for (int i = 0; i < 9; i++) {
		put(g, &h, b, 2);
		settle(g);
	}
}

static void host_connects(struct input *in)
{
	struct sockaddr_un a = address(-1);
	unsigned i = take(in, 1) % PEERS;
	char line[32];

	if (peer[i] >= 0)
		close(peer[i]);
	if (take(in, 1) & 1) {
		peer[i] = accept4(listener[i % 2], NULL, NULL, SOCK_NONBLOCK);
		return;
	}
	peer[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connect(peer[i], (struct sockaddr *)&a, sizeof(a)) < 0)
		return;
	snprintf(line, sizeof(line), "CONNECT %u\n", take(in, 1) % PORTS);
	if (rarely(in))
		line[take(in, 1) % 12] = take(in, 1);
	send(peer[i], line, strlen(line), MSG_NOSIGNAL);
}

static void host_acts(struct input *in)
{
	static uint8_t buf[64 * KIB];
	unsigned i = take(in, 1) % PEERS;

	if (peer[i] < 0)
		return;
	switch (take(in, 1) % 4) {
	case 0:
		send(peer[i], buf, take(in, 2), MSG_NOSIGNAL);
		break;
	case 1:
		recv(peer[i], buf, take(in, 2), 0);
		break;
	case 2:
		shutdown(peer[i], take(in, 1) % 3);
		break;
	default:
		close(peer[i]);
		peer[i] = -1;
	}
}

static void step(struct guest_driver *g, struct input *in)
{
	switch (take(in, 1) % 12) {
	case 0:
		receive(g);
		break;
	case 1:
		host_connects(in);
		break;
	case 2:
	case 3:
		host_acts(in);
		break;
	case 4:
		pour(g, in);
		break;
	case 5:
		if (!rarely(in))
			break;
		guest_rig_pause(&rig);
		rig.device->ops->resume(rig.device);
		break;
	default:
		send_packet(g, in);
	}
}

static void drop_peers(void)
{
	for (unsigned i = 0; i < PEERS; i++)
		if (peer[i] >= 0)
			close(peer[i]);
	memset(peer, -1, sizeof(peer));
	for (unsigned i = 0; i < ARRAY_SIZE(listener); i++)
		for (int fd; (fd = accept(listener[i], NULL, NULL)) >= 0;)
			close(fd);
}

/* The next guest hears of the next host, after what earlier hosts had left in the backlog. */
static void still_works(struct guest_driver *g)
{
	struct sockaddr_un a = address(-1);
	struct virtio_vsock_hdr h;
	uint32_t id;

	check(guest_reset(g));
	drop_peers();
	peer[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	check(connect(peer[0], (struct sockaddr *)&a, sizeof(a)) == 0);
	check(write(peer[0], "CONNECT 99\n", 11) == 11);
	run(g);
	do {
		give_rx(g, 1);
		check(guest_wait_used(g, RX, &id, NULL));
		memcpy(&h, guest_ptr(g, rx + id * RX_LEN, HDR), HDR);
	} while (h.op != VIRTIO_VSOCK_OP_REQUEST || h.dst_port != 99);
	drop_peers();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	if (!rig.device)
		make();
	run(&rig.g);
	give_rx(&rig.g, take(&in, 1) % RING);
	for (int i = 0; i < STEPS && in.n; i++)
		step(&rig.g, &in);
	still_works(&rig.g);
	return 0;
}
