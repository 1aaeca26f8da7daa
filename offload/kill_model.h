/* SPDX-License-Identifier: Apache-2.0 */
/* What must be on a disk whose writes were counted. Each block of 4 KiB holds which write made it:
 * every sector names its block and the write, the rest follows from these two. So what is found
 * tells what went wrong: an older write (lost, or done again), parts of two (torn), another
 * block's, or the buffer's poison (done again after the completion was visible). */
#ifndef OFFLOAD_KILL_MODEL_H
#define OFFLOAD_KILL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define KILL_BLOCK  4096u
#define KILL_BLOCKS 4096u /* of the disk: 16 MiB */
#define KILL_POISON 0xdb

struct kill_model {
	uint64_t made_by[KILL_BLOCKS]; /* the last write that completed; 0: zeroes */
	bool busy[KILL_BLOCKS];	       /* a write is in flight: anything may be there */
	char why[200];
};

void kill_fill(void *p, uint32_t block, uint64_t write);
/* Is this what the block must hold? Else m->why says what it is. */
bool kill_block_ok(struct kill_model *m, uint32_t block, const void *p);
/* All blocks but the busy ones, read from the file itself. */
bool kill_disk_ok(struct kill_model *m, int fd);

#endif
