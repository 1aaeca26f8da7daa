/* SPDX-License-Identifier: Apache-2.0 */
/* arm64's vCPU state and its table walk. */
#include "arch/arm64/state.h"
#define RAM_BASE 0x40000000u
#include "arch/common/test_state.h"

#define L0 (RAM_BASE + 0x100000)

TestSuite(state, .init = state_setup, .fini = state_teardown);

Test(state, visit)
{
	reg(REG_PC, 0x123456789abc);
	reg(REG_X(7), 7);
	reg(REG_SYS(3, 0, 0, 4, 0), 9);
	reg(REG_CORE | UINT64_C(0x0010000000000000) | 84, 5); /* a 128-bit register */
	state->mp_state = 3;
	state->serror_esr = 77;
	expect_round_trip("\"x7\"");
	cr_assert_eq(arch_vcpu_state_pc(state), 0x123456789abc);
	cr_assert_str_eq(arch_vcpu_state_mode(state), "arm64");
}

Test(state, list_is_bounded)
{
	while (onereg_add(&state->regs, UINT64_C(0x6080000000150000)))
		;
	cr_assert_leq(state->regs.used, ONEREG_DATA);
	while (onereg_add(&state->regs, UINT64_C(0x6000000000000000)))
		;
	cr_assert_leq(state->regs.n, ONEREG_MAX);
}

static void expect_gpa(uint64_t gva, uint64_t want)
{
	uint64_t gpa = 0;

	cr_assert_eq(arm64_walk(&mem, state, gva, &gpa), 0, "%#llx", (unsigned long long)gva);
	cr_assert_eq(gpa, want, "%#llx", (unsigned long long)gpa);
}

static void expect_fault(uint64_t gva)
{
	uint64_t gpa = 0;

	cr_assert_eq(arm64_walk(&mem, state, gva, &gpa), -EFAULT);
}

Test(state, mmu_off)
{
	expect_gpa(0x40001234, 0x40001234);
}

/* 4 KiB pages, 48 bits: four levels, a 2 MiB block and a page. */
Test(state, walk_4k)
{
	reg(REG_SCTLR_EL1, 1);
	reg(REG_TCR_EL1, 16 | 16 << 16 | UINT64_C(2) << 30);
	reg(REG_TTBR1_EL1, L0 | UINT64_C(5) << 48 | 1);
	reg(REG_TTBR0_EL1, L0 + 0x8000);
	entry(L0, 256, (L0 + 0x1000) | 3);
	entry(L0 + 0x1000, 0, (L0 + 0x2000) | 3);
	entry(L0 + 0x2000, 1, UINT64_C(0x0060000040400701)); /* block, with attributes */
	entry(L0 + 0x2000, 2, (L0 + 0x3000) | 3);
	entry(L0 + 0x3000, 3, 0x40abc703);
	entry(L0 + 0x3000, 4, 0x40abc701); /* not a page at the last level */
	expect_gpa(UINT64_C(0xffff800000212345), 0x40412345);
	expect_gpa(UINT64_C(0xffff800000403678), 0x40abc678);
	expect_gpa(UINT64_C(0xabff800000403678), 0x40abc678); /* with a tag */
	expect_fault(UINT64_C(0xffff800000404000));
	expect_fault(UINT64_C(0xffff800000000000));
	expect_fault(0x1000);
	expect_fault(UINT64_C(0x0080000000000000));
}

/* 4 KiB pages, 52 bits: five levels, and output addresses whose top lies in bits 9:8. */
Test(state, walk_lpa2)
{
	reg(REG_SCTLR_EL1, 1);
	reg(REG_TCR_EL1, UINT64_C(12) << 16 | UINT64_C(2) << 30 | UINT64_C(1) << 59);
	reg(REG_TTBR1_EL1, L0);
	entry(L0, 15, (L0 + 0x1000) | 3);
	entry(L0 + 0x1000, 511, (L0 + 0x2000) | 3);
	entry(L0 + 0x2000, 511, (L0 + 0x3000) | 3);
	entry(L0 + 0x3000, 511, (L0 + 0x4000) | 3);
	entry(L0 + 0x4000, 511, UINT64_C(0x0003000040000103));
	expect_gpa(UINT64_C(0xfffffffffffff010), UINT64_C(0x7000040000010));
}

/* 16 KiB pages, 47 bits: three levels. */
Test(state, walk_16k)
{
	reg(REG_SCTLR_EL1, 1);
	reg(REG_TCR_EL1, UINT64_C(17) << 16 | UINT64_C(1) << 30);
	reg(REG_TTBR1_EL1, L0);
	entry(L0, 2047, (L0 + 0x4000) | 3);
	entry(L0 + 0x4000, 2047, (L0 + 0x8000) | 3);
	entry(L0 + 0x8000, 2047, 0x40104003);
	expect_gpa(UINT64_C(0xffffffffffffc123), 0x40104123);
}

/* 64 KiB pages, 42 bits in the lower half: two levels. */
Test(state, walk_64k)
{
	reg(REG_SCTLR_EL1, 1);
	reg(REG_TCR_EL1, 22 | 1 << 14);
	reg(REG_TTBR0_EL1, L0);
	entry(L0, 1, (L0 + 0x10000) | 3);
	entry(L0 + 0x10000, 2, 0x40550003);
	expect_gpa(0x20021234, 0x40551234);
}
