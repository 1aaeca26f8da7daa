/* SPDX-License-Identifier: Apache-2.0 */
/* What a debugger wants to know of the Linux in a stopped machine, found by looking, as nobody
 * tells us: where it maps RAM, and the note in which it describes itself. All of it is the guest's
 * word: it shapes nothing but the core. */
#ifndef VMM_CORE_FIND_H
#define VMM_CORE_FIND_H

#include "vmm/core_elf.h"

/* How one vCPU translates: 0 and *ret_gpa, or -EFAULT. */
struct core_space {
	int (*translate)(void *arg, uint64_t gva, uint64_t *ret_gpa);
	void *arg;
};

/* Adds the linear mapping around gva, when gva lies in the upper half of the address space (where
 * kernels live) and is mapped to RAM, and maps does not have it yet. That of the kernel's image is
 * some MiB, that of all RAM as large as RAM, and both may have small gaps; a page of a stack is
 * mostly one of its own. */
void core_find_map(const struct guest_mem *m, const struct core_space *s, uint64_t gva,
	struct core_maps *maps);

/* Appends Linux's VMCOREINFO note, which lies ready in a page of its own since the guest booted
 * (kernel/vmcore_info.c), when there is one. *ret_stext gets its _stext, a virtual address in the
 * kernel's image, or 0. Returns 0, -ENOMEM or -ECANCELED. */
int core_find_vmcoreinfo(const struct guest_mem *m, struct core_notes *notes, uint64_t *ret_stext,
	const atomic_bool *cancel);

#endif
