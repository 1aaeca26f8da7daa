/* SPDX-License-Identifier: Apache-2.0 */
/* See state.h. */
#include "arch/arm64/state.h"

#include <stdio.h>
#include "vmm/base/num.h"

static const struct {
	uint64_t id;
	const char *name;
} names[] = {
	{REG_SP_EL0, "sp_el0"},
	{REG_PC, "pc"},
	{REG_PSTATE, "pstate"},
	{REG_SP_EL1, "sp_el1"},
	{REG_ELR_EL1, "elr_el1"},
	{REG_SPSR_EL1, "spsr_el1"},
	{REG_SYS(3, 0, 0, 0, 0), "midr_el1"},
	{REG_MPIDR_EL1, "mpidr_el1"},
	{REG_SCTLR_EL1, "sctlr_el1"},
	{REG_TTBR0_EL1, "ttbr0_el1"},
	{REG_TTBR1_EL1, "ttbr1_el1"},
	{REG_TCR_EL1, "tcr_el1"},
	{REG_SYS(3, 0, 5, 2, 0), "esr_el1"},
	{REG_SYS(3, 0, 6, 0, 0), "far_el1"},
	{REG_SYS(3, 0, 10, 2, 0), "mair_el1"},
	{REG_SYS(3, 0, 12, 0, 0), "vbar_el1"},
	{REG_SYS(3, 0, 13, 0, 1), "contextidr_el1"},
	{REG_SYS(3, 0, 13, 0, 4), "tpidr_el1"},
	{REG_SYS(3, 3, 13, 0, 2), "tpidr_el0"},
	{REG_SYS(3, 3, 14, 3, 1), "cntv_ctl_el0"},
};

static const char *id_name(uint64_t id, char buf[32])
{
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].id == id)
			return names[i].name;
	if (id >= REG_X(0) && id <= REG_X(30)) {
		snprintf(buf, 32, "x%u", (unsigned)(id - REG_X(0)) / 2);
		return buf;
	}
	if ((id & ~UINT64_C(0xffff)) == REG_SYS_BASE) {
		snprintf(buf, 32, "s%u_%u_c%u_c%u_%u", (unsigned)(id >> 14 & 3),
			(unsigned)(id >> 11 & 7), (unsigned)(id >> 7 & 15),
			(unsigned)(id >> 3 & 15), (unsigned)(id & 7));
		return buf;
	}
	return NULL;
}

size_t arch_vcpu_state_size(void)
{
	return sizeof(struct arch_vcpu_state);
}

int arch_vcpu_state_visit(struct arch_vcpu_state *s, struct visitor *v)
{
	uint32_t version = 1;

	visit_begin(v, "arm64", &version);
	onereg_visit(&s->regs, v, "regs", id_name);
	visit_u32(v, "mp_state", &s->mp_state);
	visit_bool(v, "serror_pending", &s->serror_pending);
	visit_bool(v, "serror_has_esr", &s->serror_has_esr);
	visit_u64(v, "serror_esr", &s->serror_esr);
	visit_bool(v, "ext_dabt_pending", &s->ext_dabt_pending);
	visit_end(v);
	return visit_status(v);
}

uint64_t arch_vcpu_state_pc(const struct arch_vcpu_state *s)
{
	return onereg_u64(&s->regs, REG_PC);
}

const char *arch_vcpu_state_mode(const struct arch_vcpu_state *s)
{
	return "arm64";
}
