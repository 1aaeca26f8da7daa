/* SPDX-License-Identifier: Apache-2.0 */
/* riscv64's addresses, all of machine version 1. Devices lie below 2 GiB, RAM starts there.
 *
 *   0x0c00_0000 PLIC 64 MiB, where the host has no AIA     0x1000_0000 UART, RTC, test-exit
 *   0x0d00_0000 APLIC of the supervisor level, with AIA    0x1010_0000 virtio-mmio, 4 KiB apart
 *   0x2800_0000 IMSIC, a page a hart                       0x3000_0000 ECAM, room for 256 buses
 *   0x4000_0000 PCI 32-bit window, 1 GiB                   0x8000_0000 RAM
 *
 * then, from the next GiB and at least 4 GiB, the 64-bit PCI window. Pins are source numbers;
 * source 0 does not exist on either controller. */
#include "arch/arch.h"

#include "arch/common/plan_fdt.h"
#include "vmm/base/num.h"

#define PLIC_BASE  0x0c000000u
#define PLIC_SIZE  0x04000000u /* RISC-V PLIC 1.0 §3 */
#define APLIC_BASE 0x0d000000u
#define APLIC_SIZE 0x4000u
#define UART_BASE  0x10000000u
#define RTC_BASE   0x10010000u
#define TEST_BASE  0x10020000u
#define VMMIO_BASE 0x10100000u
#define IMSIC_BASE 0x28000000u /* aligned to 256 pages: hart bits are address bits */
#define ECAM_BASE  0x30000000u
#define MEM32_BASE 0x40000000u
#define MEM32_SIZE 0x40000000u
#define RAM_BASE   0x80000000u

#define IRQ_UART  1
#define IRQ_RTC	  2
#define IRQ_INTX  4
#define IRQ_VMMIO 16
#define IRQ_COUNT 64

const char *arch_name(void)
{
	return "riscv64";
}

static void place_devices(struct plan *p)
{
	p->dev[p->ndev++] = (struct plan_dev){.kind = DEV_UART,
		.model = "ns16550",
		.base = UART_BASE,
		.size = 8,
		.irq = IRQ_UART,
		.has_irq = true,
		.level = true};
	p->dev[p->ndev++] = (struct plan_dev){.kind = DEV_RTC,
		.model = "goldfish",
		.base = RTC_BASE,
		.size = 0x1000,
		.irq = IRQ_RTC,
		.has_irq = true,
		.level = true};
	if (p->shape.test_exit)
		p->dev[p->ndev++] = (struct plan_dev){
			.kind = DEV_TEST_EXIT, .model = "test-exit", .base = TEST_BASE, .size = 4};
}

static void place_irqchip(struct plan *p)
{
	if (p->shape.user_irqchip) {
		p->irqchip[0] = (struct plan_range){PLIC_BASE, PLIC_SIZE};
		return;
	}
	p->irqchip[0] = (struct plan_range){APLIC_BASE, APLIC_SIZE};
	p->irqchip[1] = (struct plan_range){IMSIC_BASE, 4 * KIB * p->shape.max_vcpus};
}

int arch_plan(const struct vm_shape *shape, struct plan *ret, struct err *e)
{
	struct plan p = {0};
	int r = plan_fdt_ram(shape, RAM_BASE, &p, e);

	if (r < 0)
		return r;
	if (shape->virtio_mmio > PLAN_VIRTIO_MMIO)
		return err_set(e, ERR_USAGE, -EINVAL,
			"%u virtio-mmio devices: at most %d are allowed", shape->virtio_mmio,
			PLAN_VIRTIO_MMIO);
	place_devices(&p);
	place_irqchip(&p);
	p.ecam = (struct plan_range){ECAM_BASE, MIB};
	p.pci_mmio32 = (struct plan_range){MEM32_BASE, MEM32_SIZE};
	for (unsigned i = 0; i < 4; i++)
		p.intx_pin[i] = IRQ_INTX + i;
	p.vmmio_base = VMMIO_BASE;
	p.vmmio_stride = 4 * KIB;
	p.vmmio_irq = IRQ_VMMIO;
	p.npins = IRQ_COUNT;
	*ret = p;
	return 0;
}
