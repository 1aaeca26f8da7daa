/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses where nothing is: reads give all ones, writes do nothing, in every width, and the VMM
 * goes on. Tried just past RAM, at the end of the PCI window, and on x86-64 at an I/O port.
 */
#include "case.h"
#include "io.h"

static void try_address(uint64_t at)
{
	uint64_t a = (uint64_t)map_phys(at, 8);
	uint32_t r8, r16, r32;
	uint64_t r64;

	mmio_write8(a, 0x55);
	mmio_write16(a, 0x5555);
	mmio_write32(a, 0x55555555);
	mmio_write64(a, 0x5555555555555555ull);
	r8 = mmio_read8(a);
	r16 = mmio_read16(a);
	r32 = mmio_read32(a);
	r64 = mmio_read64(a);
	note("0x%lx: 0x%x 0x%x 0x%x 0x%lx\n", at, r8, r16, r32, r64);
	CHECK(r8 == 0xff && r16 == 0xffff && r32 == ~0u && r64 == ~0ull, "0x%lx is not all ones",
		at);
}

static void run(void)
{
	uint32_t v;

	/* 16 MiB past the highest RAM, so that firmware's own pieces at its end do not count */
	try_address(ALIGN_UP(machine.ram_end, 1ull << 20) + (16ull << 20));
	if (machine.win32.size)
		try_address(machine.win32.cpu + machine.win32.size - 4096);
	if (port_write(0x5678, 1, 0x55)) {
		for (unsigned size = 1; size <= 4; size *= 2) {
			port_read(0x5678, size, &v);
			CHECK(v == ~0u >> (32 - 8 * size), "port 0x5678 reads 0x%x", v);
		}
	}
}

const struct guest_case this_case = {"absent-address", run, .no_irqs = true};
