/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include "devices/backend/block.h"
#include "vmm/base/num.h"

static unsigned answers, batches;
static int result;
static struct block *b;
static struct block_lane *l;
static uint8_t buf[32 * KIB];

static void done(struct block_req *r, int res)
{
	answers++;
	result = res;
}

static void drained(void *arg)
{
	batches++;
}

static void make(void)
{
	answers = batches = 0;
	cr_assert_eq(block_ram_new(1 * MIB, false, &b), 0);
	cr_assert_eq(b->ops->open(b, NULL, drained, NULL, &l), 0);
}

static void unmake(void)
{
	l->ops->close(l);
	block_free(b);
}

TestSuite(block_ram, .init = make, .fini = unmake, .timeout = 30);

static int run(enum block_op op, uint64_t off, uint64_t len)
{
	struct iovec v[2] = {{buf, len / 2}, {buf + len / 2, len - len / 2}};
	struct block_req r = {op, off, len, v, 2, .done = done};
	unsigned before = answers;

	l->ops->submit(l, &r);
	cr_expect_eq(answers, before);
	l->ops->kick(l);
	cr_expect_eq(answers, before + 1);
	return result;
}

/* The byte at off of the disk. */
static int byte(uint64_t off)
{
	memset(buf, 0xee, 512);
	cr_assert_eq(run(BLOCK_READ, align_down(off, 512), 512), 0);
	return buf[off % 512];
}

static void fill(uint64_t off, uint64_t len)
{
	memset(buf, 0x5a, len);
	cr_assert_eq(run(BLOCK_WRITE, off, len), 0);
}

Test(block_ram, holds_what_is_written)
{
	cr_expect_eq(byte(0), 0);
	fill(4096, 8192);
	cr_expect_eq(byte(4095), 0);
	cr_expect_eq(byte(4096), 0x5a);
	cr_expect_eq(byte(12287), 0x5a);
	cr_expect_eq(byte(12288), 0);
	cr_expect_eq(run(BLOCK_FLUSH, 0, 0), 0);
	cr_expect_eq(batches, answers, "each kick was a batch");
	cr_expect_lt(run(BLOCK_READ, UINT64_MAX - 511, 512), 0);
}

/* To the byte, whatever the pages. */
Test(block_ram, holes)
{
	const enum block_op ops[] = {BLOCK_DISCARD, BLOCK_WRITE_ZEROES};

	for (int i = 0; i < 2; i++) {
		fill(0, 32 * KIB);
		cr_expect_eq(run(ops[i], 512, 20 * KIB), 0);
		cr_expect_eq(byte(511), 0x5a);
		cr_expect_eq(byte(512), 0);
		cr_expect_eq(byte(8192), 0);
		cr_expect_eq(byte(512 + 20 * KIB - 1), 0);
		cr_expect_eq(byte(512 + 20 * KIB), 0x5a);
		fill(0, 32 * KIB);
		cr_expect_eq(run(ops[i], 1024, 512), 0, "within a page");
		cr_expect_eq(byte(1023), 0x5a);
		cr_expect_eq(byte(1024), 0);
		cr_expect_eq(byte(1536), 0x5a);
	}
}

Test(block_ram, another_size)
{
	fill(512 * KIB, 4096);
	cr_expect_eq(block_resize(b, 512 * KIB), 0);
	cr_expect_eq(block_resize(b, 2 * MIB), 0);
	cr_expect_eq(b->size, 2 * MIB);
	cr_expect_eq(byte(512 * KIB), 0, "what was cut off does not come back");
	fill(2 * MIB - 4096, 4096);
	cr_expect_eq(byte(2 * MIB - 1), 0x5a);
	cr_expect_eq(block_resize(b, 0), -EINVAL);
	cr_expect_eq(block_resize(b, 100), -EINVAL);
	cr_expect_eq(block_resize(b, 1024 * 1024 * GIB), -EFBIG);
	cr_expect_eq(b->size, 2 * MIB);
}
