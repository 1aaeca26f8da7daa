/* SPDX-License-Identifier: Apache-2.0 */
/* What a device tells the firmware tables about itself: pure data. The arch turns a list of these
 * into FDT nodes or ACPI objects; devices know neither. */
#ifndef DEVICES_DESC_H
#define DEVICES_DESC_H

#include <stdbool.h>
#include <stdint.h>

enum dev_kind {
	DEV_UART, /* ns16550 */
	DEV_RTC,  /* cmos, pl031 or goldfish, by arch */
	DEV_TEST_EXIT,
	DEV_POWER, /* x86: sleep/reset registers and GED; FDT chips need none */
	DEV_I8042, /* x86 only: reset by port 0x64 */
	DEV_VIRTIO_MMIO,
	DEV_PCI_ROOT, /* addresses are the plan's */
};

enum dev_space { SPACE_MMIO, SPACE_PIO };

struct dev_desc {
	enum dev_kind kind;
	enum dev_space space;
	uint64_t base, size;
	uint32_t irq; /* wired pin, valid when has_irq */
	bool has_irq, level;
	const char *id; /* the device's id, borrowed */
};

#endif
