/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU's state, and the register numbers that this back-end names. The numbers are KVM's ONE_REG
 * ABI (api.rst §4.68, "arm64 registers"), spelled here so that the pure half needs no KVM header.
 */
#ifndef ARCH_ARM64_STATE_H
#define ARCH_ARM64_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include "arch/arch.h"
#include "arch/common/onereg.h"

/* Core registers: 64-bit, numbered by 32-bit words in struct kvm_regs. */
#define REG_CORE     UINT64_C(0x6030000000100000)
#define REG_X(n)     (REG_CORE | (uint64_t)(n)*2)
#define REG_SP_EL0   (REG_CORE | 62)
#define REG_PC	     (REG_CORE | 64)
#define REG_PSTATE   (REG_CORE | 66)
#define REG_SP_EL1   (REG_CORE | 68)
#define REG_ELR_EL1  (REG_CORE | 70)
#define REG_SPSR_EL1 (REG_CORE | 72)

#define REG_SYS_BASE UINT64_C(0x6030000000130000)
#define REG_SYS(op0, op1, crn, crm, op2)                                                           \
	(REG_SYS_BASE | (op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
#define REG_MPIDR_EL1 REG_SYS(3, 0, 0, 0, 5)
#define REG_SCTLR_EL1 REG_SYS(3, 0, 1, 0, 0)
#define REG_TTBR0_EL1 REG_SYS(3, 0, 2, 0, 0)
#define REG_TTBR1_EL1 REG_SYS(3, 0, 2, 0, 1)
#define REG_TCR_EL1   REG_SYS(3, 0, 2, 0, 2)

struct arch_vcpu_state {
	struct onereg_list regs;
	uint32_t mp_state; /* KVM_MP_STATE_* */
	/* Pending asynchronous exceptions (KVM_GET_VCPU_EVENTS). */
	bool serror_pending, serror_has_esr, ext_dabt_pending;
	uint64_t serror_esr;
};

/* Walks stage 1 of the translation tables that *s has (Arm ARM D8.2). 0 or -EFAULT. */
int arm64_walk(const struct guest_mem *m, const struct arch_vcpu_state *s, uint64_t gva,
	uint64_t *ret_gpa);

#endif
