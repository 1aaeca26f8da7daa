/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that is not there: reads give zeroes, writes go nowhere. It shows what everything around a
 * disk costs. */
#include "devices/backend/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "devices/backend/block_file.h"

struct null_lane {
	struct block_lane lane; /* first */
	struct block_list queued;
	void (*drained)(void *arg);
	void *arg;
};

static void null_submit(struct block_lane *l, struct block_req *r)
{
	block_list_add(&((struct null_lane *)l)->queued, r);
}

static void serve(struct block_req *r)
{
	if (r->op == BLOCK_READ)
		for (unsigned i = 0; i < r->niov; i++)
			memset(r->iov[i].iov_base, 0, r->iov[i].iov_len);
	r->done(r, 0);
}

static void null_kick(struct block_lane *l)
{
	struct null_lane *n = (struct null_lane *)l;
	bool any = n->queued.first;

	while (n->queued.first) { /* done() may add to it */
		struct block_req *r = n->queued.first;

		n->queued.first = r->next;
		serve(r);
	}
	if (any)
		n->drained(n->arg);
}

static void null_close(struct block_lane *l)
{
	free(l);
}

static const struct block_lane_ops null_lane_ops = {
	.batch = 8,
	.submit = null_submit,
	.kick = null_kick,
	.close = null_close,
};

static int null_open(struct block *b, struct ev_loop *loop, void (*drained)(void *arg), void *arg,
	struct block_lane **ret_lane)
{
	struct null_lane *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	*n = (struct null_lane){.lane.ops = &null_lane_ops, .drained = drained, .arg = arg};
	*ret_lane = &n->lane;
	return 0;
}

static int null_resize(struct block *b, uint64_t size)
{
	if (!size)
		return -EINVAL;
	b->size = size;
	return 0;
}

static void null_free(struct block *b)
{
	free(b);
}

static const struct block_ops null_ops = {
	.name = "null",
	.open = null_open,
	.resize = null_resize,
	.free = null_free,
};

int block_null_new(uint64_t size, bool readonly, struct block **ret_block)
{
	struct block *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	*b = (struct block){
		.ops = &null_ops,
		.size = size,
		.block_size = 512,
		.readonly = readonly,
		.can_discard = !readonly,
		.can_write_zeroes = !readonly,
		.engine = "null",
	};
	*ret_block = b;
	return 0;
}
