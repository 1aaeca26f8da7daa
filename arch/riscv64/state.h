/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU's state, and the register numbers that this back-end names. The numbers are KVM's ONE_REG
 * ABI (api.rst §4.68, "RISC-V registers"), spelled here so that the pure half needs no KVM header.
 */
#ifndef ARCH_RISCV64_STATE_H
#define ARCH_RISCV64_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include "arch/arch.h"
#include "arch/common/onereg.h"

#define REG_RV(type, n) (UINT64_C(0x8030000000000000) | (uint64_t)(type) << 24 | (n))
#define REG_CONFIG(n)	REG_RV(1, n)
#define REG_CORE(n)	REG_RV(2, n)
#define REG_CSR(n)	REG_RV(3, n)
#define REG_TIMER(n)	REG_RV(4, n)
#define REG_FP_D(n)	REG_RV(6, n)
#define REG_ISA(n)	REG_RV(7, n) /* KVM's extension number n: 1 = the guest has it */
#define REG_SBI(n)	REG_RV(8, n)

#define REG_CFG_ISA  REG_CONFIG(0)
#define REG_CFG_CBOM REG_CONFIG(1)
#define REG_CFG_CBOZ REG_CONFIG(5)
#define REG_CFG_SATP REG_CONFIG(6)
#define REG_PC	     REG_CORE(0) /* in x0's place */
#define REG_X(n)     REG_CORE(n)
#define REG_MODE     REG_CORE(32)
#define REG_SATP     REG_CSR(8)
#define REG_TIMEBASE REG_TIMER(0)

struct arch_vcpu_state {
	struct onereg_list regs;
	uint32_t mp_state; /* KVM_MP_STATE_* */
};

/* Walks the translation tables that *s has (Privileged spec, Sv39/Sv48/Sv57). 0 or -EFAULT. */
int riscv64_walk(const struct guest_mem *m, const struct arch_vcpu_state *s, uint64_t gva,
	uint64_t *ret_gpa);

#endif
