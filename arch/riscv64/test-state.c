/* SPDX-License-Identifier: Apache-2.0 */
/* riscv64's vCPU state and its table walk. */
#include "arch/riscv64/state.h"
#define RAM_BASE 0x80000000u
#include "arch/common/test_state.h"

#define ROOT (RAM_BASE + 0x100000)
#define LEAF 0xcf /* valid, readable, writable, executable, accessed, dirty */

TestSuite(state, .init = state_setup, .fini = state_teardown);

static uint64_t pte(uint64_t gpa, uint64_t flags)
{
	return gpa >> 12 << 10 | flags;
}

static void expect_gpa(uint64_t gva, uint64_t want)
{
	uint64_t gpa = 0;

	cr_assert_eq(riscv64_walk(&mem, state, gva, &gpa), 0, "%#llx", (unsigned long long)gva);
	cr_assert_eq(gpa, want, "%#llx", (unsigned long long)gpa);
}

static void expect_fault(uint64_t gva)
{
	uint64_t gpa = 0;

	cr_assert_eq(riscv64_walk(&mem, state, gva, &gpa), -EFAULT);
}

Test(state, visit)
{
	reg(REG_PC, 0x80001234);
	reg(REG_X(10), 7);
	reg(REG_CSR(5), 13);
	reg(REG_FP_D(3), 1);
	state->mp_state = 1;
	expect_round_trip("\"a0\"");
	cr_assert_eq(arch_vcpu_state_pc(state), 0x80001234);
	cr_assert_str_eq(arch_vcpu_state_mode(state), "riscv64");
}

Test(state, bare)
{
	reg(REG_SATP, 0);
	expect_gpa(0x80001234, 0x80001234);
}

Test(state, sv39)
{
	reg(REG_SATP, UINT64_C(8) << 60 | UINT64_C(3) << 44 | ROOT >> 12);
	entry(ROOT, 511, pte(ROOT + 0x1000, 1));
	entry(ROOT + 0x1000, 0, pte(0x80200000, LEAF));
	entry(ROOT + 0x1000, 1, pte(ROOT + 0x2000, 1));
	entry(ROOT + 0x2000, 5, pte(0x80765000, LEAF | UINT64_C(2) << 61));
	entry(ROOT + 0x2000, 0x10, pte(0x80088000, LEAF | UINT64_C(1) << 63)); /* 64 KiB */
	entry(ROOT + 0x2000, 7, pte(ROOT, 1)); /* a table below the last level */
	expect_gpa(UINT64_C(0xffffffffc0012345), 0x80212345);
	expect_gpa(UINT64_C(0xffffffffc0205678), 0x80765678);
	expect_gpa(UINT64_C(0xffffffffc0210123), 0x80080123);
	expect_fault(UINT64_C(0xffffffffc0207000));
	expect_fault(UINT64_C(0xffffffffc0206000));
	expect_fault(UINT64_C(0x0000008000000000)); /* not canonical */
	expect_fault(0);
}

Test(state, sv48_and_sv57)
{
	reg(REG_SATP, UINT64_C(10) << 60 | ROOT >> 12);
	entry(ROOT, 511, pte(ROOT + 0x1000, 1));
	entry(ROOT + 0x1000, 511, pte(ROOT + 0x2000, 1));
	entry(ROOT + 0x2000, 511, pte(0x80000000, LEAF));
	expect_gpa(UINT64_C(0xffffffffc0abcdef), 0x80abcdef);
	state->regs.n = state->regs.used = 0;
	reg(REG_SATP, UINT64_C(9) << 60 | (ROOT + 0x1000) >> 12);
	expect_gpa(UINT64_C(0xffffffffc0abcdef), 0x80abcdef);
}

Test(state, tables_outside_ram)
{
	reg(REG_SATP, UINT64_C(8) << 60 | 0xfffff);
	expect_fault(0x1000);
	state->regs.n = state->regs.used = 0;
	reg(REG_SATP, UINT64_C(5) << 60 | ROOT >> 12);
	expect_fault(0x1000);
}
