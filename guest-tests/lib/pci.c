/* SPDX-License-Identifier: Apache-2.0 */
/* PCI Local Bus 3.0 ch. 6, PCI Express ECAM. Bridges are listed but not crossed. */
#include "pci.h"

#include "case.h"
#include "io.h"

#define MAX_FUNCTIONS 40

static struct pci_fn functions[MAX_FUNCTIONS];
static unsigned function_count;
static bool scanned;
static uint64_t next32, next64;

static uint64_t config_address(uint32_t bdf, unsigned offset)
{
	return machine.ecam + ((uint64_t)(bdf - ((uint32_t)machine.bus_start << 8)) << 12) + offset;
}

uint32_t pci_read(uint32_t bdf, unsigned offset, unsigned size)
{
	uint64_t a = config_address(bdf, offset);

	return size == 1 ? mmio_read8(a) : size == 2 ? mmio_read16(a) : mmio_read32(a);
}

void pci_write(uint32_t bdf, unsigned offset, unsigned size, uint32_t v)
{
	uint64_t a = config_address(bdf, offset);

	if (size == 1)
		mmio_write8(a, (uint8_t)v);
	else if (size == 2)
		mmio_write16(a, (uint16_t)v);
	else
		mmio_write32(a, v);
}

/* Size of BAR i (§6.2.5.1): ones are written, the zeros that come back are the decoded bits. */
static unsigned read_bar(struct pci_fn *f, unsigned i)
{
	struct pci_bar *bar = &f->bar[i];
	unsigned at = PCI_BAR0 + 4 * i;
	uint32_t lo = pci_read(f->bdf, at, 4), hi = 0;
	uint64_t mask;

	bar->io = lo & 1;
	bar->wide = !bar->io && (lo & 6) == 4;
	pci_write(f->bdf, at, 4, ~0u);
	mask = pci_read(f->bdf, at, 4) & (bar->io ? ~3u : ~15u);
	pci_write(f->bdf, at, 4, lo);
	if (bar->wide) {
		hi = pci_read(f->bdf, at + 4, 4);
		pci_write(f->bdf, at + 4, 4, ~0u);
		mask |= (uint64_t)pci_read(f->bdf, at + 4, 4) << 32;
		pci_write(f->bdf, at + 4, 4, hi);
	} else if (mask) {
		mask |= 0xffffffffull << 32;
	}
	if (mask)
		bar->size = ~mask + 1;
	bar->address = (lo & (bar->io ? ~3u : ~15u)) | (uint64_t)hi << 32;
	return bar->wide ? 2 : 1;
}

static void reserve(const struct pci_bar *bar)
{
	uint64_t end = bar->address + bar->size;

	if (bar->address >> 32)
		next64 = MAX(next64, end);
	else
		next32 = MAX(next32, end);
}

static uint64_t take(uint64_t *next, const struct pci_window *w, uint64_t size)
{
	uint64_t at = ALIGN_UP(*next, MAX(size, 4096));

	if (!w->size || at + size > w->pci + w->size)
		return 0;
	*next = at + size;
	return at;
}

static void assign(struct pci_fn *f, unsigned i)
{
	struct pci_bar *bar = &f->bar[i];
	const struct pci_window *w = &machine.win32;
	uint64_t at = bar->address;

	if (!at)
		at = take(&next32, w, bar->size);
	if (!at && bar->wide)
		at = take(&next64, &machine.win64, bar->size);
	CHECK(at, "no room for BAR %u (0x%lx bytes) of %x", i, bar->size, f->bdf);
	pci_write(f->bdf, PCI_BAR0 + 4 * i, 4, (uint32_t)at);
	if (bar->wide)
		pci_write(f->bdf, PCI_BAR0 + 4 * i + 4, 4, (uint32_t)(at >> 32));
	if (at >> 32)
		w = &machine.win64;
	bar->address = at + (w->cpu - w->pci);
	map_phys(bar->address, bar->size);
}

static void add_function(uint32_t bdf, uint32_t id)
{
	struct pci_fn *f;

	if (function_count == MAX_FUNCTIONS)
		return;
	f = &functions[function_count++];
	f->bdf = bdf;
	f->vendor = (uint16_t)id;
	f->device = (uint16_t)(id >> 16);
	f->header = pci_read(bdf, 0x0e, 1) & 0x7f;
	f->class_ = pci_read(bdf, 0x08, 4) >> 8;
	pci_write(bdf, PCI_COMMAND, 2, 0);
	for (unsigned i = 0; i < (f->header ? 2 : 6);)
		i += read_bar(f, i);
	for (unsigned i = 0; i < 6; i++)
		if (f->bar[i].size && f->bar[i].address && !f->bar[i].io)
			reserve(&f->bar[i]);
}

static void scan(void)
{
	next32 = machine.win32.pci;
	next64 = machine.win64.pci;
	map_phys(machine.ecam, 1u << 20);
	for (uint32_t dev = 0; dev < 32; dev++) {
		uint32_t bdf = (uint32_t)machine.bus_start << 8 | dev << 3;
		uint32_t id = pci_read(bdf, 0, 4);
		unsigned n = id != ~0u && pci_read(bdf, 0x0e, 1) & 0x80 ? 8 : 1;

		for (unsigned fn = 0; fn < n; fn++) {
			id = pci_read(bdf + fn, 0, 4);
			if (id != ~0u)
				add_function(bdf + fn, id);
		}
	}
	for (unsigned k = 0; k < function_count; k++) {
		struct pci_fn *f = &functions[k];

		for (unsigned i = 0; i < 6; i++)
			if (f->bar[i].size && !f->bar[i].io)
				assign(f, i);
		pci_write(f->bdf, PCI_COMMAND, 2, CMD_MEMORY | CMD_MASTER);
	}
}

unsigned pci_functions(struct pci_fn **ret)
{
	if (machine.pci_present && !scanned)
		scan();
	scanned = true;
	*ret = functions;
	return function_count;
}

unsigned pci_capability(const struct pci_fn *f, unsigned from, uint8_t id)
{
	unsigned at, steps = 0;

	if (!from && !(pci_read(f->bdf, PCI_STATUS, 2) & 0x10))
		return 0;
	at = pci_read(f->bdf, from ? from + 1 : PCI_CAPS, 1) & ~3u;
	while (at && pci_read(f->bdf, at, 1) != id) {
		CHECK(++steps < 64, "the capability list of %x is a loop", f->bdf);
		at = pci_read(f->bdf, at + 1, 1) & ~3u;
	}
	return at;
}

unsigned msix_size(const struct pci_fn *f)
{
	unsigned cap = pci_capability(f, 0, CAP_MSIX);

	return cap ? (pci_read(f->bdf, cap + 2, 2) & 0x7ff) + 1 : 0;
}

void msix_enable(const struct pci_fn *f, bool on)
{
	unsigned cap = pci_capability(f, 0, CAP_MSIX);

	pci_write(f->bdf, cap + 2, 2, on ? 0x8000 : 0);
}

/* Address of what the table (at 4) or pending bits (at 8) register of the capability names. */
static uint64_t msix_address(const struct pci_fn *f, unsigned reg)
{
	uint32_t v = pci_read(f->bdf, pci_capability(f, 0, CAP_MSIX) + reg, 4);

	return f->bar[v & 7].address + (v & ~7u);
}

void msix_set(const struct pci_fn *f, unsigned i, const struct msi_msg *m)
{
	uint64_t entry = msix_address(f, 4) + i * 16;

	mmio_write32(entry + 12, 1);
	mmio_write32(entry, (uint32_t)m->address);
	mmio_write32(entry + 4, (uint32_t)(m->address >> 32));
	mmio_write32(entry + 8, m->data);
	mmio_write32(entry + 12, 0);
}

void msix_mask(const struct pci_fn *f, unsigned i, bool on)
{
	mmio_write32(msix_address(f, 4) + i * 16 + 12, on);
}

bool msix_pending(const struct pci_fn *f, unsigned i)
{
	return mmio_read32(msix_address(f, 8) + i / 32 * 4) >> i % 32 & 1;
}
