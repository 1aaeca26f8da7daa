/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/kill_model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORDS  (KILL_BLOCK / 8)
#define SECTOR 64 /* words */
#define CHUNK  64 /* blocks read at once */

/* splitmix64's step. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t word(uint32_t block, uint64_t write, unsigned i)
{
	if (!write)
		return 0;
	switch (i % SECTOR) {
	case 0:
		return block;
	case 1:
		return write;
	default:
		return mix(write << 20 ^ (uint64_t)block << 9 ^ i);
	}
}

void kill_fill(void *p, uint32_t block, uint64_t write)
{
	uint64_t *w = p;

	for (unsigned i = 0; i < WORDS; i++)
		w[i] = word(block, write, i);
}

/* The first word that is not as it must be, or -1. */
static int differs(const uint64_t *w, uint32_t block, uint64_t write)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (w[i] != word(block, write, i))
			return i;
	return -1;
}

static const char *verdict(const uint64_t *w, unsigned i, uint32_t block, uint64_t must)
{
	static const uint64_t poison = UINT64_C(0x0101010101010101) * KILL_POISON;
	unsigned sector = i - i % SECTOR;

	if (w[i] == poison)
		return "poison: a write was done again after its completion had been visible";
	if (w[0] == block && differs(w, block, w[1]) < 0)
		return w[1] < must
			       ? "an older write: a completed one is lost, or an old one was done again"
			       : "a newer write, which did not complete";
	if (differs(w, block, 0) < 0)
		return "zeroes: a completed write is lost";
	if (sector && w[sector] == block)
		return "torn: sectors of several writes";
	return w[sector] < KILL_BLOCKS && w[sector] != block ? "another block's" : "torn";
}

bool kill_block_ok(struct kill_model *m, uint32_t block, const void *p)
{
	const uint64_t *w = p;
	int i = differs(w, block, m->made_by[block]);

	if (i < 0)
		return true;
	snprintf(m->why, sizeof(m->why), "block %u, sector %u: write %llu must be there, is: %s",
		block, i / SECTOR, (unsigned long long)m->made_by[block],
		verdict(w, i, block, m->made_by[block]));
	return false;
}

bool kill_disk_ok(struct kill_model *m, int fd)
{
	static _Thread_local uint8_t buf[CHUNK][KILL_BLOCK] __attribute__((aligned(8)));

	for (uint32_t b = 0; b < KILL_BLOCKS; b += CHUNK) {
		if (pread(fd, buf, sizeof(buf), (off_t)b * KILL_BLOCK) != sizeof(buf)) {
			snprintf(m->why, sizeof(m->why), "cannot read the disk: %s",
				strerrordesc_np(errno));
			return false;
		}
		for (unsigned i = 0; i < CHUNK; i++)
			if (!m->busy[b + i] && !kill_block_ok(m, b + i, buf[i]))
				return false;
	}
	return true;
}
