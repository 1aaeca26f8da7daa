/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of an ELF core, as Linux writes them on every chip: a header, the name and the descriptor,
 * each padded to 4 bytes (gABI, "Note Section"), and NT_PRSTATUS with the registers of one thread,
 * which here is a vCPU. */
#ifndef ARCH_COMMON_CORE_H
#define ARCH_COMMON_CORE_H

#include <stddef.h>
#include <stdint.h>

#define CORE_NT_PRSTATUS 1

/* struct elf_prstatus of <linux/elfcore.h> on 64-bit chips, up to pr_reg. */
struct core_prstatus_head {
	int32_t si_signo, si_code, si_errno;
	int16_t cursig, pad;
	uint64_t sigpend, sighold;
	int32_t pid, ppid, pgrp, sid;
	uint64_t utime[2], stime[2], cutime[2], cstime[2];
};
_Static_assert(sizeof(struct core_prstatus_head) == 112, "elf_prstatus before pr_reg");

/* The whole, with n registers of 64 bits. */
#define CORE_PRSTATUS(n)                                                                           \
	{                                                                                          \
		struct core_prstatus_head head;                                                    \
		uint64_t reg[n];                                                                   \
		int32_t fpvalid, pad;                                                              \
	}

/* The thread of vCPU `index`. Numbers start at 1, as 0 is no thread. */
static inline struct core_prstatus_head core_prstatus_head(unsigned index)
{
	return (struct core_prstatus_head){.pid = (int32_t)index + 1};
}

/* Writes one note to buf. Returns its length or -ENOSPC. */
int core_note(
	uint8_t *buf, size_t cap, const char *name, uint32_t type, const void *desc, size_t len);

#endif
