/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI through ECAM: functions with sane headers, BARs that keep what is written, capability lists
 * that end, all-ones where nothing is; and on x86-64 the same through ports 0xcf8 and 0xcfc.
 */
#include "case.h"
#include "pci.h"

static void check_bars(const struct pci_fn *f)
{
	for (unsigned i = 0; i < 6; i++) {
		const struct pci_bar *b = &f->bar[i];
		uint32_t back = pci_read(f->bdf, PCI_BAR0 + 4 * i, 4);

		if (!b->size || b->io)
			continue;
		note("%x BAR %u: 0x%lx, 0x%lx bytes\n", f->bdf, i, b->address, b->size);
		CHECK(!(b->size & (b->size - 1)), "BAR %u of %x has size 0x%lx", i, f->bdf,
			b->size);
		CHECK((back & ~15u) == (uint32_t)(b->address - machine.win32.cpu +
						  machine.win32.pci) ||
				b->address >> 32,
			"BAR %u of %x reads 0x%x", i, f->bdf, back);
	}
}

static void check_ports(const struct pci_fn *f)
{
	uint32_t v;

	if (!port_write(0xcf8, 4, 0x80000000u | f->bdf << 8))
		return;
	port_read(0xcfc, 4, &v);
	CHECK(v == ((uint32_t)f->device << 16 | f->vendor), "ports show 0x%x for %x", v, f->bdf);
}

static void run(void)
{
	struct pci_fn *f;
	unsigned n = pci_functions(&f), empty = 0;

	if (!machine.pci_present)
		case_skip("the tables name no ECAM");
	note("ECAM 0x%lx, segment %u, buses %u to %u, windows 0x%lx+0x%lx and 0x%lx+0x%lx\n",
		machine.ecam, machine.pci_segment, machine.bus_start, machine.bus_end,
		machine.win32.cpu, machine.win32.size, machine.win64.cpu, machine.win64.size);
	CHECK(n, "no function on the root bus");
	for (unsigned i = 0; i < n; i++) {
		note("%x: %x:%x class %x\n", f[i].bdf, f[i].vendor, f[i].device, f[i].class_);
		CHECK(f[i].header <= 1, "%x has header type %u", f[i].bdf, f[i].header);
		check_bars(&f[i]);
		pci_capability(&f[i], 0, 0xff);
		check_ports(&f[i]);
		pci_write(f[i].bdf, 0, 4, 0x12345678); /* read-only */
		CHECK(pci_read(f[i].bdf, 0, 2) == f[i].vendor, "vendor id of %x changed", f[i].bdf);
	}
	CHECK((f[0].class_ >> 8) == 0x0600, "00:00.0 is no host bridge but class %x", f[0].class_);
	for (uint32_t dev = 1; dev < 32 && !empty; dev++) {
		uint32_t bdf = (uint32_t)machine.bus_start << 8 | dev << 3;

		if (pci_read(bdf, 0, 4) != ~0u)
			continue;
		empty++;
		pci_write(bdf, PCI_COMMAND, 2, 0x7);
		CHECK(pci_read(bdf, 0, 2) == 0xffff && pci_read(bdf, 0x3c, 1) == 0xff,
			"%x is absent but not all ones", bdf);
	}
}

const struct guest_case this_case = {"pci-scan", run, .no_irqs = true};
