/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over a stream socket; how passt is started; what is said of a tap that cannot be. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "devices/backend/netdev.h"

static struct ev_loop *loop;
static struct netdev *net;
static int wire;
static unsigned nreadable, nwritable;

static void readable(void *arg)
{
	nreadable++;
}

static void writable(void *arg)
{
	nwritable++;
}

static void make(void)
{
	int pair[2];

	nreadable = nwritable = 0;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	wire = pair[0];
	cr_assert_eq(netdev_stream_new(pair[1], &net), 0);
	cr_assert_eq(ev_loop_new(&loop), 0);
	cr_assert_eq(net->ops->bind(net, loop, readable, writable, NULL), 0);
}

static void unmake(void)
{
	net->ops->unbind(net);
	netdev_free(net);
	ev_loop_free(loop);
	close(wire);
}

TestSuite(net_stream, .init = make, .fini = unmake, .timeout = 30);

static void put(const void *p, size_t n)
{
	cr_assert_eq(write(wire, p, n), (ssize_t)n);
}

static int recv_into(char *buf, size_t n)
{
	struct iovec v[2] = {{buf, 3}, {buf + 3, n - 3}};

	return net->ops->recv(net, v, 2);
}

Test(net_stream, frame_in_pieces)
{
	char buf[100] = "";

	put("\0\0", 2);
	ev_run_once(loop, 10);
	cr_expect_eq(nreadable, 1u);
	cr_expect_eq(recv_into(buf, sizeof(buf)), -EAGAIN);
	put("\0\5he", 4);
	cr_expect_eq(recv_into(buf, sizeof(buf)), -EAGAIN);
	put("llo\0\0\0\1!", 8);
	cr_expect_eq(recv_into(buf, sizeof(buf)), 5);
	cr_expect_str_eq(buf, "hello");
	cr_expect_eq(recv_into(buf, sizeof(buf)), 1);
	cr_expect_eq(buf[0], '!');
	cr_expect_eq(recv_into(buf, sizeof(buf)), -EAGAIN);
}

Test(net_stream, frame_is_cut)
{
	char buf[4];

	put("\0\0\0\5hello\0\0\0\2ok", 15);
	cr_expect_eq(recv_into(buf, 4), 4);
	cr_expect_eq(recv_into(buf, 4), 2);
	cr_expect_eq(memcmp(buf, "ok", 2), 0);
}

Test(net_stream, absurd_length_ends_it)
{
	char buf[100];

	put("\0\1\0\x0f", 4);
	cr_expect_lt(recv_into(buf, sizeof(buf)), 0);
	cr_expect_lt(net->ops->send(net, &(struct iovec){buf, 10}, 1), 0);
	cr_expect_eq(recv_into(buf, sizeof(buf)), -EAGAIN);
}

Test(net_stream, no_wakeups_when_not_wanted)
{
	net->ops->want_read(net, false);
	put("\0\0\0\1x", 5);
	ev_run_once(loop, 10);
	cr_expect_eq(nreadable, 0u);
	net->ops->want_read(net, true);
	ev_run_once(loop, 10);
	cr_expect_eq(nreadable, 1u);
}

Test(net_stream, full_socket)
{
	static char frame[60000], sink[70000];
	struct iovec v = {frame, sizeof(frame)};
	uint64_t sent = 0, seen = 0;

	while (net->ops->send(net, &v, 1) == 0)
		sent++;
	cr_expect_gt(sent, 0u);
	cr_expect_eq(net->ops->send(net, &v, 1), -EAGAIN);
	fcntl(wire, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 1000 && seen < sent * (sizeof(frame) + 4); i++) {
		ssize_t r = read(wire, sink, sizeof(sink));

		seen += r > 0 ? r : 0;
		ev_run_once(loop, 1);
	}
	cr_expect_eq(seen, sent * (sizeof(frame) + 4));
	cr_expect_gt(nwritable, 0u);
}

Test(net_stream, passt_is_missing)
{
	struct err e = {0};
	int fd, pid;

	setenv("PATH", "/nonexistent", 1);
	cr_expect_eq(netdev_passt_spawn(NULL, &fd, &pid, &e), -ENOENT);
	cr_expect(strstr(e.text, "passt cannot be started"), "%s", e.text);
	cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "no zombie");
}

/* A stand-in that writes its arguments to the descriptor it was given. */
Test(net_stream, passt_gets_descriptor_and_words)
{
	char dir[] = "/tmp/polyvisor-passt-XXXXXX", path[64], buf[200] = "";
	static const char script[] = "#!/bin/bash\neval \"echo \\$* >&$4\"\n";
	struct err e = {0};
	int fd, pid, out;

	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/passt", dir);
	out = open(path, O_CREAT | O_WRONLY, 0700);
	cr_assert_eq(write(out, script, strlen(script)), (ssize_t)strlen(script));
	close(out);
	setenv("PATH", dir, 1);
	cr_assert_eq(netdev_passt_spawn("-t 2222:22  -u 53", &fd, &pid, &e), 0, "%s", e.text);
	cr_assert_gt(read(fd, buf, sizeof(buf) - 1), 0);
	cr_expect(strstr(buf, "--foreground --quiet --fd "), "%s", buf);
	cr_expect(strstr(buf, " -t 2222:22 -u 53\n"), "%s", buf);
	cr_expect_eq(waitpid(pid, NULL, 0), pid);
	close(fd);
	unlink(path);
	rmdir(dir);
}

#define DISCOVER_BYTES (14 + 20 + 8 + 240 + 4) /* Ethernet, IPv4, UDP, BOOTP, options */

static void set_checksum(uint8_t *ip)
{
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	ip[10] = sum >> 8;
	ip[11] = sum;
}

/* RFC 2131: a client without an address asks who is there. */
static void make_discover(uint8_t f[DISCOVER_BYTES])
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3}, bootp[4] = {1, 1, 6, 0},
			     options[8] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
	uint8_t *ip = f + 14, *udp = ip + 20, *dhcp = udp + 8;
	unsigned len = DISCOVER_BYTES - 14;

	memset(f, 0, DISCOVER_BYTES);
	memset(f, 0xff, 6);
	memcpy(f + 6, mac, 6);
	f[12] = 8;
	ip[0] = 0x45;
	ip[2] = len >> 8;
	ip[3] = len;
	ip[8] = 64;
	ip[9] = 17;
	memset(ip + 16, 255, 4);
	set_checksum(ip);
	udp[1] = 68;
	udp[3] = 67;
	udp[4] = (len - 20) >> 8;
	udp[5] = len - 20;
	memcpy(dhcp, bootp, 4);
	memcpy(dhcp + 28, mac, 6);
	memcpy(dhcp + 236, options, 8);
}

static bool is_offer(const uint8_t *f, int n)
{
	return n > 14 + 20 + 8 + 240 && f[12] == 8 && f[13] == 0 && f[14 + 9] == 17 &&
	       f[14 + 20 + 1] == 67 && f[14 + 20 + 8] == 2;
}

/* The real one, where it is installed and this machine has a network for it to stand for. */
Test(net_stream, passt_offers_an_address)
{
	static uint8_t in[70000], discover[DISCOVER_BYTES];
	struct iovec out = {discover, sizeof(discover)}, v = {in, sizeof(in)};
	struct err e = {0};
	struct netdev *n;
	bool offered = false;
	int fd, pid;

	if (netdev_passt_spawn(NULL, &fd, &pid, &e) < 0)
		cr_skip_test("%s", e.text);
	cr_assert_eq(netdev_stream_new(fd, &n), 0);
	cr_assert_eq(n->ops->bind(n, loop, readable, writable, NULL), 0);
	make_discover(discover);
	n->ops->send(n, &out, 1);
	for (int i = 0; i < 50 && !offered; i++) {
		int r = n->ops->recv(n, &v, 1);

		offered = r > 0 && is_offer(in, r);
		if (r < 0)
			ev_run_once(loop, 100);
	}
	if (!offered && waitpid(pid, NULL, WNOHANG) == pid)
		cr_skip_test("passt finds no network here");
	cr_expect(offered);
	n->ops->unbind(n);
	netdev_free(n);
	cr_expect_eq(waitpid(pid, NULL, 0), pid, "it ends with its socket");
}

Test(net_stream, tap_messages)
{
	struct err e = {0};
	struct netdev *n;

	cr_expect_lt(netdev_tap_open("a-name-that-is-too-long", -1, "--net", "_net0", &n, &e), 0);
	cr_expect_eq(e.kind, ERR_USAGE);
	cr_expect(strstr(e.text, "--net _net0: tap="), "%s", e.text);
	e = (struct err){0};
	cr_expect_lt(netdev_tap_open(NULL, wire, "--net", "_net0", &n, &e), 0);
	cr_expect(strstr(e.text, "is not a tap"), "%s", e.text);
}
