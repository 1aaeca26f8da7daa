/* SPDX-License-Identifier: Apache-2.0 */
/* What a block device talks to. A back-end serves requests asynchronously, on a lane that each
 * queue opens on its own loop; completions arrive on that loop. Adding one: a .c, its test and a
 * line in meson. */
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

/* One queue's way to the disk: its own loop, its own io_uring, no lock. Lanes of one disk share
 * nothing but the file: what one has completed, a flush on any other makes durable. */
struct block_lane {
	const struct block_lane_ops *ops;
};

struct block_lane_ops {
	/* The most requests that are worth waiting for each other before a kick: few where they are
	 * done one after the other, many where a kick is a system call. */
	int batch;
	/* Queues r; it starts at the latest with kick(). Never fails: errors go to done(), which is
	 * called from kick(), poll() or the loop, never from submit(). done() may submit again;
	 * what it submits needs no kick(). */
	void (*submit)(struct block_lane *l, struct block_req *r);
	void (*kick)(struct block_lane *l); /* one system call for all queued */
	/* Reports what has completed; true when something had. No system call while nothing has.
	 * NULL: nothing ever completes but in kick(). */
	bool (*poll)(struct block_lane *l);
	void (*close)(struct block_lane *l); /* no request in flight */
};

struct block_ops {
	const char *name;
	/* Opens a lane on the loop of the worker that will submit; called there, as all of the
	 * lane's own functions. drained(arg) is called on that loop after the last done() of each
	 * batch: the place to tell the driver once. */
	int (*open)(struct block *b, struct ev_loop *loop, void (*drained)(void *arg), void *arg,
		struct block_lane **ret_lane);
	int (*resize)(struct block *b, uint64_t size);
	void (*free)(struct block *b);
};

struct block {
	const struct block_ops *ops;
	_Atomic uint64_t size; /* bytes, a multiple of 512; control changes it, workers read */
	uint32_t block_size;   /* logical, 512 or 4096 */
	bool readonly, can_discard, can_write_zeroes;
	bool direct;		    /* past the host's page cache */
	const char *_Atomic engine; /* "io_uring" or "preadv", since the first lane; for people */
};

struct block_opts {
	const char *path; /* or fd >= 0, which is taken on success */
	int fd;
	bool readonly, direct;
	bool hurried;	  /* others wait meanwhile: a second, not ten, for a lock */
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
/* A disk in memory, as long as this process lives. It can grow to 64 GiB, or to what it was made
 * with (less where address space is short: then -EFBIG). Otherwise as block_null_new. */
int block_ram_new(uint64_t size, bool readonly, struct block **ret_block);

/* Gives the disk another size, which b->size then says; virtio_blk_resize() tells the guest. A disk
 * in memory, or of no file, takes any multiple of 512. A file is cut or grown; 0 means the size it
 * has now. A block device's size is only looked up. A request that is in flight beyond a smaller
 * end fails, or (a write) makes the file longer than the disk. Control. -EINVAL: no size for this
 * disk; -EROFS; or what the host says. */
int block_resize(struct block *b, uint64_t size);
static inline void block_free(struct block *b)
{
	if (b)
		b->ops->free(b);
}

#endif
