/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads just what the guests need from ACPI 6.4 tables: CPUs and interrupt controllers (MADT),
 * ECAM (MCFG), reset and sleep registers (FADT). It does not interpret AML; what only AML
 * tells, the S5 sleep type, the PCI windows and the wiring of INTx, is found by their byte
 * patterns.
 */
#ifndef GUEST_ACPI_H
#define GUEST_ACPI_H

#include "machine.h"

struct acpi_gas { /* §5.2.3.2, a register in memory (space 0) or I/O (space 1) */
	uint8_t space, bit_width, bit_offset, access;
	uint64_t address;
} __attribute__((packed));

struct acpi {
	uint64_t lapic;
	struct acpi_ioapic {
		uint64_t address;
		uint32_t gsi_base;
	} ioapic[4];
	unsigned ioapic_count;
	struct irq isa[16]; /* after the source overrides */
	uint32_t flags;	    /* FADT */
	uint16_t pm1a_control, pm_timer;
	struct acpi_gas reset, sleep_control;
	uint8_t reset_value, s5_type;
	bool hw_reduced;
};

extern struct acpi acpi;

/* rsdp: physical address, or 0 for no ACPI. Fills `acpi` and the machine's CPUs, ECAM, windows. */
void acpi_read(uint64_t rsdp);

/* The line of a root bus slot's INTx pin (1..4), if the DSDT has a plain _PRT for it. */
struct irq acpi_find_intx(unsigned slot, unsigned pin);

void acpi_write_register(const struct acpi_gas *, uint32_t value);

#endif
