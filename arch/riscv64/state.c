/* SPDX-License-Identifier: Apache-2.0 */
/* See state.h. */
#include "arch/riscv64/state.h"

#include <stdio.h>
#include "arch/riscv64/facts.h"
#include "vmm/base/num.h"

static const char *const core[] = {"pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0",
	"a1", "a2", "a3", "a4", "a5", "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9",
	"s10", "s11", "t3", "t4", "t5", "t6", "mode"};
static const char *const csr[] = {"sstatus", "sie", "stvec", "sscratch", "sepc", "scause", "stval",
	"sip", "satp", "scounteren", "senvcfg"};
static const char *const timer[] = {"frequency", "time", "timecmp", "timer_state"};

static const char *numbered(char buf[32], const char *prefix, unsigned n)
{
	snprintf(buf, 32, "%s%u", prefix, n);
	return buf;
}

static const char *id_name(uint64_t id, char buf[32])
{
	unsigned n = (unsigned)(id & 0xffff);

	switch (id & ~UINT64_C(0xffff)) {
	case REG_CORE(0):
		return n < ARRAY_SIZE(core) ? core[n] : NULL;
	case REG_CSR(0):
		return n < ARRAY_SIZE(csr) ? csr[n] : NULL;
	case REG_TIMER(0):
		return n < ARRAY_SIZE(timer) ? timer[n] : NULL;
	case REG_FP_D(0):
		return numbered(buf, "f", n);
	case REG_SBI(0):
		return numbered(buf, "sbi_ext_", n);
	case REG_ISA(0):
		snprintf(buf, 32, "isa_%s", isa_name(n) ? isa_name(n) : "?");
		return buf;
	default:
		return NULL;
	}
}

size_t arch_vcpu_state_size(void)
{
	return sizeof(struct arch_vcpu_state);
}

int arch_vcpu_state_visit(struct arch_vcpu_state *s, struct visitor *v)
{
	uint32_t version = 1;

	visit_begin(v, "riscv64", &version);
	onereg_visit(&s->regs, v, "regs", id_name);
	visit_u32(v, "mp_state", &s->mp_state);
	visit_end(v);
	return visit_status(v);
}

uint64_t arch_vcpu_state_pc(const struct arch_vcpu_state *s)
{
	return onereg_u64(&s->regs, REG_PC);
}

const char *arch_vcpu_state_mode(const struct arch_vcpu_state *s)
{
	return "riscv64";
}
