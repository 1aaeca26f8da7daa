/* SPDX-License-Identifier: Apache-2.0 */
/* Loads an ELF executable's segments at their physical addresses, everything in it being checked:
 * it is a stranger's file. 32-bit and 64-bit, little-endian. */
#ifndef ARCH_COMMON_ELF_H
#define ARCH_COMMON_ELF_H

#include <stdbool.h>
#include <stdint.h>
#include "vmm/base/err.h"
#include "vmm/base/mem.h"

struct elf_image {
	uint16_t machine;   /* e_machine */
	uint64_t entry;	    /* e_entry, as the file has it (often virtual) */
	uint64_t end;	    /* first byte past the highest segment, its bss included */
	bool has_pvh;	    /* always, once loaded */
	uint64_t pvh_entry; /* of the note XEN_ELFNOTE_PHYS32_ENTRY */
};

bool elf_is(const void *head, size_t len);

/* The chip an ELF file is for ("x86_64", "arm64", "riscv64", "another chip"). */
const char *elf_chip(uint16_t machine);

/* Without a PVH note there is no way to enter the file: it is refused before anything is loaded.
 * machines: the e_machine values that may be loaded, 0-terminated. Segments lie in RAM at or above
 * lowest. RAM is expected to be fresh: bss is not written, so that its pages stay untouched. fd is
 * borrowed. e names --kernel. -ENOEXEC, -EINVAL or a read error. */
int elf_load(struct guest_mem *m, int fd, const uint16_t *machines, uint64_t lowest,
	struct elf_image *ret, struct err *e);

#endif
