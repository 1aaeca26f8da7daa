/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-console over a socket back-end, whose other end the test holds; and virtio-rng, which has
 * no other end. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "devices/backend/chr.h"
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

struct con {
	struct guest_rig rig;
	struct guest_driver *g;
	struct chr *chr;
	char path[64];
	int user;
	uint64_t buf;
};

static int dial(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = 5};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static void con_run(struct con *c)
{
	cr_assert_eq(guest_negotiate(c->g, UINT64_MAX) & 8, 8);
	guest_queue_init(c->g, 0, GUEST_RING);
	guest_queue_init(c->g, 1, GUEST_RING);
	guest_driver_ok(c->g);
}

static void con_start(struct con *c)
{
	struct virtio_dev *dev;

	*c = (struct con){0};
	snprintf(c->path, sizeof(c->path), "/tmp/polyvisor-con-%d", getpid());
	cr_assert_eq(chr_open(CHR_SOCKET, c->path, "--console", &c->chr, NULL), 0);
	guest_rig_init(&c->rig, 4 * MIB);
	cr_assert_eq(virtio_console_new(&c->rig.f.host, "_console", c->chr, &dev), 0);
	guest_rig_attach(&c->rig, &guest_pci_intx, dev);
	c->g = &c->rig.g;
	c->user = dial(c->path);
	c->buf = guest_alloc(c->g, 64 * KIB, 4096);
}

static void con_stop(struct con *c)
{
	guest_rig_fini(&c->rig);
	chr_free(c->chr);
	close(c->user);
	cr_expect_neq(access(c->path, F_OK), 0, "the socket is unlinked");
}

static void give(struct con *c, uint32_t len)
{
	struct guest_buf b = {c->buf, len, true};

	guest_add(c->g, 0, &b, 1);
	c->g->t->kick(c->g, 0);
}

static void expect_text(struct con *c, const char *text)
{
	char got[256] = "";

	for (size_t n = 0; n < strlen(text);) {
		ssize_t r = read(c->user, got + n, sizeof(got) - 1 - n);

		cr_assert_gt(r, 0);
		n += r;
	}
	cr_expect_str_eq(got, text);
}

TestSuite(console, .timeout = 60);

Test(console, output)
{
	struct con c;

	con_start(&c);
	con_run(&c);
	memcpy(guest_ptr(c.g, c.buf, 12), "hello world!", 12);
	struct guest_buf b[] = {{c.buf, 6, false}, {c.buf + 6, 6, false}};
	guest_add(c.g, 1, b, 2);
	c.g->t->kick(c.g, 1);
	cr_expect(guest_wait_used(c.g, 1, NULL, NULL));
	expect_text(&c, "hello world!");
	cr_expect_eq(guest_rig_counter(&c.rig, "tx_bytes"), 12u);
	cr_expect_eq(guest_rig_counter(&c.rig, "tx_dropped_bytes"), 0u);
	con_stop(&c);
}

Test(console, input)
{
	struct con c;
	uint32_t len;

	con_start(&c);
	con_run(&c);
	give(&c, 64);
	cr_assert_eq(write(c.user, "ls\n", 3), 3);
	cr_assert(guest_wait_used(c.g, 0, NULL, &len));
	cr_expect_eq(len, 3u);
	cr_expect_eq(memcmp(guest_ptr(c.g, c.buf, 3), "ls\n", 3), 0);
	con_stop(&c);
}

/* More than everything between user and driver holds, before there is a driver: nothing is lost. */
Test(console, input_waits_for_the_driver)
{
	struct con c;
	char sent[2000], got[2000];
	uint32_t len;

	con_start(&c);
	for (unsigned i = 0; i < sizeof(sent); i++)
		sent[i] = i * 7;
	cr_assert_eq(write(c.user, sent, sizeof(sent)), (ssize_t)sizeof(sent));
	usleep(20000);
	con_run(&c);
	for (size_t n = 0; n < sizeof(got); n += len) {
		give(&c, 50);
		cr_assert(guest_wait_used(c.g, 0, NULL, &len), "after %zu", n);
		cr_assert_leq(n + len, sizeof(got));
		memcpy(got + n, guest_ptr(c.g, c.buf, 50), len);
	}
	cr_expect_eq(memcmp(got, sent, sizeof(got)), 0);
	con_stop(&c);
}

Test(console, reset_keeps_input)
{
	struct con c;

	con_start(&c);
	con_run(&c);
	cr_assert(guest_reset(c.g));
	cr_assert_eq(write(c.user, "x", 1), 1);
	usleep(20000);
	con_run(&c);
	give(&c, 10);
	cr_expect(guest_wait_used(c.g, 0, NULL, NULL));
	con_stop(&c);
}

static void rng_draw(int source_fd, uint32_t want, uint32_t expect, uint8_t first)
{
	struct guest_rig r;
	struct virtio_dev *dev;
	uint64_t at;
	uint32_t len;
	uint8_t *p;

	guest_rig_init(&r, 4 * MIB);
	cr_assert_eq(virtio_rng_new(&r.f.host, "_rng", source_fd, &dev), 0);
	guest_rig_attach(&r, &guest_mmio, dev);
	cr_assert_eq(guest_negotiate(&r.g, UINT64_MAX) & 8, 8);
	guest_queue_init(&r.g, 0, GUEST_RING);
	guest_driver_ok(&r.g);
	at = guest_alloc(&r.g, want, 1);
	struct guest_buf b = {at, want, true};
	guest_add(&r.g, 0, &b, 1);
	r.g.t->kick(&r.g, 0);
	cr_assert(guest_wait_used(&r.g, 0, NULL, &len));
	cr_expect_eq(len, expect);
	p = guest_ptr(&r.g, at, want);
	if (first)
		cr_expect_eq(p[0], first);
	else
		cr_expect(p[0] | p[1] | p[2] | p[3] | p[4] | p[5] | p[6] | p[7]);
	guest_rig_fini(&r);
}

Test(console, rng_fills)
{
	rng_draw(-1, 64, 64, 0);
}

Test(console, rng_is_bounded)
{
	rng_draw(-1, 100000, 4096, 0);
}

Test(console, rng_source)
{
	int pipe_fd[2];

	cr_assert_eq(pipe(pipe_fd), 0);
	cr_assert_eq(write(pipe_fd[1], "\x5a\x5a\x5a", 3), 3);
	rng_draw(pipe_fd[0], 64, 3, 0x5a);
	rng_draw(pipe_fd[0], 64, 64, 0); /* dry: the kernel's generator instead */
}
