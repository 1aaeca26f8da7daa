/* SPDX-License-Identifier: Apache-2.0 */
/* riscv64's notes of an ELF core, against the layout that <asm/ptrace.h> and <linux/elfcore.h>
 * give.
 */
#include "arch/riscv64/state.h"
#include "arch/common/test_core.h"

TestSuite(core, .init = core_setup, .fini = core_teardown);

Test(core, registers)
{
	const uint8_t *p;

	cr_assert_eq(arch_core_machine(), EM_RISCV);
	for (unsigned i = 32; i-- > 0;) /* in any order */
		store_le(
			onereg_add(&state->regs, REG_CORE(i)), 8, UINT64_C(0xffffffff80000000) + i);
	write_notes(0);
	p = note(0, "CORE", NT_PRSTATUS, 376);
	cr_assert_eq(load_le(p + PR_PID, 4), 1);
	for (unsigned i = 0; i < 32; i++)
		expect_reg(p, i, UINT64_C(0xffffffff80000000) + i);
}
