/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>
#include "devices/backend/block.h"
#include "vmm/base/num.h"

static unsigned done_calls, drained_calls;
static struct block *b;
static struct block_lane *l;
static struct block_req again;

static void done(struct block_req *r, int res)
{
	cr_expect_eq(res, 0);
	cr_expect_eq(drained_calls, 0u, "told after the last");
	if (done_calls++ == 0) /* what done() submits needs no kick */
		l->ops->submit(l, &again);
}

static void drained(void *arg)
{
	drained_calls++;
}

Test(block_null, zeroes_and_nothing)
{
	uint8_t buf[3][512];
	struct iovec iov[] = {{buf[0], 512}, {buf[1], 512}}, out = {buf[2], 512};
	struct block_req in = {BLOCK_READ, 0, 1024, iov, 2, .done = done};
	struct block_req write = {BLOCK_WRITE, 0, 512, &out, 1, .done = done};

	again = (struct block_req){.op = BLOCK_FLUSH, .done = done};
	memset(buf, 0xff, sizeof(buf));
	cr_assert_eq(block_null_new(1 * MIB, true, &b), 0);
	cr_expect_eq(b->size, 1 * MIB);
	cr_expect(b->readonly && !b->can_discard && !b->can_write_zeroes);
	cr_assert_eq(b->ops->open(b, NULL, drained, NULL, &l), 0);
	l->ops->kick(l);
	cr_expect_eq(drained_calls, 0u, "nothing to do");
	l->ops->submit(l, &in);
	l->ops->submit(l, &write);
	cr_expect_eq(done_calls, 0u);
	l->ops->kick(l);
	cr_expect_eq(done_calls, 3u);
	cr_expect_eq(drained_calls, 1u);
	cr_expect_eq(buf[0][0] | buf[1][511], 0);
	cr_expect_eq(buf[2][0], 0xff, "a write only reads");
	l->ops->close(l);
	cr_expect_eq(block_resize(b, 2 * MIB), 0);
	cr_expect_eq(b->size, 2 * MIB);
	cr_expect_lt(block_resize(b, 513), 0);
	cr_expect_lt(block_resize(b, 0), 0);
	cr_expect_eq(b->size, 2 * MIB);
	block_free(b);
}
