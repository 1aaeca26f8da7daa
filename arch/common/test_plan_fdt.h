/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of arch_plan() for the chips with a device tree. Included once by each chip's test-plan.c,
 * which defines RAM_BASE and what its controllers need. */
#include <criterion/criterion.h>
#include <string.h>
#include "arch/arch.h"
#include "vmm/base/num.h"

static struct vm_shape shape_of(unsigned vcpus, uint64_t ram, unsigned phys_bits)
{
	return (struct vm_shape){.machine_version = 1,
		.vcpus = vcpus,
		.max_vcpus = vcpus,
		.ram = ram,
		.page_size = 4096,
		.phys_bits = phys_bits,
		.test_exit = true};
}

/* Every range of the plan that the guest can address. */
static unsigned all_ranges(const struct plan *p, struct plan_range ret[32])
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->nram; i++)
		ret[n++] = p->ram[i];
	for (unsigned i = 0; i < p->ndev; i++)
		ret[n++] = (struct plan_range){p->dev[i].base, p->dev[i].size};
	for (unsigned i = 0; i < PLAN_IRQCHIP; i++)
		if (p->irqchip[i].size)
			ret[n++] = p->irqchip[i];
	ret[n++] = p->ecam;
	ret[n++] = p->pci_mmio32;
	if (p->pci_mmio64.size)
		ret[n++] = p->pci_mmio64;
	ret[n++] = (struct plan_range){p->vmmio_base, p->vmmio_stride * PLAN_VIRTIO_MMIO};
	return n;
}

static void expect_sound(const struct plan *p)
{
	struct plan_range r[32];
	unsigned n = all_ranges(p, r);

	for (unsigned i = 0; i < n; i++) {
		cr_assert(r[i].size);
		cr_assert_leq(r[i].base + (r[i].size - 1), (UINT64_C(1) << p->shape.phys_bits) - 1);
		for (unsigned j = 0; j < i; j++)
			cr_assert(r[i].base + r[i].size <= r[j].base ||
					  r[j].base + r[j].size <= r[i].base,
				"%#llx and %#llx overlap", (unsigned long long)r[i].base,
				(unsigned long long)r[j].base);
	}
	cr_assert_eq(p->fw_gpa % p->fw_size, 0);
	cr_assert_geq(p->fw_gpa, p->ram[0].base + 8 * MIB);
	cr_assert_leq(p->fw_gpa + p->fw_size, p->ram[0].base + p->ram[0].size);
	cr_assert_leq(p->vmmio_irq + PLAN_VIRTIO_MMIO, p->npins);
}

Test(plan, sizes)
{
	static const uint64_t ram[] = {16 * MIB, 100 * MIB, 256 * MIB, GIB, 3 * GIB, 64 * GIB};
	static const unsigned vcpus[] = {1, 4, 255};

	for (unsigned i = 0; i < ARRAY_SIZE(ram); i++)
		for (unsigned j = 0; j < ARRAY_SIZE(vcpus); j++) {
			struct vm_shape s = shape_of(vcpus[j], ram[i], 40);
			struct plan p;
			struct err e = {0};

			cr_assert_eq(arch_plan(&s, &p, &e), 0, "%s", e.text);
			cr_assert_eq(p.ram[0].base, RAM_BASE);
			cr_assert_eq(p.ram[0].size, ram[i]);
			cr_assert_geq(p.pci_mmio64.base, p.ram[0].base + p.ram[0].size);
			expect_sound(&p);
		}
}

Test(plan, few_address_bits)
{
	struct vm_shape s = shape_of(1, GIB, 32);
	struct plan p;
	struct err e = {0};

	cr_assert_eq(arch_plan(&s, &p, &e), 0, "%s", e.text);
	cr_assert_eq(p.pci_mmio64.size, 0);
	expect_sound(&p);
}

static void expect_refused(const struct vm_shape *s, const char *flag)
{
	struct plan p = {.ndev = 77};
	struct err e = {0};

	cr_assert_lt(arch_plan(s, &p, &e), 0);
	cr_assert_eq(p.ndev, 77, "written although it failed");
	cr_assert_eq(e.kind, ERR_USAGE);
	cr_assert(strstr(e.text, flag) == e.text, "%s", e.text);
}

Test(plan, refused)
{
	struct vm_shape s;

	s = shape_of(1, 8 * MIB, 40);
	expect_refused(&s, "--memory size=8M: at least 16M");
	s = shape_of(1, 64 * MIB + 4096, 40);
	s.page_size = 16384;
	expect_refused(&s, "--memory size=");
	s = shape_of(1, UINT64_C(1) << 40, 40);
	expect_refused(&s, "--memory size=1T: at most ");
	s = shape_of(1, UINT64_MAX & ~UINT64_C(4095), 40);
	expect_refused(&s, "--memory size=");
	s = shape_of(0, GIB, 40);
	expect_refused(&s, "--cpus boot=0");
	s = shape_of(256, GIB, 40);
	expect_refused(&s, "--cpus max=256");
	s = shape_of(4, GIB, 40);
	s.max_vcpus = 3;
	expect_refused(&s, "--cpus boot=4");
	s = shape_of(1, GIB, 40);
	s.machine_version = 2;
	expect_refused(&s, "--machine version=2");
}
