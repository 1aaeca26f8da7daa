/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that is not there: reads give zeroes, writes go nowhere. It shows what everything around a
 * disk costs. */
#include "devices/backend/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "devices/backend/block_file.h"

struct block_null {
	struct block block; /* first */
	struct block_list queued;
	void (*drained)(void *arg);
	void *arg;
};

static int null_bind(struct block *b, struct ev_loop *loop, void (*drained)(void *arg), void *arg)
{
	struct block_null *n = (struct block_null *)b;

	n->drained = drained;
	n->arg = arg;
	return 0;
}

static void null_unbind(struct block *b)
{
}

static void null_submit(struct block *b, struct block_req *r)
{
	block_list_add(&((struct block_null *)b)->queued, r);
}

static void serve(struct block_req *r)
{
	if (r->op == BLOCK_READ)
		for (unsigned i = 0; i < r->niov; i++)
			memset(r->iov[i].iov_base, 0, r->iov[i].iov_len);
	r->done(r, 0);
}

static void null_kick(struct block *b)
{
	struct block_null *n = (struct block_null *)b;
	bool any = n->queued.first;

	while (n->queued.first) { /* done() may add to it */
		struct block_req *r = n->queued.first;

		n->queued.first = r->next;
		serve(r);
	}
	if (any)
		n->drained(n->arg);
}

static void null_free(struct block *b)
{
	free(b);
}

static const struct block_ops null_ops = {
	.name = "null",
	.bind = null_bind,
	.unbind = null_unbind,
	.submit = null_submit,
	.kick = null_kick,
	.free = null_free,
};

int block_null_new(uint64_t size, bool readonly, struct block **ret_block)
{
	struct block_null *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->block = (struct block){
		.ops = &null_ops,
		.size = size,
		.block_size = 512,
		.readonly = readonly,
		.can_discard = !readonly,
		.can_write_zeroes = !readonly,
		.engine = "null",
	};
	*ret_block = &n->block;
	return 0;
}
