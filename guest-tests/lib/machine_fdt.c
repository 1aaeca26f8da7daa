/* SPDX-License-Identifier: Apache-2.0 */
/* See machine_fdt.h. Bindings: Devicetree Specification ch. 3, IEEE 1275 PCI for `ranges`. */
#include "machine_fdt.h"

#include "case.h"
#include "fdt.h"
#include "text.h"
#include "uart.h"

struct machine machine;

static struct {
	const uint8_t *map, *mask;
	uint32_t map_len, controller_cells, controller_address_cells;
} intx;

static struct irq first_interrupt(uint32_t node)
{
	uint32_t controller = fdt_interrupt_parent(node), len;
	const uint8_t *p = fdt_prop(node, "interrupts", &len);

	if (!p || controller == FDT_NONE)
		return (struct irq){0};
	return chip_decode_irq(p, MIN(fdt_cell(controller, "#interrupt-cells", 0, 1), len / 4));
}

void fdt_read_console(void)
{
	uint32_t chosen = fdt_path("/chosen"), node = FDT_NONE;
	const char *path = NULL;
	uint64_t size;

	if (chosen != FDT_NONE)
		path = (const char *)fdt_prop(chosen, "stdout-path", NULL);
	if (path)
		node = fdt_path(path);
	if (node == FDT_NONE)
		node = fdt_compatible(FDT_NONE, "ns16550a");
	if (node == FDT_NONE)
		node = fdt_compatible(FDT_NONE, "arm,pl011");
	if (node == FDT_NONE || !fdt_reg(node, 0, &machine.uart.base, &size))
		return;
	machine.uart.kind = fdt_is_compatible(node, "arm,pl011") ? UART_PL011 : UART_NS16550;
	machine.uart.shift = (uint8_t)fdt_cell(node, "reg-shift", 0, 0);
	machine.uart.width = (uint8_t)fdt_cell(node, "reg-io-width", 0, 1);
	uart_init(&machine.uart);
	machine.uart.irq = first_interrupt(node);
}

static void read_chosen(void)
{
	uint32_t chosen = fdt_path("/chosen"), len;
	const uint8_t *args = chosen == FDT_NONE ? NULL : fdt_prop(chosen, "bootargs", &len);

	if (args)
		memcpy(machine.cmdline, args, MIN(len, sizeof(machine.cmdline) - 1));
}

static void read_memory(void)
{
	extern char __image_start[];
	uint64_t image = (uint64_t)(uintptr_t)__image_start;

	for (uint32_t n = fdt_first_child(fdt_root()); n != FDT_NONE; n = fdt_next_sibling(n)) {
		const char *type = (const char *)fdt_prop(n, "device_type", NULL);
		uint64_t base, size;

		if (!type || strcmp(type, "memory"))
			continue;
		for (unsigned i = 0; fdt_reg(n, i, &base, &size); i++) {
			if (!machine.ram_size || (image >= base && image < base + size)) {
				machine.ram_base = base;
				machine.ram_size = size;
			}
			machine.ram_end = MAX(machine.ram_end, base + size);
		}
	}
}

static void read_cpus(uint64_t boot_hwid)
{
	uint32_t cpus = fdt_path("/cpus");

	machine.cpu_hwid[0] = boot_hwid;
	machine.cpu_count = 1;
	for (uint32_t n = fdt_first_child(cpus); n != FDT_NONE; n = fdt_next_sibling(n)) {
		const char *type = (const char *)fdt_prop(n, "device_type", NULL);
		uint64_t id, size;

		if (!type || strcmp(type, "cpu") || !fdt_reg(n, 0, &id, &size))
			continue;
		if (id != boot_hwid && machine.cpu_count < MAX_CPUS)
			machine.cpu_hwid[machine.cpu_count++] = id;
	}
}

/* Each entry: PCI address (3 cells), CPU address, size; the first cell's bits 25:24 are the space.
 */
static void read_pci_ranges(uint32_t node)
{
	uint32_t len, ac = fdt_cell(fdt_parent(node), "#address-cells", 0, 2);
	const uint8_t *p = fdt_prop(node, "ranges", &len);
	uint32_t step = (3 + ac + 2) * 4;

	for (uint32_t i = 0; p && i + step <= len; i += step) {
		uint32_t space = (uint32_t)fdt_number(p + i, 1) >> 24 & 3;
		struct pci_window w = {.pci = fdt_number(p + i + 4, 2),
			.cpu = fdt_number(p + i + 12, ac),
			.size = fdt_number(p + i + 12 + ac * 4, 2)};
		struct pci_window *to = w.pci >> 32 ? &machine.win64 : &machine.win32;

		if ((space == 2 || space == 3) && w.size > to->size)
			*to = w;
	}
}

static void read_pci(void)
{
	uint32_t node = fdt_compatible(FDT_NONE, "pci-host-ecam-generic");
	uint32_t controller;

	if (node == FDT_NONE || !fdt_reg(node, 0, &machine.ecam, &machine.ecam_size))
		return;
	machine.pci_present = true;
	machine.pci_segment = (uint16_t)fdt_cell(node, "linux,pci-domain", 0, 0);
	machine.bus_start = (uint8_t)fdt_cell(node, "bus-range", 0, 0);
	machine.bus_end = (uint8_t)fdt_cell(node, "bus-range", 1, 0xff);
	read_pci_ranges(node);
	intx.map = fdt_prop(node, "interrupt-map", &intx.map_len);
	intx.mask = fdt_prop(node, "interrupt-map-mask", NULL);
	if (!intx.map || !intx.mask || intx.map_len < 20)
		return;
	controller = fdt_by_phandle((uint32_t)fdt_number(intx.map + 16, 1));
	intx.controller_cells = fdt_cell(controller, "#interrupt-cells", 0, 1);
	intx.controller_address_cells = fdt_cell(controller, "#address-cells", 0, 0);
}

struct irq machine_intx(uint32_t bdf, unsigned pin)
{
	uint32_t step = (5 + intx.controller_address_cells + intx.controller_cells) * 4;

	for (uint32_t i = 0; intx.map && i + step <= intx.map_len; i += step) {
		const uint8_t *e = intx.map + i;
		uint32_t address_mask = (uint32_t)fdt_number(intx.mask, 1);
		uint32_t pin_mask = (uint32_t)fdt_number(intx.mask + 12, 1);

		if ((bdf << 8 & address_mask) == (fdt_number(e, 1) & address_mask) &&
			(pin & pin_mask) == fdt_number(e + 12, 1))
			return chip_decode_irq(
				e + (5 + intx.controller_address_cells) * 4, intx.controller_cells);
	}
	return (struct irq){0};
}

static void read_mmio_devices(void)
{
	uint32_t n = FDT_NONE;

	while ((n = fdt_compatible(n, "virtio,mmio")) != FDT_NONE &&
		machine.mmio_count < MAX_MMIO_DEVS) {
		struct mmio_dev *d = &machine.mmio[machine.mmio_count];

		if (!fdt_reg(n, 0, &d->base, &d->size))
			continue;
		d->irq = first_interrupt(n);
		machine.mmio_count++;
	}
}

static uint64_t base_of(const char *compatible)
{
	uint32_t n = fdt_compatible(FDT_NONE, compatible);
	uint64_t base, size;

	return n != FDT_NONE && fdt_reg(n, 0, &base, &size) ? base : 0;
}

void fdt_read_machine(uint64_t boot_hwid)
{
	read_chosen();
	read_memory();
	read_cpus(boot_hwid);
	read_pci();
	read_mmio_devices();
	machine.test_exit = base_of("polyvisor,test-exit");
	if ((machine.rtc_base = base_of("arm,pl031")))
		machine.rtc = RTC_PL031;
	else if ((machine.rtc_base = base_of("google,goldfish-rtc")))
		machine.rtc = RTC_GOLDFISH;
}

void console_putc(char c)
{
	if (c == '\n')
		uart_putc(&machine.uart, '\r');
	uart_putc(&machine.uart, c);
}
