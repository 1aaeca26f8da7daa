/* SPDX-License-Identifier: Apache-2.0 */
/* arm64's plan. */
#define RAM_BASE 0x40000000u
#include "arch/common/test_plan_fdt.h"

/* KVM counts interrupts in steps of 32, from 64 to 1024 with the private ones. */
Test(plan, gic)
{
	struct vm_shape s = shape_of(255, GIB, 40);
	struct plan p;
	struct err e = {0};

	cr_assert_eq(arch_plan(&s, &p, &e), 0);
	cr_assert_eq(p.npins % 32, 0);
	cr_assert_eq(p.irqchip[1].size, 255 * 128 * KIB);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(p.irqchip[i].base % (64 * KIB), 0);
}
