/* SPDX-License-Identifier: Apache-2.0 */
/* arm64's notes of an ELF core, against the layout that <asm/ptrace.h> and <linux/elfcore.h> give.
 */
#include "arch/arm64/state.h"
#include "arch/common/test_core.h"

TestSuite(core, .init = core_setup, .fini = core_teardown);

static void reg(uint64_t id, uint64_t value)
{
	store_le(onereg_add(&state->regs, id), onereg_size(id), value);
}

static void fill(uint64_t pstate)
{
	for (unsigned i = 0; i < 31; i++)
		reg(REG_X(i), 0x1000 + i);
	reg(REG_SP_EL0, 0xe10);
	reg(REG_SP_EL1, 0xe11);
	reg(REG_PC, UINT64_C(0xffff800080012344));
	reg(REG_PSTATE, pstate);
	write_notes(2);
}

Test(core, kernel)
{
	const uint8_t *p;

	cr_assert_eq(arch_core_machine(), EM_AARCH64);
	fill(0x600003c5); /* EL1h */
	p = note(0, "CORE", NT_PRSTATUS, 392);
	cr_assert_eq(load_le(p + PR_PID, 4), 3);
	for (unsigned i = 0; i < 31; i++)
		expect_reg(p, i, 0x1000 + i);
	expect_reg(p, 31, 0xe11);
	expect_reg(p, 32, UINT64_C(0xffff800080012344));
	expect_reg(p, 33, 0x600003c5);
}

Test(core, user)
{
	fill(0); /* EL0t */
	expect_reg(note(0, "CORE", NT_PRSTATUS, 392), 31, 0xe10);
}

Test(core, kernel_on_the_user_stack_pointer)
{
	fill(4); /* EL1t */
	expect_reg(note(0, "CORE", NT_PRSTATUS, 392), 31, 0xe10);
}
