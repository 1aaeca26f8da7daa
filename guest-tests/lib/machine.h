/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine consists of, copied out of the firmware tables (FDT, or PVH + ACPI) before
 * anything else is touched, so that later code may overwrite the tables.
 */
#ifndef GUEST_MACHINE_H
#define GUEST_MACHINE_H

#include "chip.h"
#include "types.h"

#define MAX_CPUS      512
#define MAX_MMIO_DEVS 40

enum uart_kind { UART_NONE, UART_NS16550, UART_PL011 };
enum rtc_kind { RTC_NONE, RTC_CMOS, RTC_PL031, RTC_GOLDFISH };

struct uart {
	enum uart_kind kind;
	bool port;     /* `base` is an I/O port */
	uint8_t shift; /* register n is at base + (n << shift) */
	uint8_t width; /* bytes of one access */
	uint64_t base;
	struct irq irq;
};

/* A range of bus addresses that BARs may be given. cpu = what the CPU uses to reach it. */
struct pci_window {
	uint64_t cpu, pci, size;
};

struct machine {
	char cmdline[1024];
	uint64_t ram_base, ram_size; /* the bank that the image is in, or the first */
	uint64_t ram_end;	     /* of the highest bank */

	unsigned cpu_count;
	uint64_t cpu_hwid[MAX_CPUS]; /* APIC id, MPIDR, hart id; [0] is the boot CPU's */

	struct uart uart;

	bool pci_present;
	uint16_t pci_segment;
	uint64_t ecam, ecam_size;
	uint8_t bus_start, bus_end;
	struct pci_window win32, win64;

	unsigned mmio_count;
	struct mmio_dev {
		uint64_t base, size;
		struct irq irq;
	} mmio[MAX_MMIO_DEVS];

	enum rtc_kind rtc;
	uint64_t rtc_base;

	uint64_t test_exit; /* 0: none that the tables tell of */
};

extern struct machine machine;

/* The line that a PCI function's INTx pin (1..4) is wired to; not present if unknown. */
struct irq machine_intx(uint32_t bdf, unsigned pin);

#endif
