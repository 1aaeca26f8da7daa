/* SPDX-License-Identifier: Apache-2.0 */
/* The ELF file of a core: headers, notes, then each region of RAM once, zero pages left out as
 * holes. Every region has a PT_LOAD with p_vaddr = p_paddr = guest-physical. A further PT_LOAD for
 * each known mapping of the kernel points at the same bytes of the file under their virtual
 * addresses, as Linux's own vmcore has it: with it a debugger follows the kernel's pointers. */
#ifndef VMM_CORE_ELF_H
#define VMM_CORE_ELF_H

#include <stdatomic.h>
#include "vmm/base/mem.h"

/* Where the guest maps RAM linearly. Lies in one region. */
struct core_map {
	uint64_t gva, gpa, size;
};

#define CORE_MAPS 1024

struct core_maps {
	struct core_map map[CORE_MAPS];
	unsigned n;
};

/* Notes, back to back. Zeroed is empty. */
struct core_notes {
	uint8_t *data;
	size_t len, cap;
};

/* Makes room for `more` bytes after len. Returns where, or NULL. */
uint8_t *core_notes_room(struct core_notes *n, size_t more);
void core_notes_fini(struct core_notes *n);

/* Writes all to fd, an empty regular file, at its absolute offsets. Returns 0, -ECANCELED soon
 * after *cancel was set, or what the file answered (-ENOSPC, -EFBIG, -EIO). Any thread; nobody
 * writes m meanwhile. */
int core_elf_write(const struct guest_mem *m, const struct core_notes *notes,
	const struct core_maps *maps, unsigned machine, int fd, const atomic_bool *cancel);

/* The next bytes of region r at or after `off` (a multiple of the host's page) that may differ from
 * zero: *ret_off up to *ret_end. false: none. Memory that was never touched is passed over: reading
 * it would allocate it, or at least its page tables. pagemap is from core_pagemap(). */
bool core_mem_next(const struct mem_region *r, int pagemap, uint64_t off, uint64_t *ret_off,
	uint64_t *ret_end);
/* A descriptor to close, or -1 where there is none: then anonymous memory is read whole. */
int core_pagemap(void);

#endif
