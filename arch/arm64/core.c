/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU in an ELF core. The registers are struct user_pt_regs of <asm/ptrace.h>. */
#include "arch/arm64/state.h"
#include "arch/common/core.h"

#define EM_AARCH64    183
#define PSTATE_SPSEL  1 /* of M[3:0]: the exception level's own stack pointer (Arm ARM D1.2.2) */
#define PSTATE_EL     0xc
#define PSTATE_NRW    0x10 /* AArch32 */
#define CORE_REG_SP   31
#define CORE_REG_PC   32
#define CORE_REG_CPSR 33

struct prstatus CORE_PRSTATUS(34);
_Static_assert(sizeof(struct prstatus) == 392, "arm64's struct elf_prstatus");

unsigned arch_core_machine(void)
{
	return EM_AARCH64;
}

int arch_core_notes(const struct arch_vcpu_state *s, unsigned index, uint8_t *buf, size_t cap)
{
	struct prstatus p = {.head = core_prstatus_head(index)};
	uint64_t pstate = onereg_u64(&s->regs, REG_PSTATE);
	bool own_sp = (pstate & PSTATE_SPSEL) && (pstate & PSTATE_EL) && !(pstate & PSTATE_NRW);

	for (unsigned i = 0; i < CORE_REG_SP; i++)
		p.reg[i] = onereg_u64(&s->regs, REG_X(i));
	p.reg[CORE_REG_SP] = onereg_u64(&s->regs, own_sp ? REG_SP_EL1 : REG_SP_EL0);
	p.reg[CORE_REG_PC] = onereg_u64(&s->regs, REG_PC);
	p.reg[CORE_REG_CPSR] = pstate;
	return core_note(buf, cap, "CORE", CORE_NT_PRSTATUS, &p, sizeof(p));
}
