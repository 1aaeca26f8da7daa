/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes that every chip with a device tree has. See fdt.h. */
#include "arch/common/fdt.h"

#include <stdio.h>
#include <string.h>
#include "vmm/base/num.h"

#define PCI_SPACE_MEM32 0x02000000u /* IEEE 1275 PCI binding §2.2.1.1: ss = 10 */
#define PCI_SPACE_MEM64 0x43000000u /* ss = 11, prefetchable */

void fdt_root_props(struct fdt_out *o, const char *compatible)
{
	fdt_put_cells(o, "#address-cells", 2);
	fdt_put_cells(o, "#size-cells", 2);
	fdt_put_str(o, "compatible", compatible);
	fdt_put_str(o, "model", compatible);
	fdt_put_empty(o, "dma-coherent"); /* devices read and write RAM through the host's caches */
}

static const struct dev_desc *find_dev(const struct machine *machine, enum dev_kind kind)
{
	for (unsigned i = 0; i < machine->ndev; i++)
		if (machine->dev[i].kind == kind)
			return &machine->dev[i];
	return NULL;
}

void fdt_chosen(struct fdt_out *o, const struct machine *machine, const struct boot *boot)
{
	const struct dev_desc *uart = find_dev(machine, DEV_UART);

	fdt_open_node(o, "chosen");
	fdt_put_str(o, "bootargs", machine->cmdline ? machine->cmdline : "");
	if (uart) {
		char path[40];

		snprintf(path, sizeof(path), "/serial@%llx", (unsigned long long)uart->base);
		fdt_put_str(o, "stdout-path", path);
	}
	if (boot->initrd_size) {
		fdt_put_u64(o, "linux,initrd-start", boot->initrd);
		fdt_put_u64(o, "linux,initrd-end", boot->initrd + boot->initrd_size);
	}
	/* Two secrets that the guest uses at different times, so not the same bytes. */
	fdt_put_bytes(o, "kaslr-seed", machine->rng_seed, 8);
	fdt_put_bytes(o, "rng-seed", machine->rng_seed + 8, sizeof(machine->rng_seed) - 8);
	fdt_close_node(o);
}

void fdt_memory(struct fdt_out *o, const struct plan *p)
{
	for (unsigned i = 0; i < p->nram; i++) {
		fdt_open_node(o, "memory@%llx", (unsigned long long)p->ram[i].base);
		fdt_put_str(o, "device_type", "memory");
		fdt_put_reg(o, &p->ram[i], 1);
		fdt_close_node(o);
	}
}

static void put_interrupt(struct fdt_out *o, const struct dev_desc *d)
{
	uint32_t cells[FDT_IRQ_CELLS];

	if (!d->has_irq)
		return;
	o->irq_spec(d->irq, d->level, cells);
	/* Not in the root: riscv64's per-hart controllers must not inherit it. */
	fdt_put_cells(o, "interrupt-parent", o->irq_phandle);
	fdt_put_cells_n(o, "interrupts", cells, o->irq_cells);
}

static void open_dev(struct fdt_out *o, const char *name, const struct dev_desc *d)
{
	fdt_open_node(o, "%s@%llx", name, (unsigned long long)d->base);
	fdt_put_reg(o, &(struct plan_range){d->base, d->size}, 1);
	put_interrupt(o, d);
}

static void uart(struct fdt_out *o, const struct plan *p, const struct dev_desc *d)
{
	uint32_t shift = 0;

	for (unsigned i = 0; i < p->ndev; i++)
		if (p->dev[i].base == d->base)
			shift = p->dev[i].reg_shift;
	open_dev(o, "serial", d);
	fdt_put_str(o, "compatible", "ns16550a");
	fdt_put_cells(o, "reg-shift", shift);
	fdt_put_cells(o, "reg-io-width", 1);
	fdt_put_cells(o, "clock-frequency", 1843200);
	fdt_close_node(o);
}

/* The PL031 is an ARM PrimeCell: it asks for a bus clock by this name. */
static void pl031(struct fdt_out *o, const struct dev_desc *d)
{
	fdt_open_node(o, "apb-pclk");
	fdt_put_str(o, "compatible", "fixed-clock");
	fdt_put_cells(o, "#clock-cells", 0);
	fdt_put_cells(o, "clock-frequency", 24000000);
	fdt_put_str(o, "clock-output-names", "clk24mhz");
	fdt_put_cells(o, "phandle", FDT_PHANDLE_CLOCK);
	fdt_close_node(o);

	open_dev(o, "rtc", d);
	fdt_put_strs(o, "compatible", "arm,pl031\0arm,primecell");
	fdt_put_cells(o, "clocks", FDT_PHANDLE_CLOCK);
	fdt_put_str(o, "clock-names", "apb_pclk");
	fdt_close_node(o);
}

static void rtc(struct fdt_out *o, const struct plan *p, const struct dev_desc *d)
{
	for (unsigned i = 0; i < p->ndev; i++)
		if (p->dev[i].base == d->base && !strcmp(p->dev[i].model, "pl031")) {
			pl031(o, d);
			return;
		}
	open_dev(o, "rtc", d);
	fdt_put_str(o, "compatible", "google,goldfish-rtc");
	fdt_close_node(o);
}

static void plain(
	struct fdt_out *o, const char *name, const char *compatible, const struct dev_desc *d)
{
	open_dev(o, name, d);
	fdt_put_str(o, "compatible", compatible);
	fdt_close_node(o);
}

/* interrupt-map: four slots repeat, INTA..INTD rotate by slot (PCI-to-PCI Bridge 1.2 table 9-1). */
static void pci_interrupts(struct fdt_out *o, const struct plan *p)
{
	unsigned entry = 3 + 1 + 1 + o->irq_address_cells + o->irq_cells;
	uint32_t map[16 * (3 + 1 + 1 + 2 + FDT_IRQ_CELLS)] = {0}, *c = map;

	for (unsigned slot = 0; slot < 4; slot++)
		for (unsigned pin = 0; pin < 4; pin++, c += entry) {
			c[0] = slot << 11;
			c[3] = pin + 1;
			c[4] = o->irq_phandle;
			o->irq_spec(
				p->intx_pin[(slot + pin) % 4], true, c + 5 + o->irq_address_cells);
		}
	fdt_put_cells(o, "#interrupt-cells", 1);
	fdt_put_cells(o, "interrupt-map-mask", 3 << 11, 0, 0, 7);
	fdt_put_cells_n(o, "interrupt-map", map, 16 * entry);
}

static unsigned pci_range(uint32_t *c, uint32_t space, const struct plan_range *r)
{
	if (!r->size)
		return 0;
	c[0] = space;
	c[1] = c[3] = (uint32_t)(r->base >> 32);
	c[2] = c[4] = (uint32_t)r->base;
	c[5] = (uint32_t)(r->size >> 32);
	c[6] = (uint32_t)r->size;
	return 7;
}

static void pci(struct fdt_out *o, const struct plan *p, bool has_msi, bool msi_devid, uint32_t msi)
{
	uint32_t ranges[14];
	unsigned n;

	fdt_open_node(o, "pcie@%llx", (unsigned long long)p->ecam.base);
	fdt_put_str(o, "compatible", "pci-host-ecam-generic");
	fdt_put_str(o, "device_type", "pci");
	fdt_put_cells(o, "#address-cells", 3);
	fdt_put_cells(o, "#size-cells", 2);
	fdt_put_cells(o, "linux,pci-domain", 0);
	fdt_put_cells(o, "bus-range", 0, p->pci_last_bus);
	fdt_put_reg(o, &p->ecam, 1);
	n = pci_range(ranges, PCI_SPACE_MEM32, &p->pci_mmio32);
	n += pci_range(ranges + n, PCI_SPACE_MEM64, &p->pci_mmio64);
	fdt_put_cells_n(o, "ranges", ranges, n);
	pci_interrupts(o, p);
	/* The DeviceID is the requester id of the function. */
	if (has_msi && msi_devid)
		fdt_put_cells(o, "msi-map", 0, msi, 0, 0x10000);
	else if (has_msi)
		fdt_put_cells(o, "msi-parent", msi);
	fdt_close_node(o);
}

void fdt_devices(struct fdt_out *o, const struct plan *p, const struct machine *machine,
	bool has_msi, bool msi_devid, uint32_t msi_phandle)
{
	for (unsigned i = 0; i < machine->ndev; i++) {
		const struct dev_desc *d = &machine->dev[i];

		switch (d->kind) {
		case DEV_UART:
			uart(o, p, d);
			break;
		case DEV_RTC:
			rtc(o, p, d);
			break;
		case DEV_TEST_EXIT:
			plain(o, "test-exit", "polyvisor,test-exit", d);
			break;
		case DEV_VIRTIO_MMIO:
			plain(o, "virtio_mmio", "virtio,mmio", d);
			break;
		case DEV_PCI_ROOT:
			pci(o, p, has_msi, msi_devid, msi_phandle);
			break;
		case DEV_POWER: /* x86_64 only */
		case DEV_I8042:
			break;
		}
	}
}
