/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of an x86_64 machine. See layout.h for the drawing. virtio-mmio slots and INTx have pins
 * of their own: edge and level lines cannot share one. */
#include "arch/arch.h"
#include "arch/x86_64/layout.h"
#include "vmm/base/num.h"

#define RAM_MIN	      (16 * MIB)
#define MMIO64_MIN    (1 * GIB)
#define MMIO64_MAX    (64 * GIB)
#define PHYS_BITS_MIN 36
#define PHYS_BITS_MAX 48 /* what four levels of nested page tables reach */

const char *arch_name(void)
{
	return "x86_64";
}

static int check_ram(const struct vm_shape *s, struct err *e)
{
	unsigned bits = MIN(s->phys_bits, PHYS_BITS_MAX);
	uint64_t max = (1ull << bits) - (RAM_HIGH_GPA - RAM_LOW_END) - MMIO64_MIN;
	char got[24], lo[24], hi[24];

	if (s->ram < RAM_MIN || s->ram > max)
		return err_set(e, ERR_USAGE, -EINVAL, "--memory size=%s: allowed are %s to %s",
			num_format_size(s->ram, got), num_format_size(RAM_MIN, lo),
			num_format_size(align_down(max, GIB), hi));
	if (s->ram % s->page_size)
		return err_set(e, ERR_USAGE, -EINVAL, "--memory size=%s: must be a multiple of %s",
			num_format_size(s->ram, got), num_format_size(s->page_size, lo));
	return 0;
}

static int check_shape(const struct vm_shape *s, struct err *e)
{
	if (s->machine_version < 1 || s->machine_version > MACHINE_VERSION)
		return err_set(e, ERR_USAGE, -EINVAL, "--machine version=%u: allowed are 1 to %u",
			s->machine_version, MACHINE_VERSION);
	if (s->vcpus < 1 || s->vcpus > PLAN_MAX_VCPUS)
		return err_set(e, ERR_USAGE, -EINVAL, "--cpus boot=%u: allowed are 1 to %u",
			s->vcpus, PLAN_MAX_VCPUS);
	if (s->max_vcpus < s->vcpus || s->max_vcpus > PLAN_MAX_VCPUS)
		return err_set(e, ERR_USAGE, -EINVAL, "--cpus max=%u: allowed are %u to %u",
			s->max_vcpus, s->vcpus, PLAN_MAX_VCPUS);
	if (s->virtio_mmio > VMMIO_PINS)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%u devices on virtio-mmio: at most %u on x86_64, put the others on PCI",
			s->virtio_mmio, VMMIO_PINS);
	if (s->phys_bits < PHYS_BITS_MIN)
		return err_set(e, ERR_HOST, -EINVAL,
			"the host offers %u bits of guest-physical address, %u are needed",
			s->phys_bits, PHYS_BITS_MIN);
	return check_ram(s, e);
}

static void plan_ram(struct plan *p)
{
	uint64_t low = MIN(p->shape.ram, RAM_LOW_END), high = p->shape.ram - low;
	unsigned bits = MIN(p->shape.phys_bits, PHYS_BITS_MAX);

	p->ram[p->nram++] = (struct plan_range){0, low};
	if (high)
		p->ram[p->nram++] = (struct plan_range){RAM_HIGH_GPA, high};
	p->pci_mmio64.base = align_up(RAM_HIGH_GPA + high, GIB);
	p->pci_mmio64.size = MIN((1ull << bits) - p->pci_mmio64.base, MMIO64_MAX);
}

static void plan_devices(struct plan *p)
{
	static const struct plan_dev dev[] = {
		{.kind = DEV_UART,
			.model = "ns16550",
			.base = 0x3f8,
			.size = 8,
			.irq = COM1_PIN,
			.has_irq = true},
		{.kind = DEV_RTC, .model = "cmos", .base = 0x70, .size = 2},
		{.kind = DEV_I8042, .model = "i8042", .base = 0x64, .size = 1},
		{.kind = DEV_POWER,
			.model = "acpi-power",
			.base = 0x600,
			.size = 8,
			.irq = POWER_PIN,
			.has_irq = true},
		{.kind = DEV_TEST_EXIT, .model = "test-exit", .base = 0xf4, .size = 4},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(dev); i++) {
		if (dev[i].kind == DEV_TEST_EXIT && !p->shape.test_exit)
			continue;
		p->dev[p->ndev] = dev[i];
		p->dev[p->ndev++].space = SPACE_PIO;
	}
}

int arch_plan(const struct vm_shape *shape, struct plan *ret, struct err *e)
{
	int r = check_shape(shape, e);

	if (r < 0)
		return r;
	*ret = (struct plan){
		.shape = *shape,
		.irqchip = {{IOAPIC_GPA, 0x1000}, {LAPIC_GPA, 0x1000}},
		.ecam = {ECAM_GPA, ECAM_BUSES * MIB}, /* PCIe 6.0 §7.2.2: 1 MiB a bus */
		.pci_last_bus = ECAM_BUSES - 1,
		.pci_mmio32 = {PCI_MMIO32_GPA, PCI_MMIO32_SIZE},
		.pci_conf1 = true,
		.intx_pin = {INTX_PIN, INTX_PIN + 1, INTX_PIN + 2, INTX_PIN + 3},
		.vmmio_base = VMMIO_GPA,
		.vmmio_stride = VMMIO_STRIDE,
		.vmmio_irq = VMMIO_PIN,
		.npins = IOAPIC_PINS,
		.kernel_gpa = KERNEL_GPA,
		.fw_gpa = ACPI_GPA,
		.fw_size = ACPI_SIZE,
		.tss_gpa = TSS_GPA,
	};
	plan_ram(ret);
	plan_devices(ret);
	return 0;
}
