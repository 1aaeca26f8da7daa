/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI tables of an x86_64 machine: hardware-reduced ACPI (ACPI 6.5 §4.1), so that the sleep
 * and reset registers and a GED are all the hardware there is. */
#ifndef ARCH_X86_64_ACPI_H
#define ARCH_X86_64_ACPI_H

#include <stddef.h>
#include <stdint.h>
#include "arch/boot.h"
#include "arch/x86_64/aml.h"

/* Registers of the power device, from its base (devices/platform/platform.h). */
enum {
	ACPI_SLEEP_CONTROL_REG = 0,
	ACPI_SLEEP_STATUS_REG = 1,
	ACPI_RESET_REG = 2,
	ACPI_GED_REG = 4
};

/* Writes all tables for guest-physical address gpa into buf. Returns the bytes used, or -ENOSPC.
 * The RSDP stands first. */
int acpi_build(uint8_t *buf, size_t cap, uint64_t gpa, const struct plan *p,
	const struct machine *machine);

/* The definition block's AML, without a table header. */
void acpi_dsdt_body(struct aml *a, const struct plan *p, const struct machine *machine);

const struct dev_desc *acpi_find_dev(const struct machine *machine, enum dev_kind kind);

#endif
