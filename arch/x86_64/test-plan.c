/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>
#include "arch/arch.h"
#include "vmm/base/num.h"

static struct vm_shape shape(uint64_t ram)
{
	return (struct vm_shape){
		.machine_version = 1,
		.vcpus = 1,
		.max_vcpus = 1,
		.ram = ram,
		.page_size = 4096,
		.phys_bits = 40,
	};
}

static struct plan plan_of(struct vm_shape s)
{
	struct plan p;
	struct err e = {0};

	cr_assert_eq(arch_plan(&s, &p, &e), 0, "%s", e.text);
	return p;
}

static void refused(struct vm_shape s, enum err_kind kind, const char *flag)
{
	struct plan p;
	struct err e = {0};

	cr_assert_eq(arch_plan(&s, &p, &e), -EINVAL);
	cr_expect_eq(e.kind, kind, "%s", e.text);
	cr_expect(strstr(e.text, flag), "\"%s\" does not name %s", e.text, flag);
}

Test(x86_plan, small_ram_is_one_range)
{
	struct plan p = plan_of(shape(128 * MIB));

	cr_expect_eq(p.nram, 1);
	cr_expect_eq(p.ram[0].base, 0);
	cr_expect_eq(p.ram[0].size, 128 * MIB);
}

Test(x86_plan, ram_goes_around_the_hole_below_4_gib)
{
	struct plan p = plan_of(shape(8 * GIB));

	cr_expect_eq(p.nram, 2);
	cr_expect_eq(p.ram[0].size, 3 * GIB);
	cr_expect_eq(p.ram[1].base, 4 * GIB);
	cr_expect_eq(p.ram[1].size, 5 * GIB);
	cr_expect_geq(p.pci_mmio64.base, 9 * GIB);
}

static void add(struct plan_range *all, unsigned *n, struct plan_range r)
{
	if (!r.size)
		return;
	for (unsigned i = 0; i < *n; i++)
		cr_expect(r.base >= all[i].base + all[i].size || all[i].base >= r.base + r.size,
			"0x%llx overlaps 0x%llx", (unsigned long long)r.base,
			(unsigned long long)all[i].base);
	all[(*n)++] = r;
}

static void nothing_overlaps(uint64_t ram)
{
	struct vm_shape s = shape(ram);
	struct plan_range all[32];
	unsigned n = 0;

	s.virtio_mmio = 10;
	struct plan p = plan_of(s);
	for (unsigned i = 0; i < p.nram; i++)
		add(all, &n, p.ram[i]);
	for (unsigned i = 0; i < PLAN_IRQCHIP; i++)
		add(all, &n, p.irqchip[i]);
	add(all, &n, p.ecam);
	add(all, &n, p.pci_mmio32);
	add(all, &n, p.pci_mmio64);
	add(all, &n, (struct plan_range){p.vmmio_base, p.vmmio_stride * s.virtio_mmio});
	add(all, &n, (struct plan_range){p.tss_gpa, 0x4000});
	cr_expect_leq(p.pci_mmio64.base + p.pci_mmio64.size, 1ull << 40);
	cr_expect_eq(p.ecam.size, (p.pci_last_bus + 1) * MIB);
}

Test(x86_plan, nothing_overlaps)
{
	nothing_overlaps(16 * MIB);
	nothing_overlaps(3 * GIB);
	nothing_overlaps(3 * GIB + 4096);
	nothing_overlaps(1000 * GIB);
}

Test(x86_plan, pins_are_distinct)
{
	struct vm_shape s = shape(128 * MIB);
	unsigned used[64] = {0};

	s.virtio_mmio = 10;
	s.test_exit = true;
	struct plan p = plan_of(s);
	for (unsigned i = 0; i < p.ndev; i++)
		if (p.dev[i].has_irq)
			used[p.dev[i].irq]++;
	for (unsigned i = 0; i < s.virtio_mmio; i++)
		used[p.vmmio_irq + i]++;
	for (unsigned i = 0; i < 4; i++)
		used[p.intx_pin[i]]++;
	for (unsigned i = 0; i < 64; i++)
		cr_expect_leq(used[i], i < p.npins, "pin %u", i);
}

Test(x86_plan, test_exit_only_when_asked)
{
	struct vm_shape s = shape(128 * MIB);
	unsigned without = plan_of(s).ndev;

	s.test_exit = true;
	cr_expect_eq(plan_of(s).ndev, without + 1);
}

Test(x86_plan, bad_values_are_refused)
{
	struct vm_shape s = shape(128 * MIB);

	refused(shape(0), ERR_USAGE, "--memory");
	refused(shape(15 * MIB), ERR_USAGE, "--memory");
	refused(shape(128 * MIB + 1), ERR_USAGE, "--memory");
	refused(shape(UINT64_MAX & ~4095ull), ERR_USAGE, "--memory");
	refused(shape(1024 * GIB), ERR_USAGE, "--memory");
	s.vcpus = 0;
	refused(s, ERR_USAGE, "--cpus");
	s.vcpus = s.max_vcpus = PLAN_MAX_VCPUS + 1;
	refused(s, ERR_USAGE, "--cpus");
	s.vcpus = 4;
	s.max_vcpus = 2;
	refused(s, ERR_USAGE, "--cpus");
	s = shape(128 * MIB);
	s.machine_version = MACHINE_VERSION + 1;
	refused(s, ERR_USAGE, "--machine");
	s = shape(128 * MIB);
	s.virtio_mmio = PLAN_VIRTIO_MMIO;
	refused(s, ERR_USAGE, "virtio-mmio");
	s = shape(128 * MIB);
	s.phys_bits = 32;
	refused(s, ERR_HOST, "address");
}

Test(x86_plan, a_page_of_64_kib_counts)
{
	struct vm_shape s = shape(128 * MIB + 4096);

	s.page_size = 65536;
	refused(s, ERR_USAGE, "64K");
}
