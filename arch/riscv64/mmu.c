/* SPDX-License-Identifier: Apache-2.0 */
/* Address translation in software, for reports: RISC-V Privileged Architecture, "Sv39", "Sv48",
 * "Sv57" and Svnapot. Permissions are not looked at. */
#include "arch/riscv64/state.h"

#include <errno.h>

#define PTE_V	   1
#define PTE_LEAF   0xe /* R, W or X */
#define PTE_N	   (UINT64_C(1) << 63)
#define PPN_MASK   ((UINT64_C(1) << 44) - 1)
#define PAGE_BITS  12
#define NAPOT_BITS 4 /* 64 KiB, the only size there is */

static bool canonical(uint64_t va, unsigned bits)
{
	int64_t top = (int64_t)va >> (bits - 1);

	return top == 0 || top == -1;
}

int riscv64_walk(
	const struct guest_mem *m, const struct arch_vcpu_state *s, uint64_t gva, uint64_t *ret_gpa)
{
	uint64_t satp = onereg_u64(&s->regs, REG_SATP), mode = satp >> 60, pte;
	uint64_t table = (satp & PPN_MASK) << PAGE_BITS;
	unsigned levels = (unsigned)mode - 5; /* 8: Sv39 has 3 */

	if (!mode) {
		*ret_gpa = gva;
		return 0;
	}
	if (mode < 8 || mode > 10 || !canonical(gva, PAGE_BITS + 9 * levels))
		return -EFAULT;
	for (unsigned level = levels; level-- > 0; table = (pte >> 10 & PPN_MASK) << PAGE_BITS) {
		unsigned shift = PAGE_BITS + 9 * level;

		if (guest_mem_read(m, table + (gva >> shift & 511) * 8, &pte, 8) < 0 ||
			!(pte & PTE_V))
			return -EFAULT;
		if (!(pte & PTE_LEAF))
			continue;
		if (pte & PTE_N)
			shift += NAPOT_BITS;
		*ret_gpa = (pte >> 10 & PPN_MASK) << PAGE_BITS;
		*ret_gpa &= ~((UINT64_C(1) << shift) - 1);
		*ret_gpa |= gva & ((UINT64_C(1) << shift) - 1);
		return 0;
	}
	return -EFAULT;
}
