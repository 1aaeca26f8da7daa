/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net with several pairs and a control queue, behind each transport. Each pair's back-end is
 * a packet socket of which the test holds the other end. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices/backend/netdev.h"
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/stats.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"

#define HDR   12
#define PAIRS 3
#define CTRL  (2 * PAIRS)

struct wire {
	struct netdev net; /* first */
	struct ev_fd watch;
	int fd, far;
	_Atomic bool on;
	_Atomic bool full; /* a frame had to wait */
	void (*readable)(void *arg);
	void *arg;
};

struct nic {
	struct guest_rig rig;
	struct guest_driver *g;
	struct virtio_dev *dev;
	struct wire wire[PAIRS];
	struct netdev *nets[PAIRS];
	uint64_t buf;
};

/* ---- the back-ends ---- */

static void wire_ready(struct ev_fd *w, uint32_t events)
{
	struct wire *s = container_of(w, struct wire, watch);

	if (events & EPOLLHUP) {
		s->net.gone = true;
		ev_del(w);
	}
	s->readable(s->arg);
}

static int wire_bind(struct netdev *n, struct ev_loop *loop, void (*readable)(void *arg),
	void (*writable)(void *arg), void *arg)
{
	struct wire *s = (struct wire *)n;

	s->readable = readable;
	s->arg = arg;
	s->watch = (struct ev_fd){.fd = s->fd, .ready = wire_ready};
	return n->gone ? 0 : ev_add(loop, &s->watch, EPOLLIN);
}

static void wire_unbind(struct netdev *n)
{
	ev_del(&((struct wire *)n)->watch);
}

static int wire_recv(struct netdev *n, const struct iovec *iov, unsigned niov)
{
	ssize_t r = readv(((struct wire *)n)->fd, iov, niov);

	return r < 0 ? -errno : r;
}

static int wire_send(struct netdev *n, const struct iovec *iov, unsigned niov)
{
	struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = niov};
	int r = sendmsg(((struct wire *)n)->fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;

	atomic_store(&((struct wire *)n)->full, r == -EAGAIN);
	return r;
}

static void wire_want_read(struct netdev *n, bool on)
{
	ev_mod(&((struct wire *)n)->watch, on ? EPOLLIN : 0);
}

static int wire_enable(struct netdev *n, bool on)
{
	atomic_store(&((struct wire *)n)->on, on);
	return 0;
}

static const struct netdev_ops wire_ops = {
	.name = "wire",
	.bind = wire_bind,
	.unbind = wire_unbind,
	.recv = wire_recv,
	.send = wire_send,
	.want_read = wire_want_read,
	.enable = wire_enable,
};

static void wire_open(struct wire *w)
{
	struct timeval limit = {.tv_sec = 5};
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	*w = (struct wire){.net = {.ops = &wire_ops}, .fd = pair[0], .far = pair[1], .on = true};
	fcntl(w->far, F_SETFL, 0);
	setsockopt(w->far, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

/* ---- the driver ---- */

static void make(struct nic *n, unsigned pairs)
{
	struct virtio_net_opts o = {.mac = {0x52, 0x54, 0, 1, 2, 3}, .pairs = pairs};

	*n = (struct nic){0};
	guest_rig_init(&n->rig, 8 * MIB);
	for (unsigned i = 0; i < PAIRS; i++) {
		wire_open(&n->wire[i]);
		n->nets[i] = &n->wire[i].net;
	}
	cr_assert_eq(virtio_net_new(&n->rig.f.host, "_net0", n->nets, &o, &n->dev), 0);
}

static void run_queues(struct nic *n, uint64_t features, unsigned queues)
{
	cr_assert_eq(guest_negotiate(n->g, features) & 8, 8);
	for (unsigned i = 0; i < queues; i++)
		guest_queue_init(n->g, i, GUEST_RING);
	guest_driver_ok(n->g);
}

static void start_with(struct nic *n, const struct guest_transport *t, uint64_t features)
{
	make(n, PAIRS);
	guest_rig_attach(&n->rig, t, n->dev);
	n->g = &n->rig.g;
	run_queues(n, features, CTRL + 1);
	n->buf = guest_alloc(n->g, 256 * KIB, 4096);
}

#define start_on(n, t) start_with(n, t, UINT64_MAX)

static void stop(struct nic *n)
{
	guest_rig_fini(&n->rig);
	for (unsigned i = 0; i < PAIRS; i++) {
		close(n->wire[i].fd);
		close(n->wire[i].far);
	}
}

static void give_rx(struct nic *n, unsigned pair, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct guest_buf b = {n->buf + (pair * 16 + i) * 2048, 2048, true};

		guest_add(n->g, 2 * pair, &b, 1);
	}
	n->g->t->kick(n->g, 2 * pair);
}

static void transmit(struct nic *n, unsigned pair, const char *text)
{
	uint64_t data = guest_alloc(n->g, HDR + strlen(text), 4);
	struct guest_buf b = {data, HDR + strlen(text), false};

	memcpy(guest_ptr(n->g, data + HDR, strlen(text)), text, strlen(text));
	guest_add(n->g, 2 * pair + 1, &b, 1);
	n->g->t->kick(n->g, 2 * pair + 1);
}

static bool wire_says(struct nic *n, unsigned pair, const char *text)
{
	char got[100] = "";
	ssize_t r = read(n->wire[pair].far, got, sizeof(got) - 1);

	return r == (ssize_t)strlen(text) && !strcmp(got, text);
}

/* The command's answer, or -1 when there was none. */
static int command(struct nic *n, unsigned queue, const void *bytes, uint32_t len)
{
	uint64_t cmd = guest_alloc(n->g, len, 4), ack = guest_alloc(n->g, 1, 1);
	struct guest_buf b[] = {{cmd, len, false}, {ack, 1, true}};
	uint8_t *answer = guest_ptr(n->g, ack, 1);
	uint32_t written = 0;

	*answer = 99;
	memcpy(guest_ptr(n->g, cmd, len), bytes, len);
	guest_add(n->g, queue, b, 2);
	n->g->t->kick(n->g, queue);
	if (!guest_wait_used(n->g, queue, NULL, &written) || written != 1)
		return -1;
	return *answer;
}

static int use_pairs(struct nic *n, uint16_t pairs)
{
	const uint8_t cmd[] = {
		VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs & 0xff, pairs >> 8};

	return command(n, CTRL, cmd, sizeof(cmd));
}

#define EACH_TRANSPORT(t)                                                                          \
	for (const struct guest_transport *const *at = transports, *t = *at; t; t = *++at)
static const struct guest_transport *const transports[] = {
	&guest_mmio, &guest_pci_msix, &guest_pci_intx, NULL};

TestSuite(net_queues, .timeout = 60);

Test(net_queues, identity)
{
	EACH_TRANSPORT(t)
	{
		struct nic n;

		start_on(&n, t);
		cr_expect(n.g->negotiated & 1u << VIRTIO_NET_F_MQ);
		cr_expect(n.g->negotiated & 1u << VIRTIO_NET_F_CTRL_VQ);
		cr_expect(n.g->negotiated & VIRTIO_BIT_IN_ORDER);
		cr_expect_eq(n.g->t->config(n.g, 8, 2), (unsigned)PAIRS);
		cr_expect_neq(n.g->t->select(n.g, CTRL), 0);
		cr_expect_eq(n.g->t->select(n.g, CTRL + 1), 0);
		stop(&n);
	}
}

Test(net_queues, one_pair_has_no_control_queue)
{
	struct nic n;

	make(&n, 1);
	guest_rig_attach(&n.rig, &guest_mmio, n.dev);
	n.g = &n.rig.g;
	run_queues(&n, UINT64_MAX, 2);
	cr_expect_not(n.g->negotiated & (1u << VIRTIO_NET_F_MQ | 1u << VIRTIO_NET_F_CTRL_VQ));
	cr_expect_eq(n.g->t->select(n.g, 2), 0);
	stop(&n);
}

Test(net_queues, too_many_pairs)
{
	struct virtio_net_opts o = {.pairs = (VIRTIO_QUEUES - 1) / 2 + 1};
	struct virtio_dev *dev;
	struct netdev *none[9] = {0};
	struct fake_host f;

	cr_assert_eq(fake_host_init(&f, 1 * MIB, true), 0);
	cr_expect_eq(virtio_net_new(&f.host, "_net0", none, &o, &dev), -EINVAL);
	fake_host_fini(&f);
}

Test(net_queues, each_pair_both_ways)
{
	EACH_TRANSPORT(t)
	{
		struct nic n;

		start_on(&n, t);
		cr_assert_eq(use_pairs(&n, PAIRS), VIRTIO_NET_OK);
		for (unsigned i = 0; i < PAIRS; i++) {
			char text[] = "pair 0";
			uint32_t len = 0;

			text[5] += i;
			transmit(&n, i, text);
			cr_expect(wire_says(&n, i, text));
			cr_expect(guest_wait_used(n.g, 2 * i + 1, NULL, NULL));
			give_rx(&n, i, 4);
			cr_assert_eq(write(n.wire[i].far, text, 6), 6);
			cr_expect(guest_wait_used(n.g, 2 * i, NULL, &len));
			cr_expect_eq(len, HDR + 6u);
			cr_expect_eq(
				memcmp(guest_ptr(n.g, n.buf + i * 16 * 2048 + HDR, 6), text, 6), 0);
		}
		stop(&n);
	}
}

/* What lies on the wire of a pair that is not active stays there until it is. */
Test(net_queues, only_active_pairs_receive)
{
	EACH_TRANSPORT(t)
	{
		struct nic n;

		start_on(&n, t);
		for (unsigned i = 0; i < PAIRS; i++) {
			give_rx(&n, i, 4);
			cr_assert_eq(write(n.wire[i].far, "x", 1), 1);
		}
		cr_expect(guest_wait_used(n.g, 0, NULL, NULL));
		usleep(20000);
		cr_expect_eq(guest_used_idx(n.g, 2), 0);
		cr_expect_eq(guest_used_idx(n.g, 4), 0);
		cr_expect(n.wire[0].on && !n.wire[1].on && !n.wire[2].on);

		cr_assert_eq(use_pairs(&n, 2), VIRTIO_NET_OK);
		cr_expect(n.wire[0].on && n.wire[1].on && !n.wire[2].on);
		cr_expect(guest_wait_used(n.g, 2, NULL, NULL));
		cr_expect_eq(guest_used_idx(n.g, 4), 0);

		cr_assert_eq(use_pairs(&n, 1), VIRTIO_NET_OK);
		cr_assert_eq(write(n.wire[1].far, "y", 1), 1);
		usleep(20000);
		cr_expect_eq(guest_used_idx(n.g, 2), 1, "nothing after the command");
		cr_expect(n.wire[0].on && !n.wire[1].on);

		guest_reset(n.g);
		run_queues(&n, UINT64_MAX, CTRL + 1);
		cr_expect(n.wire[0].on && !n.wire[1].on && !n.wire[2].on);
		stop(&n);
	}
}

Test(net_queues, commands_that_are_refused)
{
	static const struct {
		uint8_t bytes[6];
		uint32_t len;
	} bad[] = {
		{{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 0, 0}, 4},
		{{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, PAIRS + 1, 0}, 4},
		{{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1, 1}, 4},
		{{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1}, 3},
		{{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1, 0, 0}, 5},
		{{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, 1, 0}, 4},
		{{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1, 0}, 4},
		{{1}, 1},
	};

	EACH_TRANSPORT(t)
	{
		struct nic n;

		start_on(&n, t);
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
			cr_expect_eq(command(&n, CTRL, bad[i].bytes, bad[i].len), VIRTIO_NET_ERR,
				"command %u", i);
		cr_expect_eq(use_pairs(&n, PAIRS), VIRTIO_NET_OK);
		cr_expect_eq(count_get(&n.dev->ops->stats(n.dev, CTRL)->errors), ARRAY_SIZE(bad));
		cr_expect_eq(
			count_get(&n.dev->ops->stats(n.dev, CTRL)->requests), ARRAY_SIZE(bad) + 1);
		stop(&n);
	}
}

Test(net_queues, command_without_room_for_an_answer)
{
	struct nic n;
	uint32_t len = 9;

	start_on(&n, &guest_mmio);
	struct guest_buf b = {n.buf, 4, false};
	memcpy(guest_ptr(n.g, n.buf, 4), "\4\0\2\0", 4);
	guest_add(n.g, CTRL, &b, 1);
	n.g->t->kick(n.g, CTRL);
	cr_expect(guest_wait_used(n.g, CTRL, NULL, &len));
	cr_expect_eq(len, 0u);
	stop(&n);
}

Test(net_queues, many_commands_at_once)
{
	struct nic n;
	uint64_t cmd;

	start_on(&n, &guest_mmio);
	cmd = guest_alloc(n.g, 4 * 30, 4);
	for (unsigned i = 0; i < 30; i++) {
		struct guest_buf b[] = {{cmd + 4 * i, 4, false}, {n.buf + i, 1, true}};
		const uint8_t bytes[] = {
			VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, i % 4, 0};

		memcpy(guest_ptr(n.g, cmd + 4 * i, 4), bytes, 4);
		guest_add(n.g, CTRL, b, 2);
	}
	n.g->t->kick(n.g, CTRL);
	for (unsigned i = 0; i < 30; i++) {
		cr_assert(guest_wait_used(n.g, CTRL, NULL, NULL));
		cr_expect_eq(*(uint8_t *)guest_ptr(n.g, n.buf + i, 1),
			i % 4 ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
	}
	stop(&n);
}

/* virtio 1.2 §5.1.2: without VIRTIO_NET_F_MQ the control queue is the third. */
Test(net_queues, control_queue_of_one_pair)
{
	struct nic n;

	make(&n, PAIRS);
	guest_rig_attach(&n.rig, &guest_mmio, n.dev);
	n.g = &n.rig.g;
	run_queues(&n, ~(UINT64_C(1) << VIRTIO_NET_F_MQ), 3);
	cr_expect_eq(command(&n, 2, "\4\0\1\0", 4), VIRTIO_NET_ERR, "there is no MQ to command");
	cr_expect_eq(command(&n, 2, "\0\0\1\0", 4), VIRTIO_NET_ERR);
	transmit(&n, 0, "hello");
	cr_expect(wire_says(&n, 0, "hello"));
	stop(&n);
}

/* A vhost-user front-end keeps the control queue for itself: each ring that runs is in use. */
Test(net_queues, all_pairs_without_a_control_queue)
{
	struct nic n;

	make(&n, PAIRS);
	guest_rig_attach(&n.rig, &guest_mmio, n.dev);
	n.g = &n.rig.g;
	run_queues(&n, ~(UINT64_C(1) << VIRTIO_NET_F_CTRL_VQ), 4);
	n.buf = guest_alloc(n.g, 256 * KIB, 4096);
	give_rx(&n, 1, 4);
	cr_assert_eq(write(n.wire[1].far, "x", 1), 1);
	cr_expect(guest_wait_used(n.g, 2, NULL, NULL));
	cr_expect(n.wire[1].on && !n.wire[2].on);
	stop(&n);
}

/* Behind the pairs there is nothing unless the driver has accepted a control queue there. */
Test(net_queues, queue_that_is_none)
{
	for (unsigned bit = VIRTIO_NET_F_CTRL_VQ; bit <= VIRTIO_NET_F_MQ; bit += 5) {
		struct nic n;

		start_with(&n, &guest_mmio, ~(UINT64_C(1) << bit));
		n.g->t->kick(n.g, CTRL);
		transmit(&n, 0, "sent");
		cr_expect(guest_wait_used(n.g, 1, NULL, NULL));
		stop(&n);
	}
}

Test(net_queues, counted_by_queue)
{
	struct nic n;

	start_on(&n, &guest_pci_msix);
	transmit(&n, 1, "four");
	transmit(&n, 1, "more");
	transmit(&n, 0, "one");
	for (unsigned i = 0; i < 2; i++)
		cr_assert(guest_wait_used(n.g, 3, NULL, NULL));
	cr_assert(guest_wait_used(n.g, 1, NULL, NULL));
	guest_rig_pause(&n.rig); /* each turn's counts are in */
	cr_expect_eq(count_get(&n.dev->ops->stats(n.dev, 3)->writes), 2u);
	cr_expect_eq(count_get(&n.dev->ops->stats(n.dev, 3)->written_bytes), 8u);
	cr_expect_geq(count_get(&n.dev->ops->stats(n.dev, 3)->interrupts), 1u);
	cr_expect_eq(count_get(&n.dev->ops->stats(n.dev, 1)->writes), 1u);
	cr_expect_eq(guest_rig_counter(&n.rig, "tx_frames"), 3u);
	cr_expect_eq(guest_rig_counter(&n.rig, "tx_bytes"), 11u);
	guest_rig_resume(&n.rig);
	stop(&n);
}

static bool link_goes_down(struct nic *n)
{
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;

	while (n->g->t->config(n->g, 6, 2) == VIRTIO_NET_S_LINK_UP && ev_now_ns() < end)
		guest_sleep_little();
	return n->g->t->config(n->g, 6, 2) == 0;
}

/* virtio 1.2 §4.2.2: InterruptStatus */
#define CONFIG_CHANGED 2

static bool config_interrupt(struct nic *n)
{
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;

	while (!(fake_read(&n->rig.f, n->g->base + 0x60, 4) & CONFIG_CHANGED))
		if (ev_now_ns() > end)
			return false;
	return true;
}

Test(net_queues, link_down_when_the_backend_is_gone)
{
	EACH_TRANSPORT(t)
	{
		struct nic n;
		char buf[64];

		start_on(&n, t);
		give_rx(&n, 0, 4);
		cr_expect_eq(n.g->t->config(n.g, 6, 2), VIRTIO_NET_S_LINK_UP);
		cr_expect_eq(guest_rig_counter(&n.rig, "link_down"), 0u);
		if (t == &guest_mmio)
			cr_expect_eq(fake_read(&n.rig.f, n.g->base + 0x60, 4) & CONFIG_CHANGED, 0u);
		for (unsigned i = 0; i < PAIRS; i++) {
			close(n.wire[i].far);
			n.wire[i].far = -1;
		}
		cr_expect(link_goes_down(&n));
		if (t == &guest_mmio)
			cr_expect(config_interrupt(&n));
		cr_expect_eq(guest_rig_counter(&n.rig, "link_down"), 1u);
		cr_expect_str_eq(guest_rig_achieved(&n.rig, "link", buf),
			"down: what was behind it is gone");
		transmit(&n, 0, "lost");
		cr_expect(guest_wait_used(n.g, 1, NULL, NULL));
		cr_expect(guest_reset(n.g));
		run_queues(&n, UINT64_MAX, CTRL + 1);
		cr_expect_eq(n.g->t->config(n.g, 6, 2), 0u, "still");
		stop(&n);
	}
}

/* Frames that wait for the back-end when it goes are lost as later ones are, and given back. */
Test(net_queues, frames_that_wait_when_the_backend_goes)
{
	struct nic n;

	start_on(&n, &guest_mmio);
	while (send(n.wire[1].fd, "full", 4, MSG_NOSIGNAL) == 4)
		;
	transmit(&n, 1, "waits");
	while (!atomic_load(&n.wire[1].full))
		;
	shutdown(n.wire[1].far, SHUT_RDWR);
	cr_expect(guest_wait_used(n.g, 3, NULL, NULL));
	stop(&n);
}

static void expect_rarp(struct nic *n, const uint8_t mac[6])
{
	uint8_t got[100];
	static const uint8_t head[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};

	cr_assert_eq(read(n->wire[0].far, got, sizeof(got)), 60);
	cr_expect_eq(memcmp(got, "\xff\xff\xff\xff\xff\xff", 6), 0);
	cr_expect_eq(memcmp(got + 6, mac, 6), 0);
	cr_expect_eq(memcmp(got + 12, head, sizeof(head)), 0);
	cr_expect_eq(memcmp(got + 22, mac, 6), 0, "sender");
	cr_expect_eq(memcmp(got + 32, mac, 6), 0, "target");
}

Test(net_queues, announces_itself)
{
	static const uint8_t own[] = {0x52, 0x54, 0, 1, 2, 3}, other[] = {2, 4, 6, 8, 10, 12};
	struct nic n;

	make(&n, PAIRS);
	virtio_net_announce(n.dev, NULL); /* waits for the first queue */
	guest_rig_attach(&n.rig, &guest_mmio, n.dev);
	n.g = &n.rig.g;
	run_queues(&n, UINT64_MAX, CTRL + 1);
	expect_rarp(&n, own);
	virtio_net_announce(n.dev, other);
	expect_rarp(&n, other);
	guest_reset(n.g);
	virtio_net_announce(n.dev, own);
	run_queues(&n, UINT64_MAX, CTRL + 1);
	expect_rarp(&n, own);
	stop(&n);
}

/* Commands, frames and resets at once: for the sanitizers. */
Test(net_queues, resets_under_load)
{
	struct nic n;
	uint64_t cmd;

	start_on(&n, &guest_mmio);
	cmd = guest_alloc(n.g, 16, 4);
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < PAIRS; i++) {
			give_rx(&n, i, 8);
			cr_assert_eq(write(n.wire[i].far, "x", 1), 1);
			transmit(&n, i, "frame");
		}
		memcpy(guest_ptr(n.g, cmd, 4), "\4\0\3\0", 4);
		struct guest_buf b[] = {{cmd, 4, false}, {cmd + 8, 1, true}};
		guest_add(n.g, CTRL, b, 2);
		n.g->t->kick(n.g, CTRL);
		if (round % 3 == 0)
			virtio_net_announce(n.dev, NULL);
		cr_assert(guest_reset(n.g));
		run_queues(&n, UINT64_MAX, CTRL + 1);
		for (unsigned i = 0; i < PAIRS; i++) {
			char buf[100];

			while (recv(n.wire[i].far, buf, sizeof(buf), MSG_DONTWAIT) > 0)
				;
		}
	}
	stop(&n);
}
