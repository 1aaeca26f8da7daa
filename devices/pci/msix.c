/* SPDX-License-Identifier: Apache-2.0 */
/* MSI-X (PCI 3.0 §6.8.2): a table of messages in a BAR, one irq_line a vector. A vector is silent
 * while MSI-X is off, the function mask is set or its own mask bit is set; the line remembers what
 * became pending meanwhile, and the Pending Bit Array is read from the lines.
 *
 * A route is told to the interrupt controller only when its vector becomes audible: a driver writes
 * four dwords under the mask, and a change of routing is dear. */
#include <stdlib.h>
#include "devices/pci/pci_regs.h"
#include "vmm/base/num.h"

struct msix_entry {
	uint64_t addr;
	uint32_t data;
	bool masked;  /* the entry's own mask bit */
	bool audible; /* what the line was last told */
	bool stale;   /* the line's route differs from addr and data */
};

struct msix {
	unsigned n;
	struct irq_line **line;
	struct msix_entry entry[];
};

static void entry_reset(struct msix_entry *e)
{
	*e = (struct msix_entry){.masked = true, .audible = e->audible, .stale = true};
}

void msix_free(struct msix *m)
{
	if (!m)
		return;
	for (unsigned i = 0; m->line && i < m->n; i++)
		irq_line_free(m->line[i]);
	free(m->line);
	free(m);
}

static int msix_new(struct pci_fn *f, unsigned n, struct msix **ret)
{
	struct dev_host *h = f->device->host;
	struct msix *m = calloc(1, sizeof(*m) + n * sizeof(m->entry[0]));
	int r = -ENOMEM;

	if (!m)
		return -ENOMEM;
	m->n = n;
	m->line = calloc(n, sizeof(struct irq_line *));
	if (!m->line)
		goto fail;
	for (unsigned i = 0; i < n; i++) {
		entry_reset(&m->entry[i]);
		r = irq_msi_new(h->irqs, h->control, &m->line[i]);
		if (r < 0)
			goto fail;
	}
	*ret = m;
	return 0;
fail:
	msix_free(m);
	return r;
}

int pci_fn_add_msix(
	struct pci_fn *f, unsigned n, unsigned bar, uint32_t table_off, uint32_t pba_off)
{
	uint8_t cap[MSIX_CAP_LEN] = {0};
	int r;

	if (!n || n > MSIX_MAX || bar >= PCI_BARS || (table_off | pba_off) & 7 || f->msix)
		return -EINVAL;
	if (!f->device->host->irqs->has_msi)
		return -EOPNOTSUPP;
	r = msix_new(f, n, &f->msix);
	if (r < 0)
		return r;
	store_le(cap + MSIX_CAP_CONTROL, 2, n - 1);
	store_le(cap + 4, 4, table_off | bar);
	store_le(cap + 8, 4, pba_off | bar);
	f->msix_cap = pci_fn_add_cap(f, PCI_CAP_MSIX, cap, sizeof(cap));
	store_le(f->writable + f->msix_cap + MSIX_CAP_CONTROL, 2,
		MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL);
	return 0;
}

bool pci_fn_msix_enabled(const struct pci_fn *f)
{
	return f->msix_enabled;
}

struct irq_line *pci_fn_msix_line(struct pci_fn *f, unsigned vector)
{
	return f->msix && vector < f->msix->n ? f->msix->line[vector] : NULL;
}

static void set_route(struct pci_fn *f, unsigned i)
{
	struct msix_entry *e = &f->msix->entry[i];
	struct irq_msg msg = {
		.addr = e->addr,
		.data = e->data,
		.requester = (uint32_t)f->bdf.segment << 16 | f->bdf.bus << 8 | f->bdf.devfn,
	};
	struct dev_host *h = f->device->host;
	int r = irq_msi_set(f->msix->line[i], &msg);

	/* An address that no controller answers is the guest's mistake: the message goes nowhere.
	 */
	if (r < 0)
		log_limited(h->log, &f->limit, LOG_WARN, f->device->id,
			"MSI-X vector %u: no route for address 0x%llx (%d)", i,
			(unsigned long long)e->addr, r);
	e->stale = false;
}

static void update_entry(struct pci_fn *f, unsigned i, bool silent)
{
	struct msix_entry *e = &f->msix->entry[i];
	bool audible = !silent && !e->masked;

	if (audible && e->stale)
		set_route(f, i);
	if (audible == e->audible)
		return;
	e->audible = audible;
	irq_msi_mask(f->msix->line[i], !audible);
}

static uint16_t control(const struct pci_fn *f)
{
	return load_le(f->config + f->msix_cap + MSIX_CAP_CONTROL, 2);
}

static bool all_silent(const struct pci_fn *f)
{
	return !(control(f) & MSIX_CONTROL_ENABLE) || control(f) & MSIX_CONTROL_MASK_ALL;
}

void msix_update(struct pci_fn *f)
{
	bool silent = all_silent(f);

	f->msix_enabled = control(f) & MSIX_CONTROL_ENABLE;
	for (unsigned i = 0; i < f->msix->n; i++)
		update_entry(f, i, silent);
}

void msix_reset(struct pci_fn *f)
{
	store_le(f->config + f->msix_cap + MSIX_CAP_CONTROL, 2, f->msix->n - 1);
	for (unsigned i = 0; i < f->msix->n; i++)
		entry_reset(&f->msix->entry[i]);
	msix_update(f);
}

static uint32_t entry_read(const struct msix_entry *e, unsigned dword)
{
	switch (dword) {
	case 0:
		return e->addr;
	case 1:
		return e->addr >> 32;
	case 2:
		return e->data;
	default:
		return e->masked;
	}
}

static void entry_write(struct msix_entry *e, unsigned dword, uint32_t v)
{
	switch (dword) {
	case 0:
		e->addr = (e->addr & ~UINT64_C(0xffffffff)) | (v & ~3u);
		break;
	case 1:
		e->addr = (uint32_t)e->addr | (uint64_t)v << 32;
		break;
	case 2:
		e->data = v;
		break;
	default:
		e->masked = v & 1;
		return;
	}
	e->stale = true;
}

static uint32_t pba_read(const struct msix *m, uint32_t off)
{
	uint32_t bits = 0;

	for (unsigned i = 0; i < 32 && off * 8 + i < m->n; i++)
		bits |= (uint32_t)irq_msi_pending(m->line[off * 8 + i]) << i;
	return bits;
}

static uint32_t read_dword(const struct msix *m, uint32_t off, bool pba)
{
	if (pba)
		return off < MSIX_MAX / 8 ? pba_read(m, off) : 0;
	if (off / MSIX_ENTRY_SIZE >= m->n)
		return 0;
	return entry_read(&m->entry[off / MSIX_ENTRY_SIZE], off % MSIX_ENTRY_SIZE / 4);
}

/* PCI 3.0 §6.8.2: software uses aligned dwords and qwords; smaller reads are served too. */
uint64_t msix_read(struct pci_fn *f, uint32_t off, unsigned size, bool pba)
{
	uint64_t v;

	if (!f->msix || off & (size - 1))
		return 0;
	v = read_dword(f->msix, off & ~3u, pba) >> (8 * (off & 3));
	if (size == 8)
		v |= (uint64_t)read_dword(f->msix, off + 4, pba) << 32;
	else if (size < 4)
		v &= (1u << (8 * size)) - 1;
	return v;
}

void msix_write(struct pci_fn *f, uint32_t off, unsigned size, uint64_t value)
{
	uint32_t i = off / MSIX_ENTRY_SIZE;

	if (!f->msix || size < 4 || off & (size - 1) || i >= f->msix->n)
		return;
	for (unsigned done = 0; done < size; done += 4)
		entry_write(&f->msix->entry[i], (off + done) % MSIX_ENTRY_SIZE / 4,
			value >> (8 * done));
	update_entry(f, i, all_silent(f));
}

static void entry_visit(struct msix_entry *e, struct visitor *v)
{
	uint32_t version = 1;

	visit_begin(v, NULL, &version);
	visit_u64(v, "addr", &e->addr);
	visit_u32(v, "data", &e->data);
	visit_bool(v, "masked", &e->masked);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD)
		e->stale = true;
}

/* Messages that were pending under a mask need no field: on resume each queue raises its vector. */
void msix_visit(struct pci_fn *f, struct visitor *v)
{
	uint32_t n = f->msix->n;

	visit_array(v, "msix", &n, f->msix->n);
	if (n != f->msix->n)
		visit_fail(v, -EINVAL);
	for (unsigned i = 0; i < n && !visit_status(v); i++)
		entry_visit(&f->msix->entry[i], v);
	visit_array_end(v);
}
