/* SPDX-License-Identifier: Apache-2.0 */
/* Platform devices by constructor. space says whether base is a port or a physical address. */
#ifndef DEVICES_PLATFORM_PLATFORM_H
#define DEVICES_PLATFORM_PLATFORM_H

#include "devices/backend/chr.h"
#include "devices/device.h"

struct platform_at {
	enum dev_space space;
	uint64_t base;
	uint32_t irq;	   /* wired pin */
	uint8_t reg_shift; /* ns16550: registers are 1 << reg_shift bytes apart */
};

/* 16550A UART (8 registers). chr is borrowed: it outlives the device. Level interrupt on FDT chips,
 * edge on x86 as ISA has it: t says which. */
int ns16550_new(struct dev_host *h, const char *id, const struct platform_at *at,
	enum irq_trigger t, struct chr *chr, struct device **ret_device);
/* Wall clocks, without alarm interrupts where irq is not used by Linux. */
int rtc_cmos_new(struct dev_host *h, const char *id, struct device **ret_device); /* 0x70 */
int rtc_pl031_new(struct dev_host *h, const char *id, const struct platform_at *at,
	struct device **ret_device);
int rtc_goldfish_new(struct dev_host *h, const char *id, const struct platform_at *at,
	struct device **ret_device);
/* x86: QEMU's isa-debug-exit (one port, 1..4 bytes); FDT chips: a 32-bit register. Either ends the
 * VM with status (value << 1) | 1, of which the process keeps the low byte. */
int test_exit_new(struct dev_host *h, const char *id, const struct platform_at *at,
	struct device **ret_device);
/* ACPI hardware-reduced sleep control/status and reset registers (ACPI 6.5 §4.8.3.7), and the GED's
 * selector register for the power button: base+0 sleep control, +1 sleep status, +2 reset,
 * +4 GED event bits (read clears). */
int acpi_power_new(struct dev_host *h, const char *id, const struct platform_at *at,
	struct device **ret_device);
void acpi_power_button(struct device *d); /* control */
/* i8042: only what reboot needs; port 0x64 command 0xfe resets, status reads empty. */
int i8042_new(struct dev_host *h, const char *id, struct device **ret_device);

#endif
