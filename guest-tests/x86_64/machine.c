/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine as PVH start info (Xen public/arch-x86/hvm/start_info.h), ACPI and the kernel
 * command line tell it. virtio-mmio devices come as Linux spells them:
 * virtio_mmio.device=SIZE@ADDRESS:IRQ.
 */
#include "machine.h"

#include "acpi.h"
#include "case.h"
#include "io.h"
#include "text.h"
#include "uart.h"
#include "x86.h"

struct machine machine;
const char chip_name[] = "x86_64";
extern uint64_t pvh_info;

struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

struct memmap_entry {
	uint64_t address, size;
	uint32_t type, reserved;
};

static void read_memory(const struct start_info *si)
{
	const struct memmap_entry *e = map_phys(si->memmap, si->memmap_entries * sizeof(*e));

	for (uint32_t i = 0; i < si->memmap_entries; i++, e++) {
		if (e->type != 1)
			continue;
		if (e->address <= 0x100000 && e->address + e->size > 0x100000) {
			machine.ram_base = e->address;
			machine.ram_size = e->size;
		}
		machine.ram_end = MAX(machine.ram_end, e->address + e->size);
	}
}

static void read_mmio_devices(void)
{
	const char *w;

	while (machine.mmio_count < MAX_MMIO_DEVS &&
		(w = word_value(machine.cmdline, "virtio_mmio.device", machine.mmio_count))) {
		struct mmio_dev *d = &machine.mmio[machine.mmio_count++];
		uint32_t gsi;

		d->size = parse_number(&w);
		w++; /* @ */
		d->base = parse_number(&w);
		w++; /* : */
		gsi = (uint32_t)parse_number(&w);
		d->irq = gsi < 16 ? acpi.isa[gsi] : (struct irq){true, gsi, true, false};
	}
}

/* The MADT may list the boot CPU anywhere: put it first. */
static void order_cpus(void)
{
	uint32_t self = cpuid(1).b >> 24;

	if (!machine.cpu_count)
		machine.cpu_count = 1;
	for (unsigned i = 1; i < machine.cpu_count; i++) {
		if (machine.cpu_hwid[i] == self) {
			machine.cpu_hwid[i] = machine.cpu_hwid[0];
			break;
		}
	}
	machine.cpu_hwid[0] = self;
}

void chip_probe(void)
{
	const struct start_info *si = (const void *)pvh_info;

	machine.uart = (struct uart){.kind = UART_NS16550, .port = true, .base = 0x3f8, .width = 1};
	uart_init(&machine.uart);
	x86_idt_init();
	CHECK(si->magic == 0x336ec578, "PVH start info has magic 0x%x", si->magic);
	if (si->cmdline) {
		const char *s = map_phys(si->cmdline, sizeof(machine.cmdline));
		size_t n = MIN(strlen(s), sizeof(machine.cmdline) - 1);

		memcpy(machine.cmdline, s, n);
	}
	read_memory(si);
	acpi_read(si->rsdp);
	order_cpus();
	read_mmio_devices();
	machine.uart.irq = acpi.isa[4];
	machine.rtc = RTC_CMOS;
	machine.rtc_base = 0x70;
	clock_init();
}

void console_putc(char c)
{
	if (c == '\n')
		uart_putc(&machine.uart, '\r');
	uart_putc(&machine.uart, c);
}

struct irq machine_intx(uint32_t bdf, unsigned pin)
{
	return pin ? acpi_find_intx(bdf >> 3 & 31, pin) : (struct irq){0};
}

bool port_read(uint16_t port, unsigned size, uint32_t *ret)
{
	*ret = size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
	return true;
}

bool port_write(uint16_t port, unsigned size, uint32_t value)
{
	if (size == 1)
		outb(port, (uint8_t)value);
	else if (size == 2)
		outw(port, (uint16_t)value);
	else
		outl(port, value);
	return true;
}

uint32_t kernel_exit(void)
{
	return cpuid(0).a;
}
