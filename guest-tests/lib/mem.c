/* SPDX-License-Identifier: Apache-2.0 */
/* The arena lies in .noinit, which the start code does not clear: only what is used costs time. */
#include "mem.h"

#include "case.h"
#include "text.h"

#define ARENA_SIZE (3u << 20)

static uint8_t arena[ARENA_SIZE] __attribute__((section(".noinit"), aligned(65536)));
static size_t used;

void *mem_alloc(size_t size, size_t align)
{
	size_t at = ALIGN_UP(used, align);

	if (at + size > ARENA_SIZE)
		case_fail("the guest's own arena is full");
	used = at + size;
	memset(arena + at, 0, size);
	return arena + at;
}
