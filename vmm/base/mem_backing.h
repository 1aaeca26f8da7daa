/* SPDX-License-Identifier: Apache-2.0 */
/* Where guest RAM comes from; for mem.c only. */
#ifndef VMM_BASE_MEM_BACKING_H
#define VMM_BASE_MEM_BACKING_H

#include "vmm/base/mem.h"

/* Checks options and ranges against each other and the host. *ret_unit is what every region is a
 * multiple of: the page size, or that of the huge pages asked for. Returns 0, or a negative errno
 * with e naming the field. */
int mem_check(const struct mem_opts *o, const struct mem_range *ranges, unsigned n, size_t page,
	uint64_t *ret_unit, struct err *e);

/* Allocates and maps one more region. file_offset is where it starts in a backing file. On error m
 * may hold the region half-made; guest_mem_fini() frees it. Returns 0 or a negative errno with e.
 */
int mem_add_region(struct guest_mem *m, const struct mem_range *range, const struct mem_opts *o,
	uint64_t unit, uint64_t file_offset, struct err *e);

#endif
