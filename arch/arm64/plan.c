/* SPDX-License-Identifier: Apache-2.0 */
/* arm64's addresses, all of machine version 1. Devices lie below 1 GiB, RAM starts there.
 *
 *   0x0800_0000 GICD 64 KiB            0x0b00_0000 UART, RTC, test-exit, 64 KiB apart
 *   0x0808_0000 ITS 128 KiB            0x0b10_0000 virtio-mmio slots, 4 KiB apart
 *   0x080a_0000 GICR 128 KiB a CPU     0x1000_0000 PCI 32-bit window, 512 MiB
 *                                      0x3000_0000 ECAM, room for 256 buses
 *   0x4000_0000 RAM … then, from the next GiB and at least 4 GiB, the 64-bit PCI window
 *
 * One bus is enough for 32 slots, and every further bus costs the guest a scan. */
#include "arch/arch.h"

#include "arch/common/plan_fdt.h"
#include "vmm/base/num.h"

#define GICD_BASE  0x08000000u
#define ITS_BASE   0x08080000u
#define GICR_BASE  0x080a0000u
#define UART_BASE  0x0b000000u
#define RTC_BASE   0x0b010000u
#define TEST_BASE  0x0b020000u
#define VMMIO_BASE 0x0b100000u
#define MEM32_BASE 0x10000000u
#define MEM32_SIZE 0x20000000u
#define ECAM_BASE  0x30000000u
#define RAM_BASE   0x40000000u

#define SPI_UART  1
#define SPI_RTC	  2
#define SPI_INTX  4
#define SPI_VMMIO 16
#define SPI_COUNT 64 /* a multiple of 32: KVM counts them with the 32 private ones */

const char *arch_name(void)
{
	return "arm64";
}

static void place_devices(struct plan *p)
{
	p->dev[p->ndev++] = (struct plan_dev){.kind = DEV_UART,
		.model = "ns16550",
		.base = UART_BASE,
		.size = 8,
		.irq = SPI_UART,
		.has_irq = true,
		.level = true};
	p->dev[p->ndev++] = (struct plan_dev){.kind = DEV_RTC,
		.model = "pl031",
		.base = RTC_BASE,
		.size = 0x1000,
		.irq = SPI_RTC,
		.has_irq = true,
		.level = true};
	if (p->shape.test_exit)
		p->dev[p->ndev++] = (struct plan_dev){
			.kind = DEV_TEST_EXIT, .model = "test-exit", .base = TEST_BASE, .size = 4};
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
	p.irqchip[0] = (struct plan_range){GICD_BASE, 64 * KIB};
	p.irqchip[1] = (struct plan_range){GICR_BASE, 128 * KIB * shape->max_vcpus};
	p.irqchip[2] = (struct plan_range){ITS_BASE, 128 * KIB};
	p.ecam = (struct plan_range){ECAM_BASE, MIB};
	p.pci_mmio32 = (struct plan_range){MEM32_BASE, MEM32_SIZE};
	for (unsigned i = 0; i < 4; i++)
		p.intx_pin[i] = SPI_INTX + i;
	p.vmmio_base = VMMIO_BASE;
	p.vmmio_stride = 4 * KIB;
	p.vmmio_irq = SPI_VMMIO;
	p.npins = SPI_COUNT;
	*ret = p;
	return 0;
}
