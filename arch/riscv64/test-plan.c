/* SPDX-License-Identifier: Apache-2.0 */
/* riscv64's plan. */
#define RAM_BASE 0x80000000u
#include "arch/common/test_plan_fdt.h"

Test(plan, irqchips)
{
	struct vm_shape s = shape_of(255, GIB, 41);
	struct plan p;
	struct err e = {0};

	cr_assert_eq(arch_plan(&s, &p, &e), 0);
	cr_assert_eq(p.irqchip[1].base % (256 * 4 * KIB), 0, "the hart's bits are address bits");
	cr_assert_eq(p.irqchip[1].size, 255 * 4 * KIB);
	s.user_irqchip = true;
	cr_assert_eq(arch_plan(&s, &p, &e), 0);
	cr_assert_eq(p.irqchip[1].size, 0);
	expect_sound(&p);
}
