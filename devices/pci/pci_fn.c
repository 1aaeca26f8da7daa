/* SPDX-License-Identifier: Apache-2.0 */
/* One PCI function: 4 KiB of configuration bytes with a mask of what the guest may write, a mask of
 * what it clears by writing ones, and the handful of registers that have an effect: COMMAND, the
 * BARs and MSI-X's control word. Everything else is memory.
 *
 * A BAR's sizing protocol needs no code: the bits below the size are simply not writable. Decoding
 * follows only when control calls pci_root_remap(); until then a write changes bytes and, if what
 * the guest wants now differs from what is mapped, posts one event. With memory decode off nothing
 * is wanted, so the sizing of BARs at boot posts none. */
#include "devices/pci/pci_regs.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

static uint16_t config16(const struct pci_fn *f, unsigned off)
{
	return load_le(f->config + off, 2);
}

void pci_fn_init(struct pci_fn *f, const struct pci_fn_ops *ops, struct device *device,
	uint16_t vendor, uint16_t device_id, uint32_t class_rev, uint16_t sub_vendor,
	uint16_t sub_id)
{
	memset(f, 0, sizeof(*f));
	f->ops = ops;
	f->device = device;
	f->cap_end = PCI_CFG_FIRST_CAP;
	pthread_mutex_init(&f->intx_lock, NULL);
	store_le(f->config + PCI_CFG_VENDOR, 2, vendor);
	store_le(f->config + PCI_CFG_DEVICE, 2, device_id);
	store_le(f->config + PCI_CFG_CLASS_REV, 4, class_rev);
	store_le(f->config + PCI_CFG_SUB_VENDOR, 2, sub_vendor);
	store_le(f->config + PCI_CFG_SUB_ID, 2, sub_id);
	store_le(f->writable + PCI_CFG_COMMAND, 2,
		PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_PARITY | PCI_CMD_SERR |
			PCI_CMD_INTX_DISABLE);
	f->writable[PCI_CFG_CACHE_LINE] = 0xff;
	f->writable[PCI_CFG_INT_LINE] = 0xff;
}

void pci_fn_fini(struct pci_fn *f)
{
	if (f->root)
		pci_root_del(f->root, f);
	msix_free(f->msix);
	f->msix = NULL;
	pthread_mutex_destroy(&f->intx_lock);
}

void pci_fn_bar_place(struct pci_fn *f, unsigned bar, uint64_t base)
{
	struct pci_bar *b = &f->bar[bar];
	uint8_t *at = f->config + PCI_CFG_BAR0 + 4 * bar;
	uint8_t *mask = f->writable + PCI_CFG_BAR0 + 4 * bar;
	unsigned bytes = b->is64 ? 8 : 4;
	uint64_t flags = (b->is64 ? PCI_BAR_64 : 0) | (b->prefetch ? PCI_BAR_PREFETCH : 0);

	b->assigned = base;
	b->region.size = b->size;
	store_le(at, bytes, base | flags);
	store_le(mask, bytes, ~(b->size - 1));
}

bool pci_fn_bar_wanted(const struct pci_fn *f, unsigned bar, uint64_t *ret_base)
{
	const struct pci_bar *b = &f->bar[bar];
	uint64_t base;

	if (!b->size || !f->root || !(config16(f, PCI_CFG_COMMAND) & PCI_CMD_MEM))
		return false;
	base = load_le(f->config + PCI_CFG_BAR0 + 4 * bar, b->is64 ? 8 : 4) & ~(b->size - 1);
	if (!pci_root_decodes(f->root, base, b->size))
		return false;
	*ret_base = base;
	return true;
}

static void post_remap_if_changed(struct pci_fn *f)
{
	struct dev_host *h = f->device->host;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		uint64_t base = 0;
		bool wanted = pci_fn_bar_wanted(f, i, &base);

		if (wanted != f->bar[i].mapped || (wanted && base != f->bar[i].region.base)) {
			h->ops->event(h, DEV_EVENT_REMAP, 0);
			return;
		}
	}
}

/* intx_lock makes "read the command bit, then drive the line" one step against another thread that
 * does the same. Order: device lock, intx_lock, irq_pin lock. */
static void drive_intx(struct pci_fn *f)
{
	LOCK_SCOPE(&f->intx_lock);
	if (f->intx)
		irq_set(f->intx, f->intx_level && !f->intx_disabled);
}

void pci_fn_set_intx(struct pci_fn *f, bool level)
{
	pthread_mutex_lock(&f->intx_lock);
	f->intx_level = level;
	pthread_mutex_unlock(&f->intx_lock);
	drive_intx(f);
}

static void command_changed(struct pci_fn *f, uint16_t old)
{
	uint16_t changed = old ^ config16(f, PCI_CFG_COMMAND);

	if (!(changed & PCI_CMD_INTX_DISABLE))
		return;
	pthread_mutex_lock(&f->intx_lock);
	f->intx_disabled = config16(f, PCI_CFG_COMMAND) & PCI_CMD_INTX_DISABLE;
	pthread_mutex_unlock(&f->intx_lock);
	drive_intx(f);
	if (f->ops && f->ops->irq_mode)
		f->ops->irq_mode(f);
}

static void store_masked(struct pci_fn *f, uint16_t off, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size; i++) {
		uint8_t *b = &f->config[off + i], v = value >> (8 * i), w = f->writable[off + i];

		*b = (*b & ~w) | (v & w);
		if (off + i < sizeof(f->w1c))
			*b &= ~(v & f->w1c[off + i]);
	}
}

/* True when [off, off+size) touches [at, at+len). */
static bool touches(uint16_t off, unsigned size, unsigned at, unsigned len)
{
	return off < at + len && at < off + size;
}

static void config_write(struct pci_fn *f, uint16_t off, unsigned size, uint32_t value)
{
	uint16_t command = config16(f, PCI_CFG_COMMAND);
	unsigned cap = f->msix ? f->msix_cap : 0;

	store_masked(f, off, size, value);
	if (touches(off, size, PCI_CFG_COMMAND, 2)) {
		command_changed(f, command);
		post_remap_if_changed(f);
	}
	if (touches(off, size, PCI_CFG_BAR0, 4 * PCI_BARS))
		post_remap_if_changed(f);
	if (cap && touches(off, size, cap + MSIX_CAP_CONTROL, 2)) {
		bool was = f->msix_enabled;

		msix_update(f);
		if (f->msix_enabled != was && f->ops && f->ops->irq_mode)
			f->ops->irq_mode(f);
	}
}

void pci_fn_write(struct pci_fn *f, uint16_t off, unsigned size, uint32_t value)
{
	LOCK_SCOPE(&f->device->lock);
	if (f->ops && f->ops->config_write && f->ops->config_write(f, off, size, value))
		return;
	config_write(f, off, size, value);
}

uint32_t pci_fn_read(struct pci_fn *f, uint16_t off, unsigned size)
{
	uint32_t v;

	LOCK_SCOPE(&f->device->lock);
	if (f->ops && f->ops->config_read && f->ops->config_read(f, off, size, &v))
		return v;
	v = load_le(f->config + off, size);
	/* PCI 3.0 §6.2.3: the interrupt's state, whatever INTx Disable says. */
	if (touches(off, size, PCI_CFG_STATUS, 1) &&
		__atomic_load_n(&f->intx_level, __ATOMIC_RELAXED))
		v |= PCI_STATUS_INTX << (8 * (PCI_CFG_STATUS - off));
	return v;
}

uint8_t pci_fn_add_cap(struct pci_fn *f, uint8_t cap_id, const void *body, uint8_t len)
{
	uint8_t at = f->cap_end;

	memcpy(f->config + at, body, len);
	f->config[at] = cap_id;
	f->config[at + 1] = 0;
	if (f->cap_last)
		f->config[f->cap_last + 1] = at;
	else
		f->config[PCI_CFG_CAP_PTR] = at;
	f->config[PCI_CFG_STATUS] |= PCI_STATUS_CAPS;
	f->cap_last = at;
	f->cap_end = align_up(at + len, 4);
	return at;
}

void pci_fn_reset(struct pci_fn *f)
{
	for (unsigned i = 0; i < sizeof(f->w1c); i++)
		f->config[i] &= ~f->w1c[i];
	store_le(f->config + PCI_CFG_COMMAND, 2, 0);
	f->config[PCI_CFG_CACHE_LINE] = 0;
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (f->bar[i].size)
			pci_fn_bar_place(f, i, f->bar[i].assigned);
	f->intx_disabled = false;
	pci_fn_set_intx(f, false);
	if (f->msix)
		msix_reset(f);
}

/* A loaded function differs from the one built only in what its guest could have changed. */
static void load_config(struct pci_fn *f, struct visitor *v, const uint8_t *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t may = f->writable[i] | f->w1c[i];

		if ((from[i] ^ f->config[i]) & ~may) {
			visit_fail(v, -EINVAL);
			return;
		}
	}
	memcpy(f->config, from, n);
	f->intx_disabled = config16(f, PCI_CFG_COMMAND) & PCI_CMD_INTX_DISABLE;
}

int pci_fn_visit(struct pci_fn *f, struct visitor *v)
{
	uint32_t version = 1;
	uint8_t config[256];
	bool level = f->intx_level;

	memcpy(config, f->config, sizeof(config));
	visit_begin(v, "pci", &version);
	visit_bytes(v, "config", config, sizeof(config));
	visit_bool(v, "intx", &level);
	if (visit_mode(v) == VISIT_LOAD && !visit_status(v))
		load_config(f, v, config, sizeof(config));
	if (f->msix)
		msix_visit(f, v);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD && !visit_status(v)) {
		pci_fn_set_intx(f, level);
		if (f->msix)
			msix_update(f);
	}
	return visit_status(v);
}
