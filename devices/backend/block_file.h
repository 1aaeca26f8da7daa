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

/* The same for all lanes, which only read it. */
struct block_file {
	struct block block; /* first */
	int fd;		    /* owned */
	bool is_device;
	uint32_t align; /* of direct I/O: offsets, lengths, addresses; 0 = none is needed */
};

struct file_lane {
	struct block_lane lane; /* first */
	struct block_file *f;
	uint8_t *bounce; /* made when first needed */
	void (*drained)(void *arg);
	void *arg;
	struct block_list queued; /* to be served with system calls at the next kick */
};

extern const struct block_ops block_file_ops;
extern const struct block_ops block_uring_ops; /* the same object, another kind of lane */

/* As in struct block_ops, of block_file_ops. */
int block_file_open_lane(struct block *b, struct ev_loop *loop, void (*drained)(void *arg),
	void *arg, struct block_lane **ret_lane);
int block_file_resize(struct block *b, uint64_t size);
void block_file_free(struct block *b);

void block_list_add(struct block_list *l, struct block_req *r);
/* Serves and completes everything queued; true when there was any. */
bool file_lane_serve(struct file_lane *l);
/* Serves r, of which `done` bytes have been transferred. 0 or a negative errno. */
int file_lane_do(struct file_lane *l, const struct block_req *r, uint64_t done);
/* Direct I/O needs another buffer for r, or refuses it. */
bool block_file_misaligned(const struct block_file *f, const struct block_req *r);

#endif
