/* SPDX-License-Identifier: Apache-2.0 */
/* arm64's device tree, read back. */
#define RAM_BASE 0x40000000u
#include "arch/common/test_describe_fdt.h"

#include "arch/arm64/facts.h"

static const struct arch_facts facts = {.pmu = true, .its = true, .mpidr = {0, 1, 2, 0x100000003}};

Test(describe, tree)
{
	struct tree t;
	int gic, its, pci;

	tree_init(&t, 4, false, &facts, "console=ttyS0");
	expect_common(&t);
	expect_intx(&t, 10, 2 + 1);
	expect_text(&t, node_at(&t, "/psci"), "method", "hvc");
	expect_text(&t, node_at(&t, "/cpus/cpu@%llx", LL(0x100000003)), "enable-method", "psci");
	gic = node_at(&t, "/interrupt-controller@%llx", LL(t.plan.irqchip[0].base));
	its = fdt_first_subnode(t.fdt, gic);
	pci = node_at(&t, "/pcie@%llx", LL(t.plan.ecam.base));
	cr_assert_eq(two_cells(&t, gic, "reg", 4), t.plan.irqchip[1].base);
	cr_assert_eq(two_cells(&t, gic, "reg", 6), 4 * 128 * KIB);
	expect_text(&t, its, "compatible", "arm,gic-v3-its");
	cr_assert_eq(cell(&t, pci, "msi-map", 1), fdt_get_phandle(t.fdt, its));
	expect_text(&t, node_at(&t, "/pmu"), "compatible", "arm,armv8-pmuv3");
	/* A UART is a level, a virtio-mmio slot an edge. */
	cr_assert_eq(
		cell(&t, node_at(&t, "/serial@%llx", LL(t.plan.dev[0].base)), "interrupts", 2), 4);
	cr_assert_eq(
		cell(&t, node_at(&t, "/virtio_mmio@%llx", LL(t.plan.vmmio_base)), "interrupts", 2),
		1);
	tree_fini(&t);
}

Test(describe, without_its_and_pmu)
{
	static const struct arch_facts none = {.its = false};
	struct tree t;

	tree_init(&t, 1, false, &none, "console=ttyS0");
	cr_assert_lt(fdt_path_offset(t.fdt, "/pmu"), 0);
	cr_assert_not(fdt_getprop(
		t.fdt, node_at(&t, "/pcie@%llx", LL(t.plan.ecam.base)), "msi-map", NULL));
	tree_fini(&t);
}

Test(describe, many_cpus)
{
	struct arch_facts many = {.its = true};
	struct tree t;

	for (unsigned i = 0; i < PLAN_MAX_VCPUS; i++)
		many.mpidr[i] = (i & 15) | (i >> 4) << 8;
	tree_init(&t, PLAN_MAX_VCPUS, false, &many, "console=ttyS0");
	node_at(&t, "/cpus/cpu@%llx", LL(0xf0e));
	tree_fini(&t);
}

Test(describe, too_long)
{
	expect_too_long(&facts);
}
