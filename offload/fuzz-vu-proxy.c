/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile back-end at a real proxy: it answers as it should, mostly, but then lies, says what was
 * not asked, breaks a message off, floods its own channel or hangs up, while the driver starts,
 * stops and resets queues, split and packed, of a disk or of a network device with its control
 * queue. The area of what is in flight is anything. Whatever it does, a reset ends. */
#include <linux/virtio_blk.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices/testing/fake_host.h"
#include "offload/vu_msg.h"
#include "offload/vu_proxy.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define STEPS  60
#define HEAD   12
#define QUEUES 5 /* a network device's; a disk has two */
#define AREA   4096
#define BIT(b) (UINT64_C(1) << (b))

struct input {
	const uint8_t *p;
	size_t n;
};

static struct fake_host host;
static struct virtio_dev *dev;
static int far_end, back_end, kick, area;
static bool running[QUEUES], stopping[QUEUES], resetting;
static bool net;
static uint64_t agreed; /* by the driver */

static uint32_t take(struct input *in, unsigned bytes)
{
	uint32_t v = 0;

	bytes = MIN((size_t)bytes, in->n);
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->n -= bytes;
	return v;
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* ---- the transport ---- */

static void on_stopped(void *t, unsigned i, const struct virtq_pos *pos)
{
	check(i < QUEUES && running[i]);
	running[i] = stopping[i] = false;
}

static void on_reset(void *t)
{
	check(resetting);
	for (unsigned i = 0; i < QUEUES; i++)
		check(!running[i]);
	resetting = false;
	agreed = 0;
}

static void on_config(void *t)
{
}

static void on_broken(void *t, unsigned i)
{
}

static const struct virtio_events events = {on_stopped, on_reset, on_config, on_broken};

/* The driver agrees once, then rings are what it has agreed to. */
static void agree(struct input *in)
{
	uint64_t f = BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ);

	if (agreed)
		return;
	if (net)
		f = BIT(VIRTIO_NET_F_CTRL_VQ) | (take(in, 1) & 1 ? BIT(VIRTIO_NET_F_MQ) : 0);
	agreed = VIRTIO_BIT_VERSION_1 | f | (take(in, 1) & 1 ? VIRTIO_BIT_RING_PACKED : 0);
	check(dev->ops->accept(dev, agreed) == 0);
}

static void start_queue(struct input *in)
{
	unsigned i = take(in, 1) % dev->nqueues;
	uint64_t base = 0x10000 * (i + 1);
	struct virtq_setup s = {.size = 16,
		.desc = base,
		.avail = base + 0x1000,
		.used = base + 0x2000,
		.kick_fd = kick};
	static _Atomic uint32_t status;

	if (running[i] || resetting)
		return;
	agree(in);
	s.features = agreed;
	s.signal.status = &status;
	running[i] = dev->ops->queue_start(dev, i, &s) == 0;
}

static void stop_queue(struct input *in)
{
	unsigned i = take(in, 1) % dev->nqueues;

	if (!running[i] || stopping[i] || resetting)
		return;
	stopping[i] = true;
	check(dev->ops->queue_stop(dev, i) == 0);
}

/* The driver's memory, or what the back-end keeps in the area. */
static void scribble(struct input *in)
{
	uint32_t v = take(in, 4), at = take(in, 2);

	if (take(in, 1) & 1)
		check(pwrite(area, &v, 4, at % 64) == 4);
	else
		guest_mem_write(&host.mem, 0x10000 * (1 + at % 5) + at / 5 % 64, &v, 4);
	if (take(in, 1) % 16 == 0)
		check(ftruncate(area, take(in, 1) % 64) == 0);
}

static void reset(void)
{
	if (resetting)
		return;
	resetting = true;
	dev->ops->reset(dev);
}

static void write_config(struct input *in)
{
	uint8_t wce = take(in, 1);

	if (net)
		return;
	dev->ops->config_write(dev, offsetof(struct virtio_blk_config, wce), &wce, 1);
}

/* ---- the back-end ---- */

/* One lie in some. */
static void spoil(struct input *in, struct vu_msg *m)
{
	uint8_t *at = (uint8_t *)m;

	if (take(in, 1) % 8)
		return;
	at[take(in, 1) % (HEAD + 24)] ^= 1 << take(in, 1) % 8;
	m->size = MIN(m->size, (uint32_t)sizeof(m->p));
}

static void answer(struct input *in, struct vu_msg *m)
{
	m->flags = VU_VERSION | VU_REPLY;
	spoil(in, m);
	if (send(far_end, m, HEAD, MSG_NOSIGNAL | MSG_DONTWAIT) == HEAD && m->size)
		(void)!send(far_end, &m->p, m->size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* With the area's descriptor, or with another one, or none. */
static void answer_area(struct input *in, struct vu_msg *m)
{
	uint8_t space[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov[2] = {{m, HEAD}, {&m->p, m->size}};
	struct msghdr h = {.msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = space,
		.msg_controllen = sizeof(space)};
	uint8_t how = take(in, 1) % 8;
	int fd = how == 1 ? kick : area;

	m->flags = VU_VERSION | VU_REPLY;
	m->p.inflight.mmap_size = how == 2 ? 0 : AREA;
	m->p.inflight.mmap_offset = how == 3 ? (uint64_t)take(in, 4) << 32 : 0;
	*(struct cmsghdr *)space = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA((struct cmsghdr *)space), &fd, sizeof(fd));
	if (how == 4)
		h.msg_controllen = 0;
	(void)!sendmsg(far_end, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void answer_u64(struct input *in, uint32_t request, uint64_t v)
{
	struct vu_msg m = {.request = request, .size = 8, .p.u64 = v};

	answer(in, &m);
}

static void answer_config(struct input *in)
{
	struct vu_msg m = {.request = VU_GET_CONFIG, .size = 12 + 60, .p.config.size = 60};

	m.p.config.bytes[0] = take(in, 1);
	answer(in, &m);
}

/* All answers of the handshake, before its questions: open() blocks us. */
static void shake_hands(struct input *in, uint64_t protocol)
{
	answer_u64(in, VU_GET_FEATURES,
		VIRTIO_BIT_VERSION_1 | VIRTIO_BIT_RING_PACKED | VU_F_PROTOCOL_FEATURES |
			VU_F_LOG_ALL | BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ));
	answer_u64(in, VU_GET_PROTOCOL_FEATURES, protocol);
	if (protocol & VU_PF(MQ))
		answer_u64(in, VU_GET_QUEUE_NUM, 1 + take(in, 1) % 8);
	if (protocol & VU_PF(CONFIGURE_MEM_SLOTS))
		answer_u64(in, VU_GET_MAX_MEM_SLOTS, take(in, 1));
	if (!net)
		answer_config(in);
}

static void take_fds(struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd, type;
			socklen_t len = sizeof(type);

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
				close(fd);
				continue;
			}
			cleanup_closep(&back_end);
			back_end = fd;
		}
}

/* Reads one question and answers it, if there is one. */
static bool serve(struct input *in)
{
	uint8_t space[CMSG_SPACE(VU_FDS * sizeof(int))] __attribute__((aligned(8)));
	struct vu_msg m = {0};
	struct iovec iov = {&m, HEAD};
	struct msghdr h = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = space,
		.msg_controllen = sizeof(space)};

	if (recvmsg(far_end, &h, MSG_DONTWAIT) != HEAD)
		return false;
	take_fds(&h);
	if (m.size)
		(void)!recv(far_end, &m.p, m.size, MSG_DONTWAIT);
	if (m.request == VU_GET_CONFIG)
		answer_config(in);
	else if (m.request == VU_GET_INFLIGHT_FD)
		answer_area(in, &m);
	else if (vu_rule(m.request)->replies)
		answer(in, &m);
	else if (m.flags & VU_NEED_REPLY)
		answer_u64(in, m.request, 0);
	return true;
}

/* The questions of the handshake, which have been answered. */
static void forget_questions(void)
{
	uint8_t bytes[4096];

	while (recv(far_end, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void noise(struct input *in, int fd)
{
	uint8_t bytes[64];
	size_t n = take(in, 1) % sizeof(bytes);

	for (size_t i = 0; i < n; i++)
		bytes[i] = take(in, 1);
	if (fd >= 0)
		(void)!send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void tell_change(struct input *in)
{
	uint32_t m[3] = {
		VU_BACKEND_CONFIG_CHANGE, VU_VERSION | (take(in, 1) & 1 ? VU_NEED_REPLY : 0), 0};

	if (back_end >= 0)
		(void)!send(back_end, m, sizeof(m), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void step(struct input *in)
{
	uint8_t buf[60];

	switch (take(in, 1) % 16) {
	case 0:
	case 1:
		start_queue(in);
		break;
	case 2:
		stop_queue(in);
		break;
	case 3:
		reset();
		break;
	case 4:
		write_config(in);
		break;
	case 5:
		tell_change(in);
		break;
	case 6:
		if (take(in, 1) % 8 == 0)
			noise(in, take(in, 1) & 1 ? far_end : back_end);
		break;
	case 7:
		if (take(in, 1) % 8 == 0)
			shutdown(far_end, SHUT_RDWR);
		break;
	case 8:
		dev->ops->config_read(dev, 0, buf, dev->config_len);
		break;
	case 9:
		scribble(in);
		break;
	case 10:
		vu_proxy_log(dev, take(in, 1) & 1 ? area : -1, AREA);
		break;
	default:
		for (unsigned n = take(in, 1) % 16; n && serve(in); n--)
			ev_run_once(host.host.control, 0);
	}
	ev_run_once(host.host.control, 0);
}

static void finish(void)
{
	uint64_t end = ev_now_ns() + 5000000000ull;

	reset();
	while (resetting) {
		check(ev_now_ns() < end);
		ev_run_once(host.host.control, 1);
	}
	dev->ops->free(dev);
}

static void make_host(void)
{
	struct mem_range ram = {0, 2 * MIB};
	struct mem_opts o = {.shared = true, .numa_node = -1};

	check(fake_host_init(&host, 2 * MIB, true) == 0);
	guest_mem_fini(&host.mem);
	check(guest_mem_init(&host.mem, &ram, 1, &o, NULL) == 0);
	kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	area = memfd_create("area", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	check(kick >= 0 && area >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct vu_peer_opts o;
	struct vu_peer *p;
	int fd[2];

	if (!host.host.control)
		make_host();
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	far_end = fd[1];
	back_end = -1;
	net = take(&in, 1) & 1;
	agreed = 0;
	check(ftruncate(area, AREA) == 0);
	if (net)
		vu_peer_opts_net(&o, (const uint8_t[6]){2}, 1500);
	else
		vu_peer_opts_blk(&o);
	o.queues = net ? 4 : 2;
	o.fd = fd[0];
	o.queue_size = 16;
	o.flag = "--disk";
	o.id = "_disk0";
	o.timeout_ms = 4;
	shake_hands(&in, VU_PF(CONFIG) | VU_PF(MQ) | take(&in, 4));
	if (vu_peer_open(&o, &p, NULL) == 0) {
		forget_questions();
		check(vu_proxy_new(&host.host, "_disk0", p, &dev) == 0);
		dev->events = &events;
		for (int i = 0; i < STEPS && in.n; i++)
			step(&in);
		finish();
		vu_peer_close(p);
	} else {
		close(fd[0]);
	}
	cleanup_closep(&back_end);
	close(far_end);
	return 0;
}
