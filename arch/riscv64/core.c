/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU in an ELF core. The registers are struct user_regs_struct of <asm/ptrace.h>: pc in x0's
 * place, then x1 to x31, which is KVM's order too. */
#include "arch/common/core.h"
#include "arch/riscv64/state.h"

#define EM_RISCV 243

struct prstatus CORE_PRSTATUS(32);
_Static_assert(sizeof(struct prstatus) == 376, "riscv64's struct elf_prstatus");

unsigned arch_core_machine(void)
{
	return EM_RISCV;
}

int arch_core_notes(const struct arch_vcpu_state *s, unsigned index, uint8_t *buf, size_t cap)
{
	struct prstatus p = {.head = core_prstatus_head(index)};

	for (unsigned i = 0; i < 32; i++)
		p.reg[i] = onereg_u64(&s->regs, REG_CORE(i));
	return core_note(buf, cap, "CORE", CORE_NT_PRSTATUS, &p, sizeof(p));
}
