/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/block.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "devices/backend/block_file.h"
#include "vmm/base/num.h"

static char path[64];
static struct err e;

static void make(void)
{
	int fd;

	strcpy(path, "/tmp/polyvisor-block-XXXXXX");
	fd = mkstemp(path);
	cr_assert(fd >= 0 && ftruncate(fd, 256 * KIB) == 0);
	close(fd);
	memset(&e, 0, sizeof(e));
}

static void unmake(void)
{
	unlink(path);
}

TestSuite(block, .init = make, .fini = unmake, .timeout = 30);

static int open_with(bool readonly, bool direct, struct block **b)
{
	struct block_opts o = {.path = path,
		.fd = -1,
		.readonly = readonly,
		.direct = direct,
		.flag = "--disk",
		.id = "_disk0"};

	memset(&e, 0, sizeof(e));
	return block_open(&o, b, &e);
}

static void refused(const char *why)
{
	struct block *b;

	cr_expect_lt(open_with(false, false, &b), 0);
	cr_expect_eq(e.kind, ERR_HOST);
	cr_expect(strstr(e.text, why), "%s", e.text);
	cr_expect(strstr(e.text, "--disk _disk0"), "%s", e.text);
	cr_expect(strstr(e.text, "allowed"), "%s", e.text);
	cr_expect_not(strchr(e.text, '\n'));
}

Test(block, missing)
{
	unlink(path);
	refused("does not exist");
}

Test(block, directory)
{
	unlink(path);
	cr_assert_eq(mkdir(path, 0700), 0);
	refused("is a directory");
	rmdir(path);
}

Test(block, fifo_does_not_hang)
{
	unlink(path);
	cr_assert_eq(mkfifo(path, 0600), 0);
	refused("neither a file nor a block device");
}

Test(block, empty)
{
	cr_assert_eq(truncate(path, 0), 0);
	refused("is empty");
}

Test(block, smaller_than_a_sector)
{
	cr_assert_eq(truncate(path, 511), 0);
	refused("has 511 bytes");
}

Test(block, size_is_whole_sectors)
{
	struct block *b;

	cr_assert_eq(truncate(path, 1025), 0);
	cr_assert_eq(open_with(false, false, &b), 0);
	cr_expect_eq(b->size, 1024u);
	block_free(b);
}

Test(block, locked_in_this_process)
{
	struct block *b;

	cr_assert_eq(open_with(false, false, &b), 0);
	refused("locked by");
	block_free(b);
	cr_assert_eq(open_with(false, false, &b), 0, "free again");
	block_free(b);
}

/* The message names the other process. */
Test(block, locked_by_another_process)
{
	int ready[2];
	char text[40], byte;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct block *mine;

		byte = open_with(false, false, &mine) == 0;
		_exit(write(ready[1], &byte, 1) == 1 ? (pause(), 0) : 1);
	}
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	cr_expect_eq(byte, 1);
	snprintf(text, sizeof(text), "locked by process %d", pid);
	refused(text);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	struct block *b;
	cr_expect_eq(open_with(false, false, &b), 0, "a dead process holds nothing");
	block_free(b);
}

Test(block, readers_share)
{
	struct block *a, *b;

	cr_assert_eq(open_with(true, false, &a), 0);
	cr_assert_eq(open_with(true, false, &b), 0);
	refused("locked by");
	block_free(a);
	block_free(b);
}

Test(block, given_descriptor)
{
	struct block_opts o = {.fd = open(path, O_RDONLY), .flag = "--disk", .id = "_disk0"};
	struct block *b;

	cr_expect_lt(block_open(&o, &b, &e), 0);
	cr_expect(strstr(e.text, "not open for reading and writing"), "%s", e.text);
	o.readonly = true;
	cr_expect_eq(block_open(&o, &b, NULL), 0);
	block_free(b); /* closes it */
	memset(&e, 0, sizeof(e));
	cr_expect_lt(block_open(&o, &b, &e), 0);
	cr_expect(strstr(e.text, "is not open"), "%s", e.text);
}

/* Every operation, on each of the two ways to serve it. */

struct job {
	struct block_req r; /* first */
	int res;
	bool done;
};

static unsigned batches;

static void job_done(struct block_req *r, int res)
{
	struct job *j = (struct job *)r;

	j->res = res;
	j->done = true;
}

static void drained(void *arg)
{
	batches++;
}

static int run(struct block_lane *b, struct ev_loop *loop, struct block_req r)
{
	struct job j = {.r = r};

	j.r.done = job_done;
	b->ops->submit(b, &j.r);
	cr_expect_not(j.done, "not from submit");
	b->ops->kick(b);
	while (!j.done)
		cr_assert_eq(ev_run_once(loop, 1000), 0);
	return j.res;
}

static void fill(struct iovec *v, unsigned n, uint8_t *p, size_t part, int byte)
{
	memset(p, byte, part * n);
	for (unsigned i = 0; i < n; i++)
		v[i] = (struct iovec){p + i * part, part};
}

/* base: where the buffers start; off by one for direct I/O's sake. */
static void serve_everything(struct block *b, uint8_t *base)
{
	struct block_lane *l;
	struct iovec v[100];
	struct ev_loop *loop;

	cr_assert_eq(ev_loop_new(&loop), 0);
	cr_assert_eq(b->ops->open(b, loop, drained, NULL, &l), 0);
	batches = 0;
	fill(v, 100, base, 512, 0x41);
	cr_expect_eq(run(l, loop, (struct block_req){BLOCK_WRITE, 4096, 51200, v, 100}), 0);
	cr_expect_eq(run(l, loop, (struct block_req){BLOCK_FLUSH}), 0);
	cr_expect_eq(run(l, loop, (struct block_req){BLOCK_WRITE_ZEROES, 8192, 4096}), 0);
	cr_expect_eq(
		run(l, loop, (struct block_req){BLOCK_WRITE_ZEROES, 12288, 4096, .unmap = true}),
		0);
	cr_expect_eq(run(l, loop, (struct block_req){BLOCK_DISCARD, 16384, 4096}), 0);
	fill(v, 1, base, 51200, 0xff);
	cr_expect_eq(run(l, loop, (struct block_req){BLOCK_READ, 4096, 51200, v, 1}), 0);
	cr_expect_eq(base[0], 0x41);
	cr_expect_eq(base[4095], 0x41);
	cr_expect_eq(base[4096], 0);
	cr_expect_eq(base[8192], 0);
	cr_expect_eq(base[12288], 0);
	cr_expect_eq(base[16384], 0x41);
	cr_expect_eq(base[51199], 0x41);
	cr_expect_geq(batches, 6u);
	/* past the end, as when the file shrinks under us */
	fill(v, 1, base, 512, 0);
	cr_expect_lt(run(l, loop, (struct block_req){BLOCK_READ, 1 * MIB, 512, v, 1}), 0);
	l->ops->close(l);
	ev_loop_free(loop);
}

static uint8_t *buffer(void)
{
	uint8_t *p = aligned_alloc(4096, 61440);

	cr_assert(p);
	return p;
}

Test(block, io_uring)
{
	uint8_t *p = buffer();
	struct block *b;

	cr_assert_eq(open_with(false, false, &b), 0);
	cr_expect_str_eq(b->ops->name, "uring");
	serve_everything(b, p);
	serve_everything(b, p); /* opened again */
	block_free(b);
	free(p);
}

Test(block, plain)
{
	uint8_t *p = buffer();
	struct block *b;

	cr_assert_eq(open_with(false, false, &b), 0);
	b->ops = &block_file_ops;
	serve_everything(b, p);
	block_free(b);
	free(p);
}

Test(block, direct)
{
	uint8_t *p = buffer();
	struct block *b;

	if (open_with(false, true, &b) < 0)
		cr_skip_test("%s", e.text);
	cr_expect_geq(b->block_size, 512u);
	serve_everything(b, p);
	serve_everything(b, p + 1); /* through the bounce buffer */
	serve_everything(b, p + 512);
	b->ops = &block_file_ops;
	serve_everything(b, p + 1);
	block_free(b);
	free(p);
}

/* More at once than the ring has entries. */
Test(block, burst)
{
	static struct job j[1000];
	static uint8_t buf[512];
	struct iovec v = {buf, sizeof(buf)};
	struct block_lane *l;
	struct ev_loop *loop;
	struct block *b;
	unsigned left = 1000;

	cr_assert_eq(open_with(false, false, &b), 0);
	cr_assert_eq(ev_loop_new(&loop), 0);
	cr_assert_eq(b->ops->open(b, loop, drained, NULL, &l), 0);
	for (int i = 0; i < 1000; i++) {
		j[i].r = (struct block_req){
			BLOCK_READ, 512 * (i % 512), 512, &v, 1, .done = job_done};
		l->ops->submit(l, &j[i].r);
	}
	l->ops->kick(l);
	for (int rounds = 0; left && rounds < 10000; rounds++) {
		ev_run_once(loop, 10);
		left = 0;
		for (int i = 0; i < 1000; i++)
			left += !j[i].done;
	}
	cr_expect_eq(left, 0u);
	l->ops->close(l);
	block_free(b);
	ev_loop_free(loop);
}

static off_t file_size(void)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	return st.st_size;
}

Test(block, another_size)
{
	struct block *b;

	cr_assert_eq(open_with(false, false, &b), 0);
	cr_expect_eq(block_resize(b, 1 * MIB), 0);
	cr_expect_eq(b->size, 1 * MIB);
	cr_expect_eq(file_size(), 1 * MIB);
	cr_expect_eq(block_resize(b, 64 * KIB), 0);
	cr_expect_eq(b->size, 64 * KIB);
	cr_expect_eq(file_size(), 64 * KIB);
	cr_expect_eq(block_resize(b, 1000), -EINVAL);
	cr_expect_lt(block_resize(b, UINT64_MAX - 511), 0);
	cr_expect_eq(b->size, 64 * KIB);
	cr_assert_eq(truncate(path, 100000), 0); /* by somebody else */
	cr_expect_eq(block_resize(b, 0), 0);
	cr_expect_eq(b->size, 99840u, "whole sectors");
	cr_assert_eq(truncate(path, 0), 0);
	cr_expect_eq(block_resize(b, 0), -EINVAL);
	block_free(b);
}

Test(block, readonly_keeps_its_size)
{
	struct block *b;

	cr_assert_eq(open_with(true, false, &b), 0);
	cr_expect_eq(block_resize(b, 1 * MIB), -EROFS);
	cr_expect_eq(b->size, 256 * KIB);
	cr_expect_eq(block_resize(b, 0), 0);
	block_free(b);
}

/* Two lanes on two loops: one disk. */
Test(block, lanes_see_each_other)
{
	static uint8_t buf[2][4096];
	struct iovec v[2] = {{buf[0], 4096}, {buf[1], 4096}};
	struct ev_loop *loop[2];
	struct block_lane *l[2];
	struct block *b;

	cr_assert_eq(open_with(false, false, &b), 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(ev_loop_new(&loop[i]), 0);
		cr_assert_eq(b->ops->open(b, loop[i], drained, NULL, &l[i]), 0);
	}
	memset(buf[0], 0x66, 4096);
	cr_expect_eq(run(l[0], loop[0], (struct block_req){BLOCK_WRITE, 8192, 4096, &v[0], 1}), 0);
	cr_expect_eq(run(l[1], loop[1], (struct block_req){BLOCK_FLUSH}), 0);
	cr_expect_eq(run(l[1], loop[1], (struct block_req){BLOCK_READ, 8192, 4096, &v[1], 1}), 0);
	cr_expect_arr_eq(buf[0], buf[1], 4096);
	for (int i = 0; i < 2; i++) {
		l[i]->ops->close(l[i]);
		ev_loop_free(loop[i]);
	}
	block_free(b);
}

/* A worker that never sleeps sees the end of what it has begun, and of nothing else. */
Test(block, looked_at)
{
	struct job j = {.r = {BLOCK_FLUSH, .done = job_done}};
	struct block_lane *l;
	struct ev_loop *loop;
	struct block *b;

	cr_assert_eq(open_with(false, false, &b), 0);
	cr_assert_eq(ev_loop_new(&loop), 0);
	cr_assert_eq(b->ops->open(b, loop, drained, NULL, &l), 0);
	if (!l->ops->poll)
		cr_skip_test("no io_uring here");
	cr_expect_not(l->ops->poll(l));
	batches = 0;
	l->ops->submit(l, &j.r);
	l->ops->kick(l);
	for (int i = 0; !j.done && i < 5000; i++)
		if (!l->ops->poll(l))
			usleep(1000);
	cr_expect(j.done);
	cr_expect_eq(j.res, 0);
	cr_expect_eq(batches, 1u);
	cr_expect_not(l->ops->poll(l));
	l->ops->close(l);
	ev_loop_free(loop);
	block_free(b);
}
