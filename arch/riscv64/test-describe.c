/* SPDX-License-Identifier: Apache-2.0 */
/* riscv64's device tree, read back, with both interrupt controllers; and the ISA's names. */
#define RAM_BASE 0x80000000u
#include "arch/common/test_describe_fdt.h"

#include "arch/riscv64/facts.h"

static struct arch_facts facts_of(const char *const *ext, bool aia)
{
	struct arch_facts f = {
		.timebase = 10000000, .cbom_block = 64, .cboz_block = 64, .satp_mode = 9};

	for (; *ext; ext++) {
		int n = isa_number(*ext);

		cr_assert_geq(n, 0, "%s", *ext);
		f.isa[n / 64] |= UINT64_C(1) << (n % 64);
	}
	f.aia = aia;
	f.imsic_ids = 255;
	return f;
}

static const char *const usual[] = {
	"a", "c", "d", "f", "i", "m", "sstc", "zba", "zicfiss", "zicbom", NULL};

static void expect_cpus(const struct tree *t)
{
	int cpu = node_at(t, "/cpus/cpu@%llx", LL(3)), len;

	cr_assert_eq(cell(t, node_at(t, "/cpus"), "timebase-frequency", 0), 10000000);
	expect_text(t, cpu, "riscv,isa", "rv64imafdc_sstc_zicbom_zba_zicfiss");
	expect_text(t, cpu, "riscv,isa-base", "rv64i");
	expect_text(t, cpu, "mmu-type", "riscv,sv48");
	cr_assert_eq(cell(t, cpu, "riscv,cbom-block-size", 0), 64);
	cr_assert_geq(fdt_stringlist_search(t->fdt, cpu, "riscv,isa-extensions", "sstc"), 0);
	cr_assert_eq(fdt_stringlist_count(t->fdt, cpu, "riscv,isa-extensions"), 10);
	cr_assert(fdt_getprop(t->fdt, cpu, "riscv,isa-extensions", &len));
	cr_assert_not(fdt_getprop(t->fdt, 0, "interrupt-parent", NULL),
		"the harts' controllers would wait for a parent");
}

/* Parent i is hart i's supervisor external interrupt. */
static void expect_parents(const struct tree *t, int node)
{
	int intc = node_at(t, "/cpus/cpu@%llx/interrupt-controller", LL(2));

	cr_assert_eq(cell(t, node, "interrupts-extended", 4), fdt_get_phandle(t->fdt, intc));
	cr_assert_eq(cell(t, node, "interrupts-extended", 5), 9);
}

Test(describe, aia)
{
	struct arch_facts f = facts_of(usual, true);
	struct tree t;
	int aplic, imsic;

	tree_init(&t, 4, false, &f, "console=ttyS0");
	expect_common(&t);
	expect_cpus(&t);
	expect_intx(&t, 7, 0);
	aplic = node_at(&t, "/interrupt-controller@%llx", LL(t.plan.irqchip[0].base));
	imsic = node_at(&t, "/interrupt-controller@%llx", LL(t.plan.irqchip[1].base));
	expect_parents(&t, imsic);
	cr_assert_eq(cell(&t, aplic, "msi-parent", 0), fdt_get_phandle(t.fdt, imsic));
	cr_assert_eq(cell(&t, imsic, "riscv,num-ids", 0), 255);
	cr_assert_eq(cell(&t, imsic, "riscv,hart-index-bits", 0), 2);
	cr_assert_eq(cell(&t, node_at(&t, "/pcie@%llx", LL(t.plan.ecam.base)), "msi-parent", 0),
		fdt_get_phandle(t.fdt, imsic));
	tree_fini(&t);
}

Test(describe, plic)
{
	struct arch_facts f = facts_of(usual, false);
	struct tree t;
	int plic;

	tree_init(&t, 4, true, &f, "console=ttyS0");
	expect_common(&t);
	expect_cpus(&t);
	expect_intx(&t, 6, 0);
	plic = node_at(&t, "/interrupt-controller@%llx", LL(t.plan.irqchip[0].base));
	expect_text(&t, plic, "compatible", "sifive,plic-1.0.0");
	expect_parents(&t, plic);
	cr_assert_not(fdt_getprop(
		t.fdt, node_at(&t, "/pcie@%llx", LL(t.plan.ecam.base)), "msi-parent", NULL));
	tree_fini(&t);
}

/* Everything that has a name, on as many harts as a machine may have. */
Test(describe, many_cpus)
{
	struct arch_facts f = {.imsic_ids = 63, .isa = {UINT64_MAX, UINT64_MAX, UINT64_MAX}};
	struct tree t;
	int cpu;

	tree_init(&t, PLAN_MAX_VCPUS, false, &f, "console=ttyS0");
	cpu = node_at(&t, "/cpus/cpu@%llx", LL(PLAN_MAX_VCPUS - 1));
	cr_assert_geq(fdt_stringlist_search(t.fdt, cpu, "riscv,isa-extensions", "zicfiss"), 0);
	cr_assert(strstr(text(&t, cpu, "riscv,isa"), "_zicfiss"));
	tree_fini(&t);
}

Test(describe, too_long)
{
	struct arch_facts f = facts_of(usual, true);

	expect_too_long(&f);
}
