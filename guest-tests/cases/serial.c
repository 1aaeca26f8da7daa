/* SPDX-License-Identifier: Apache-2.0 */
/* The console port: characters come out, its scratch register and its loop-back work. */
#include "case.h"
#include "uart.h"

static void run(void)
{
	CHECK(machine.uart.kind != UART_NONE, "the tables name no serial port");
	note("chip %s, %u CPUs, RAM 0x%lx..0x%lx, clock %lu Hz\n", chip_name, machine.cpu_count,
		machine.ram_base, machine.ram_base + machine.ram_size, clock_hz());
	note("command line: %s\n", machine.cmdline);
	for (unsigned v = 0; v < 256; v += 0x33)
		CHECK(uart_scratch_works(&machine.uart, (uint8_t)v), "scratch lost 0x%x", v);
	for (unsigned v = 0; v < 256; v += 0x55)
		CHECK(uart_loopback_works(&machine.uart, (uint8_t)v), "loop-back lost 0x%x", v);
}

const struct guest_case this_case = {"serial", run, .no_irqs = true};
