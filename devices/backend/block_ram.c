/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in this process's memory, gone with it. A request is a copy, done where it stands: no
 * system call, nothing to wait for. Address space for growing is set aside when the disk is made,
 * so that it never moves under a worker; memory is taken when it is first written. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "devices/backend/block_file.h"
#include "vmm/base/num.h"

#define ROOM_MIN (64 * GIB) /* address space for each disk, where there is so much */

struct block_ram {
	struct block block; /* first */
	uint8_t *bytes;
	uint64_t room;
};

struct ram_lane {
	struct block_lane lane; /* first */
	struct block_ram *ram;
	struct block_list queued;
	void (*drained)(void *arg);
	void *arg;
};

static void ram_submit(struct block_lane *l, struct block_req *r)
{
	block_list_add(&((struct ram_lane *)l)->queued, r);
}

static void copy(const struct block_req *r, uint8_t *at)
{
	for (unsigned i = 0; i < r->niov; i++) {
		const struct iovec *v = &r->iov[i];

		if (r->op == BLOCK_READ)
			memcpy(v->iov_base, at, v->iov_len);
		else
			memcpy(at, v->iov_base, v->iov_len);
		at += v->iov_len;
	}
}

/* Whole pages go back to the host, what is left of others is overwritten. */
static void forget(struct block_ram *m, uint64_t off, uint64_t len)
{
	uint64_t page = sysconf(_SC_PAGESIZE), end = off + len;
	uint64_t from = MIN(align_up(off, page), end), to = MAX(align_down(end, page), from);

	if (to == from || madvise(m->bytes + from, to - from, MADV_DONTNEED) < 0)
		to = from;
	memset(m->bytes + off, 0, from - off);
	memset(m->bytes + to, 0, end - to);
}

static int serve(struct block_ram *m, const struct block_req *r)
{
	uint64_t end;

	if (__builtin_add_overflow(r->off, r->len, &end) || end > m->room)
		return -EIO;
	switch (r->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		copy(r, m->bytes + r->off);
		return 0;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		forget(m, r->off, r->len);
		return 0;
	case BLOCK_FLUSH:
		return 0;
	}
	return -EOPNOTSUPP;
}

static void ram_kick(struct block_lane *l)
{
	struct ram_lane *n = (struct ram_lane *)l;
	bool any = n->queued.first;

	while (n->queued.first) { /* done() may add to it */
		struct block_req *r = n->queued.first;

		n->queued.first = r->next;
		r->done(r, serve(n->ram, r));
	}
	if (any)
		n->drained(n->arg);
}

static void ram_close(struct block_lane *l)
{
	free(l);
}

static const struct block_lane_ops ram_lane_ops = {
	.batch = 8,
	.submit = ram_submit,
	.kick = ram_kick,
	.close = ram_close,
};

static int ram_open(struct block *b, struct ev_loop *loop, void (*drained)(void *arg), void *arg,
	struct block_lane **ret_lane)
{
	struct ram_lane *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	*n = (struct ram_lane){.lane.ops = &ram_lane_ops,
		.ram = (struct block_ram *)b,
		.drained = drained,
		.arg = arg};
	*ret_lane = &n->lane;
	return 0;
}

static int ram_resize(struct block *b, uint64_t size)
{
	struct block_ram *m = (struct block_ram *)b;
	uint64_t old = b->size;

	if (!size)
		return -EINVAL;
	if (size > m->room)
		return -EFBIG;
	b->size = size;
	if (size < old)
		forget(m, size, old - size);
	return 0;
}

static void ram_free(struct block *b)
{
	struct block_ram *m = (struct block_ram *)b;

	munmap(m->bytes, m->room);
	free(m);
}

static const struct block_ops ram_ops = {
	.name = "ram",
	.open = ram_open,
	.resize = ram_resize,
	.free = ram_free,
};

/* As much room as there is, down to what the disk needs now. */
static int reserve(struct block_ram *m, uint64_t size)
{
	uint64_t least = align_up(size, (uint64_t)sysconf(_SC_PAGESIZE));

	for (m->room = MAX(least, ROOM_MIN);; m->room = MAX(least, m->room / 2)) {
		m->bytes = mmap(NULL, m->room, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (m->bytes != MAP_FAILED)
			return 0;
		if (m->room == least)
			return -ENOMEM;
	}
}

int block_ram_new(uint64_t size, bool readonly, struct block **ret_block)
{
	struct block_ram *m = calloc(1, sizeof(*m));

	if (!m || reserve(m, size) < 0) {
		free(m);
		return -ENOMEM;
	}
	madvise(m->bytes, m->room, MADV_DONTDUMP);
	m->block = (struct block){
		.ops = &ram_ops,
		.size = size,
		.block_size = 512,
		.readonly = readonly,
		.can_discard = !readonly,
		.can_write_zeroes = !readonly,
		.engine = "memory",
	};
	*ret_block = &m->block;
	return 0;
}
