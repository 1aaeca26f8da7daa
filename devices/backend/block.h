/* SPDX-License-Identifier: Apache-2.0 */
/* What a block device talks to. A back-end serves requests asynchronously on the loop of the queue
 * it was bound to; completions arrive on that loop. Adding one: a .c, its test, a line in meson and
 * a line in the table in block.c. */
#ifndef DEVICES_BACKEND_BLOCK_H
#define DEVICES_BACKEND_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "vmm/base/err.h"
#include "vmm/base/ev.h"

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

/* Owned by the device until submitted, by the back-end until done() is called. */
struct block_req {
	enum block_op op;
	uint64_t off, len;	 /* bytes, checked against the capacity by the device */
	const struct iovec *iov; /* READ, WRITE: lives until done */
	unsigned niov;
	bool unmap;				    /* WRITE_ZEROES: may deallocate */
	void (*done)(struct block_req *r, int res); /* 0 or negative errno; on the bound loop */
	struct block_req *next;			    /* the back-end's, until done */
};

struct block;

struct block_ops {
	const char *name;
	/* Binds to the loop of the worker that will submit; unbind has no request in flight.
	 * drained(arg) is called on that loop after the last done() of each batch: the place to
	 * tell the driver once. Both are called on the worker. */
	int (*bind)(struct block *b, struct ev_loop *loop, void (*drained)(void *arg), void *arg);
	void (*unbind)(struct block *b);
	/* Queues r; it starts at the latest with kick(). Never fails: errors go to done(), which is
	 * called from kick() or from the loop, never from submit(). done() may submit again; what
	 * it submits needs no kick(). */
	void (*submit)(struct block *b, struct block_req *r);
	void (*kick)(struct block *b); /* one system call for all queued */
	void (*free)(struct block *b);
};

struct block {
	const struct block_ops *ops;
	uint64_t size;	     /* bytes, a multiple of 512 */
	uint32_t block_size; /* logical, 512 or 4096 */
	bool readonly, can_discard, can_write_zeroes;
	bool direct;		    /* past the host's page cache */
	const char *_Atomic engine; /* "io_uring" or "preadv", since the first bind; for people */
};

struct block_opts {
	const char *path; /* or fd >= 0, which is taken on success */
	int fd;
	bool readonly, direct;
	const char *flag; /* "--disk", and id, for messages */
	const char *id;
};

/* Opens a raw file or block device, locks it (open file description locks: exclusive for writers,
 * shared for readers), picks io_uring or, where the host has none, threads-free preadv. The message
 * says what is wrong with path: missing, a directory, locked (and by whom), empty. */
int block_open(const struct block_opts *o, struct block **ret_block, struct err *e);
/* A disk without a file: reads give zeroes, writes are forgotten. size: bytes, as in struct block.
 * -ENOMEM. */
int block_null_new(uint64_t size, bool readonly, struct block **ret_block);
static inline void block_free(struct block *b)
{
	if (b)
		b->ops->free(b);
}

#endif
