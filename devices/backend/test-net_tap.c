/* SPDX-License-Identifier: Apache-2.0 */
/* Taps, in a network namespace of the test's own: skipped where that or /dev/net/tun is forbidden.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices/backend/netdev.h"
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

#define QUEUES 4

static struct netdev *q[QUEUES];
static struct err e;

static void own_namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		cr_skip_test("no network namespace here");
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/net/tun here");
}

static void open_tap(const char *name, unsigned n)
{
	int r;

	own_namespace();
	r = netdev_tap_open_queues(name, NULL, n, "--net", "_net0", q, &e);
	if (r == -EPERM)
		cr_skip_test("no taps here");
	cr_assert_eq(r, 0, "%s", e.text);
}

static void close_tap(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		netdev_free(q[i]);
}

/* What `ip link del` asks of the kernel. */
static void delete_link(const char *name)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} m = {
		{.nlmsg_len = sizeof(m),
			.nlmsg_type = RTM_DELLINK,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		{.ifi_index = (int)if_nametoindex(name)},
	};
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	cr_assert_gt(m.i.ifi_index, 0);
	cr_assert_eq(write(fd, &m, sizeof(m)), (ssize_t)sizeof(m));
	cr_assert_gt(read(fd, &answer, sizeof(answer)), 0);
	cr_assert_eq(answer.e.error, 0);
	close(fd);
}

static void set_up(const char *name)
{
	struct ifreq req = {.ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(req.ifr_name, name);
	cr_assert_eq(ioctl(fd, SIOCSIFFLAGS, &req), 0);
	close(fd);
}

/* A frame as the host would send it out of the interface. */
static void host_sends(const char *name, unsigned char seed)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(name), .sll_halen = 6};
	unsigned char frame[60] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, seed, 0x88, 0xb5, seed};
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	cr_assert_eq(sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to)), 60);
	close(fd);
}

/* Frames of the kind above that wait in queue i; others come from the host itself. */
static unsigned waiting(unsigned i)
{
	unsigned char frame[2000];
	struct iovec iov = {frame, sizeof(frame)};
	unsigned n = 0;

	while (q[i]->ops->recv(q[i], &iov, 1) > 0)
		n += frame[12 + 12] == 0x88 && frame[12 + 13] == 0xb5;
	return n;
}

TestSuite(net_tap, .timeout = 60);

Test(net_tap, frames_go_to_queues_that_are_attached)
{
	unsigned all = 0;

	open_tap("tap0", QUEUES);
	set_up("tap0");
	for (unsigned i = 1; i < QUEUES; i++)
		cr_assert_eq(q[i]->ops->enable(q[i], false), 0);
	for (unsigned i = 0; i < 40; i++)
		host_sends("tap0", i);
	cr_expect_eq(waiting(0), 40);
	cr_assert_eq(q[2]->ops->enable(q[2], true), 0);
	for (unsigned i = 0; i < 40; i++)
		host_sends("tap0", i);
	all = waiting(0) + waiting(2);
	cr_expect_eq(all, 40);
	cr_expect_eq(waiting(1) + waiting(3), 0);
	close_tap(QUEUES);
}

Test(net_tap, name_of_the_kernels_choice)
{
	open_tap(NULL, 2);
	close_tap(2);
}

Test(net_tap, descriptors_of_one_tap)
{
	int fds[2], other;

	own_namespace();
	if (netdev_tap_fds("tap0", 2, "--net", "_net0", fds, &e) == -EPERM)
		cr_skip_test("no taps here");
	cr_assert_eq(netdev_tap_fds("tap1", 1, "--net", "_net0", &other, &e), 0);
	cr_expect_eq(netdev_tap_check(other, "--net", "_net0", &e), 0);
	cr_expect_lt(
		netdev_tap_open_queues(NULL, (int[]){fds[0], other}, 2, "--net", "_net0", q, &e),
		0);
	cr_expect(strstr(e.text, "allowed: queues of one tap"), "%s", e.text);
	cr_assert_eq(netdev_tap_open_queues(NULL, fds, 2, "--net", "_net0", q, &e), 0);
	close(other);
	close_tap(2);
}

static int make_persistent(const char *name, short flags)
{
	struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI | flags};
	int fd = open("/dev/net/tun", O_RDWR), r;

	strcpy(req.ifr_name, name);
	r = ioctl(fd, TUNSETIFF, &req) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0 ? -errno : 0;
	close(fd);
	return r;
}

Test(net_tap, made_for_other_numbers_of_queues)
{
	own_namespace();
	if (make_persistent("one", 0) == -EPERM)
		cr_skip_test("no taps here");
	cr_assert_eq(make_persistent("many", IFF_MULTI_QUEUE), 0);
	cr_expect_eq(netdev_tap_open_queues("one", NULL, 2, "--net", "_net0", q, &e), -EINVAL, "%s",
		e.text);
	cr_expect(strstr(e.text, "mode tap multi_queue"), "%s", e.text);
	cr_expect_eq(netdev_tap_open("many", -1, "--net", "_net0", &q[0], &e), 0, "%s", e.text);
	close_tap(1);
	cr_expect_lt(netdev_tap_open("lo", -1, "--net", "_net0", &q[0], &e), 0);
}

static unsigned calls;

static void called(void *arg)
{
	calls++;
}

Test(net_tap, vanishes)
{
	struct ev_loop *loop;
	unsigned char frame[100];
	struct iovec iov = {frame, sizeof(frame)};

	open_tap("tap0", 1);
	cr_assert_eq(ev_loop_new(&loop), 0);
	cr_assert_eq(q[0]->ops->bind(q[0], loop, called, called, NULL), 0);
	delete_link("tap0");
	cr_assert_eq(ev_run_once(loop, 5000), 0);
	cr_expect(q[0]->gone);
	cr_expect_eq(calls, 1u);
	cr_expect_eq(q[0]->ops->recv(q[0], &iov, 1), -EBADFD);
	cr_expect_eq(q[0]->ops->send(q[0], &iov, 1), -EBADFD);
	ev_run_once(loop, 50);
	cr_expect_eq(calls, 1u, "the loop does not spin");
	q[0]->ops->unbind(q[0]);
	ev_loop_free(loop);
	close_tap(1);
}

struct nic {
	struct guest_rig rig;
	uint64_t buf;
};

/* A device of two pairs on tap0. Without receive buffers it does not listen to the tap. */
static void start_device(struct nic *n)
{
	struct virtio_net_opts o = {.mac = {2, 0, 0, 0, 0, 1}, .pairs = 2};
	struct virtio_dev *dev;

	open_tap("tap0", 2);
	guest_rig_init(&n->rig, 8 * MIB);
	cr_assert_eq(virtio_net_new(&n->rig.f.host, "_net0", q, &o, &dev), 0);
	guest_rig_attach(&n->rig, &guest_mmio, dev);
	guest_negotiate(&n->rig.g, UINT64_MAX);
	for (unsigned i = 0; i < 5; i++)
		guest_queue_init(&n->rig.g, i, GUEST_RING);
	guest_driver_ok(&n->rig.g);
	n->buf = guest_alloc(&n->rig.g, 8192, 4096);
	cr_expect_eq(n->rig.g.t->config(&n->rig.g, 6, 2), VIRTIO_NET_S_LINK_UP);
}

static void stop_device(struct nic *n)
{
	cr_expect(guest_reset(&n->rig.g));
	cr_expect_eq(guest_negotiate(&n->rig.g, UINT64_MAX) & 8, 8, "the driver may come again");
	guest_rig_fini(&n->rig);
	close_tap(2);
}

static void transmit(struct nic *n, unsigned queue)
{
	struct guest_buf b = {n->buf, 100, false};

	guest_add(&n->rig.g, queue, &b, 1);
	n->rig.g.t->kick(&n->rig.g, queue);
	cr_expect(guest_wait_used(&n->rig.g, queue, NULL, NULL));
}

static void expect_link_down(struct nic *n)
{
	struct guest_driver *g = &n->rig.g;
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;

	while (g->t->config(g, 6, 2) && ev_now_ns() < end)
		guest_sleep_little();
	cr_expect_eq(g->t->config(g, 6, 2), 0u);
	cr_expect_eq(guest_rig_counter(&n->rig, "link_down"), 1u);
}

Test(net_tap, vanishes_under_a_device_that_only_looks)
{
	static struct nic n;

	start_device(&n);
	transmit(&n, 1); /* each worker has begun */
	transmit(&n, 3);
	delete_link("tap0");
	expect_link_down(&n);
	stop_device(&n);
}

Test(net_tap, vanishes_under_a_device_that_receives)
{
	static struct nic n;
	struct guest_buf b;

	start_device(&n);
	b = (struct guest_buf){n.buf, 4096, true};
	guest_add(&n.rig.g, 0, &b, 1);
	n.rig.g.t->kick(&n.rig.g, 0);
	transmit(&n, 1);
	delete_link("tap0");
	expect_link_down(&n);
	stop_device(&n);
}

Test(net_tap, vanishes_under_a_device_that_sends)
{
	static struct nic n;
	uint64_t lost;

	start_device(&n);
	delete_link("tap0");
	lost = guest_rig_counter(&n.rig, "tx_dropped");
	transmit(&n, 1);
	expect_link_down(&n);
	cr_expect_eq(guest_rig_counter(&n.rig, "tx_dropped"), lost + 1);
	cr_expect_eq(guest_rig_counter(&n.rig, "tx_frames"), 0u);
	stop_device(&n);
}
