/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for rings, buffers and stacks: an arena that only grows (a guest lives for one case). */
#ifndef GUEST_MEM_H
#define GUEST_MEM_H

#include "types.h"

#define PAGE_SIZE 4096u

/* Zeroed memory of `size` bytes aligned to `align` (a power of two). Fails the case if full. */
void *mem_alloc(size_t size, size_t align);

/* Everything is identity mapped: a pointer's physical address is its value. */
static inline uint64_t phys(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

#endif
