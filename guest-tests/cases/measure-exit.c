/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What leaving the guest costs: to the host kernel and back (exit-kernel), to a device in the VMM
 * by memory (exit-mmio) and on x86-64 by port (exit-pio), and to an address without a device
 * (exit-absent). clock-read is the cost of reading the clock itself, which each sample contains.
 */
#include "case.h"
#include "io.h"
#include "pci.h"
#include "uart.h"

#define ROUNDS 63

static uint64_t samples[ROUNDS];
static uint64_t mmio_address;

static void clock_read(void)
{
}

static void kernel(void)
{
	kernel_exit();
}

static void mmio(void)
{
	mmio_read32(mmio_address);
}

static void uart_mmio(void)
{
	uart_read_status(&machine.uart);
}

static void pio(void)
{
	uint32_t v;

	port_read(0x3ff, 1, &v); /* COM1's scratch register */
}

static void measure(const char *name, void (*access)(void))
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t from = clock_ticks();

		access();
		samples[i] = clock_ticks() - from;
	}
	metric_median(name, samples, ROUNDS);
}

static void run(void)
{
	struct pci_fn *f;
	uint32_t v;

	measure("clock-read", clock_read);
	measure("exit-kernel", kernel);
	if (machine.uart.kind != UART_NONE && !machine.uart.port) {
		measure("exit-mmio", uart_mmio);
	} else if (pci_functions(&f)) {
		mmio_address = machine.ecam;
		measure("exit-mmio", mmio);
	}
	if (port_read(0x3ff, 1, &v))
		measure("exit-pio", pio);
	mmio_address = ALIGN_UP(machine.ram_end, 1ull << 20) + (16ull << 20);
	mmio_address = (uint64_t)map_phys(mmio_address, 8);
	measure("exit-absent", mmio);
}

const struct guest_case this_case = {"measure-exit", run, .no_irqs = true};
