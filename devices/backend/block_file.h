/* SPDX-License-Identifier: Apache-2.0 */
/* A raw file or block device, served with plain system calls: the back-end where there is no
 * io_uring, and for the io_uring one the way to serve what the ring cannot (a short transfer's
 * rest, unaligned direct I/O, a file system without fallocate). */
#ifndef DEVICES_BACKEND_BLOCK_FILE_H
#define DEVICES_BACKEND_BLOCK_FILE_H

#include "devices/backend/block.h"

struct block_list {
	struct block_req *first, **end;
};

struct block_file {
	struct block block; /* first */
	int fd;		    /* owned */
	bool is_device;
	uint32_t align;	 /* of direct I/O: offsets, lengths, addresses; 0 = none is needed */
	uint8_t *bounce; /* made when first needed */
	void (*drained)(void *arg);
	void *arg;
	struct block_list queued; /* to be served with system calls at the next kick */
};

extern const struct block_ops block_file_ops;
extern const struct block_ops block_uring_ops; /* its object embeds a block_file first */

/* Takes f->fd and what else was filled in; the object is freed by its ops. NULL = no memory. */
struct block *block_file_new(const struct block_file *f);
struct block *block_uring_new(const struct block_file *f);
void block_file_fini(struct block_file *f);

void block_list_add(struct block_list *l, struct block_req *r);
/* Serves and completes everything queued; true when there was any. */
bool block_file_serve(struct block_file *f);

/* Serves r, of which `done` bytes have been transferred. 0 or a negative errno. */
int block_file_do(struct block_file *f, const struct block_req *r, uint64_t done);
/* Direct I/O needs another buffer for r, or refuses it. */
bool block_file_misaligned(const struct block_file *f, const struct block_req *r);

#endif
