/* SPDX-License-Identifier: Apache-2.0 */
/* The machine as a device tree tells it, for the chips that boot with one. */
#ifndef GUEST_MACHINE_FDT_H
#define GUEST_MACHINE_FDT_H

#include "machine.h"

/* Finds /chosen's console and makes it usable; first, so that later failures can be told. */
void fdt_read_console(void);
/* The rest of `machine`. boot_hwid: MPIDR or hart id of the calling CPU. */
void fdt_read_machine(uint64_t boot_hwid);

/* Supplied by the chip: what a controller's interrupt specifier of `cells` cells means. */
struct irq chip_decode_irq(const uint8_t *spec, unsigned cells);

#endif
