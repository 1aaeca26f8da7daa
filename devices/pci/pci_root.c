/* SPDX-License-Identifier: Apache-2.0 */
/* The root: finds the function that a configuration access names, places BARs, and brings the bus
 * in line with what guests wrote. One bus with 32 slots of one function each; slot 0 is the host
 * bridge, which is a function of the root's own device. Buses above 0 exist in the ECAM and are
 * empty.
 *
 * Both ways into configuration space take no lock of the root: ECAM has no state, and the address
 * port is one atomic word. The function's access runs under its own device's lock. */
#include <stdatomic.h>
#include <stdlib.h>
#include "devices/pci/pci_regs.h"
#include "vmm/base/num.h"

#define CONF1_PORT     0xcf8
#define CONF1_RESET    1 /* port 0xcf9, as chipsets have it */
#define CONF1_DATA     4
#define CONF1_ENABLE   0x80000000u
#define ECAM_BUS_BYTES (1 << 20)

struct pci_root {
	struct device device; /* first */
	struct pci_layout layout;
	struct pci_fn bridge;
	struct pci_fn *fn[PCI_SLOTS];
	struct irq_pin pin[4];
	struct io_region ecam, conf1;
	_Atomic uint32_t conf1_addr;
	struct log_limit limit;
};

static struct pci_fn *find_fn(struct pci_root *r, uint8_t bus, uint8_t devfn)
{
	return bus || devfn & 7 ? NULL : r->fn[devfn >> 3];
}

/* PCIe 6.0 §7.2.2: an access does not cross a dword; what does, and what names no function, gets
 * the answer of an absent one. */
static uint32_t config_read(struct pci_fn *f, uint32_t reg, unsigned size)
{
	if (!f || size > 4 || (reg & 3) + size > 4)
		return UINT32_MAX;
	return pci_fn_read(f, reg, size);
}

static void config_write(struct pci_fn *f, uint32_t reg, unsigned size, uint32_t value)
{
	if (f && size <= 4 && (reg & 3) + size <= 4)
		pci_fn_write(f, reg, size, value);
}

static struct pci_fn *ecam_fn(struct pci_root *r, uint64_t off)
{
	return find_fn(r, off >> 20, off >> 12);
}

static uint64_t ecam_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_fn *f = ecam_fn(dev, off);
	uint64_t v = config_read(f, off & 0xfff, MIN(size, 4u));

	if (size == 8)
		v |= (uint64_t)config_read(f, (off & 0xfff) + 4, 4) << 32;
	return v;
}

static void ecam_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct pci_fn *f = ecam_fn(dev, off);

	config_write(f, off & 0xfff, MIN(size, 4u), value);
	if (size == 8)
		config_write(f, (off & 0xfff) + 4, 4, value >> 32);
}

static const struct io_ops ecam_ops = {ecam_read, ecam_write};

static struct pci_fn *conf1_fn(struct pci_root *r, uint32_t *ret_reg)
{
	uint32_t a = atomic_load(&r->conf1_addr);

	*ret_reg = a & 0xfc;
	return a & CONF1_ENABLE ? find_fn(r, a >> 16, a >> 8) : NULL;
}

static uint64_t conf1_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_root *r = dev;
	uint32_t reg;
	struct pci_fn *f = conf1_fn(r, &reg);

	if (off >= CONF1_DATA)
		return config_read(f, reg + (off - CONF1_DATA), size);
	if (off == CONF1_RESET && size == 1)
		return 0;
	return off == 0 && size == 4 ? atomic_load(&r->conf1_addr) : UINT64_MAX;
}

static void conf1_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct pci_root *r = dev;
	uint32_t reg;
	struct pci_fn *f = conf1_fn(r, &reg);

	if (off >= CONF1_DATA)
		config_write(f, reg + (off - CONF1_DATA), size, value);
	else if (off == 0 && size == 4) /* PCI 3.0 §3.2.2.3.2: only a dword is the address */
		atomic_store(&r->conf1_addr, value & ~0x7f000003u);
	else if (off == CONF1_RESET && size == 1 && value & 4)
		r->device.host->ops->event(r->device.host, DEV_EVENT_RESET, 0);
}

static const struct io_ops conf1_ops = {conf1_read, conf1_write};

static bool inside(const struct pci_window *w, uint64_t base, uint64_t size)
{
	return w->size >= size && base >= w->base && base - w->base <= w->size - size;
}

bool pci_root_decodes(const struct pci_root *r, uint64_t base, uint64_t size)
{
	return inside(&r->layout.mmio32, base, size) || inside(&r->layout.mmio64, base, size);
}

/* The end of a placed BAR that overlaps [base, base+size), or 0. */
static uint64_t taken_until(
	const struct pci_root *r, const struct pci_fn *own, uint64_t base, uint64_t size)
{
	for (unsigned s = 0; s <= PCI_SLOTS; s++) {
		const struct pci_fn *f = s < PCI_SLOTS ? r->fn[s] : own;

		for (unsigned i = 0; f && i < PCI_BARS; i++) {
			const struct pci_bar *b = &f->bar[i];

			if (b->size && b->assigned && base < b->assigned + b->size &&
				b->assigned < base + size)
				return b->assigned + b->size;
		}
	}
	return 0;
}

static int place_in(struct pci_root *r, const struct pci_window *w, struct pci_fn *f, unsigned i)
{
	uint64_t size = f->bar[i].size, base = align_up(w->base, size), next;

	while (inside(w, base, size)) {
		next = taken_until(r, f, base, size);
		if (!next) {
			pci_fn_bar_place(f, i, base);
			return 0;
		}
		base = align_up(next, size);
	}
	return -ENOSPC;
}

static int place_bars(struct pci_root *r, struct pci_fn *f)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *b = &f->bar[i];
		int e = -ENOSPC;

		b->assigned = 0;
		if (!b->size)
			continue;
		if (!is_pow2(b->size) || b->size < 16 ||
			(b->is64 && (i == PCI_BARS - 1 || f->bar[i + 1].size)))
			return -EINVAL;
		if (b->is64)
			e = place_in(r, &r->layout.mmio64, f, i);
		if (e < 0)
			e = place_in(r, &r->layout.mmio32, f, i);
		if (e < 0)
			return e;
	}
	return 0;
}

/* INTx lines are swizzled over the four pins by slot (PCI 3.0 §2.2.6); each function uses INTA. */
static int wire_intx(struct pci_root *r, struct pci_fn *f, unsigned slot)
{
	struct dev_host *h = r->device.host;
	unsigned k = slot % 4;
	int e = irq_wire_new(
		h->irqs, &r->pin[k], r->layout.intx_pin[k], IRQ_LEVEL, h->control, &f->intx);

	if (e < 0)
		return e;
	f->config[PCI_CFG_INT_PIN] = 1;
	f->config[PCI_CFG_INT_LINE] = MIN(r->layout.intx_pin[k], 255u);
	return 0;
}

int pci_root_add(struct pci_root *r, struct pci_fn *f, int slot)
{
	int e;

	for (int s = 1; slot < 0 && s < PCI_SLOTS; s++)
		if (!r->fn[s])
			slot = s;
	if (slot < 0)
		return -ENOSPC;
	if (slot >= PCI_SLOTS)
		return -EINVAL;
	if (r->fn[slot])
		return -EEXIST;
	f->bdf = (struct pci_bdf){.segment = r->layout.segment, .devfn = slot << 3};
	e = place_bars(r, f);
	if (e < 0)
		return e;
	e = f == &r->bridge ? 0 : wire_intx(r, f, slot);
	if (e < 0)
		return e;
	f->root = r;
	r->fn[slot] = f;
	return 0;
}

static void unmap_bar(struct pci_root *r, struct pci_fn *f, unsigned i)
{
	struct pci_bar *b = &f->bar[i];

	if (!b->mapped)
		return;
	if (f->ops && f->ops->bar_mapped)
		f->ops->bar_mapped(f, i, b->region.base, false);
	bus_del(r->device.host->mmio, &b->region);
	b->mapped = false;
}

void pci_root_del(struct pci_root *r, struct pci_fn *f)
{
	if (f->root != r)
		return;
	for (unsigned i = 0; i < PCI_BARS; i++)
		unmap_bar(r, f, i);
	irq_line_free(f->intx);
	f->intx = NULL;
	r->fn[f->bdf.devfn >> 3] = NULL;
	f->root = NULL;
}

static void map_bar(struct pci_root *r, struct pci_fn *f, unsigned i, uint64_t base)
{
	struct pci_bar *b = &f->bar[i];
	int e;

	if (b->mapped)
		return;
	b->region.base = base;
	e = bus_add(r->device.host->mmio, &b->region);
	if (e < 0) { /* the guest put two BARs on one address: the first in slot order has it */
		log_limited(r->device.host->log, &r->limit, LOG_WARN, f->device->id,
			"BAR %u at 0x%llx overlaps another", i, (unsigned long long)base);
		return;
	}
	b->mapped = true;
	if (f->ops && f->ops->bar_mapped)
		f->ops->bar_mapped(f, i, base, true);
}

static void remap_bar(struct pci_root *r, struct pci_fn *f, unsigned i, bool map)
{
	uint64_t base = 0;
	bool wanted = pci_fn_bar_wanted(f, i, &base);

	if (map && wanted)
		map_bar(r, f, i, base);
	else if (!map && !(wanted && base == f->bar[i].region.base))
		unmap_bar(r, f, i);
}

static void remap_pass(struct pci_root *r, bool map)
{
	for (unsigned s = 0; s < PCI_SLOTS; s++)
		for (unsigned i = 0; r->fn[s] && i < PCI_BARS; i++)
			remap_bar(r, r->fn[s], i, map);
}

/* Unmaps everything that moves before it maps anything, so that BARs may trade places. */
void pci_root_remap(struct pci_root *r)
{
	remap_pass(r, false);
	remap_pass(r, true);
}

struct device *pci_root_device(struct pci_root *r)
{
	return &r->device;
}

const struct pci_layout *pci_root_layout(const struct pci_root *r)
{
	return &r->layout;
}

static void root_reset(struct device *d)
{
	struct pci_root *r = (struct pci_root *)d;

	atomic_store(&r->conf1_addr, 0);
	pci_fn_reset(&r->bridge);
}

static int root_visit(struct device *d, struct visitor *v)
{
	struct pci_root *r = (struct pci_root *)d;
	uint32_t version = 1, addr = atomic_load(&r->conf1_addr);

	visit_begin(v, d->id, &version);
	visit_u32(v, "conf1_addr", &addr);
	pci_fn_visit(&r->bridge, v);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD && !visit_status(v))
		atomic_store(&r->conf1_addr, addr);
	return visit_status(v);
}

static unsigned root_describe(const struct device *d, struct dev_desc *ret, unsigned max)
{
	const struct pci_root *r = (const struct pci_root *)d;

	if (!max)
		return 0;
	ret[0] = (struct dev_desc){
		.kind = DEV_PCI_ROOT,
		.space = SPACE_MMIO,
		.base = r->ecam.base,
		.size = r->ecam.size,
		.id = d->id,
	};
	return 1;
}

static void root_free(struct device *d)
{
	struct pci_root *r = (struct pci_root *)d;

	pci_fn_fini(&r->bridge);
	bus_del(d->host->mmio, &r->ecam);
	if (d->host->pio)
		bus_del(d->host->pio, &r->conf1);
	device_fini(d);
	free(r);
}

static const struct device_ops root_ops = {
	.type = "pci-root",
	.reset = root_reset,
	.visit = root_visit,
	.describe = root_describe,
	.free = root_free,
};

static int add_regions(struct pci_root *r)
{
	const struct pci_layout *l = &r->layout;
	struct dev_host *h = r->device.host;
	uint64_t size = MIN(l->ecam.size, (uint64_t)(l->last_bus + 1) * ECAM_BUS_BYTES);
	int e;

	r->ecam = (struct io_region){l->ecam.base, size, &ecam_ops, r, NULL, r->device.id};
	e = bus_add(h->mmio, &r->ecam);
	if (e < 0 || !l->conf1)
		return e;
	if (!h->pio)
		return -EINVAL;
	r->conf1 = (struct io_region){CONF1_PORT, 8, &conf1_ops, r, NULL, r->device.id};
	return bus_add(h->pio, &r->conf1);
}

int pci_root_new(
	struct dev_host *h, const char *id, const struct pci_layout *l, struct pci_root **ret_root)
{
	struct pci_root *r = calloc(1, sizeof(*r));
	int e;

	if (!r)
		return -ENOMEM;
	device_init(&r->device, &root_ops, h, id);
	r->layout = *l;
	for (unsigned i = 0; i < 4; i++)
		irq_pin_init(&r->pin[i]);
	/* Red Hat's generic PCIe host bridge: what guests know, and no chipset's quirks. */
	pci_fn_init(&r->bridge, NULL, &r->device, 0x1b36, 0x0008, 0x06000000, 0x1af4, 0x1100);
	e = pci_root_add(r, &r->bridge, 0);
	if (!e)
		e = add_regions(r);
	if (e < 0) {
		root_free(&r->device);
		return e;
	}
	*ret_root = r;
	return 0;
}
