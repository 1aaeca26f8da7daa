/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of a run: isa-debug-exit, ACPI S5, ACPI's reset register and the i8042's reset line. */
#include "acpi.h"
#include "chip.h"
#include "io.h"

#define SLP_EN BIT(5) /* ACPI 6.4 §4.8.3.7, in the sleep control register */

void test_exit(uint32_t value)
{
	outl(0xf4, value);
}

void power_off(void)
{
	if (acpi.sleep_control.address)
		acpi_write_register(&acpi.sleep_control, (uint32_t)acpi.s5_type << 2 | SLP_EN);
	if (acpi.pm1a_control && !acpi.hw_reduced)
		outw(acpi.pm1a_control, (uint16_t)(acpi.s5_type << 10 | BIT(13)));
	delay_us(10000);
}

void power_reset(void)
{
	if (acpi.reset.address) {
		acpi_write_register(&acpi.reset, acpi.reset_value);
		delay_us(10000);
	}
	power_reset_otherwise();
}

bool power_reset_otherwise(void)
{
	outb(0x64, 0xfe); /* i8042: pulse the reset line */
	delay_us(50000);
	return true;
}

_Noreturn void halt_forever(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}
