/* SPDX-License-Identifier: Apache-2.0 */
/* Finding virtio devices and driving their registers, over PCI (§4.1) and MMIO (§4.2). */
#include "virtio.h"

#include "case.h"
#include "io.h"

enum { /* §4.1.4.3 */
	PC_DFSELECT = 0x00,
	PC_DF = 0x04,
	PC_GFSELECT = 0x08,
	PC_GF = 0x0c,
	PC_STATUS = 0x14,
	PC_Q_SELECT = 0x16,
	PC_Q_SIZE = 0x18,
	PC_Q_VECTOR = 0x1a,
	PC_Q_ENABLE = 0x1c,
	PC_Q_NOTIFY_OFF = 0x1e,
	PC_Q_DESC = 0x20,
	PC_Q_DRIVER = 0x28,
	PC_Q_DEVICE = 0x30,
};
enum { /* §4.2.2 */
	MM_VERSION = 0x004,
	MM_ID = 0x008,
	MM_DF = 0x010,
	MM_DFSELECT = 0x014,
	MM_GF = 0x020,
	MM_GFSELECT = 0x024,
	MM_Q_SELECT = 0x030,
	MM_Q_MAX = 0x034,
	MM_Q_SIZE = 0x038,
	MM_Q_READY = 0x044,
	MM_NOTIFY = 0x050,
	MM_ISR = 0x060,
	MM_ACK = 0x064,
	MM_STATUS = 0x070,
	MM_Q_DESC = 0x080,
	MM_Q_DRIVER = 0x090,
	MM_Q_DEVICE = 0x0a0,
	MM_CONFIG = 0x100,
};
#define MMIO_MAGIC 0x74726976u

const char *vdev_type_name(uint32_t type)
{
	static const char names[][16] = {
		[VIRTIO_NET] = "virtio-net",
		[VIRTIO_BLK] = "virtio-blk",
		[VIRTIO_CONSOLE] = "virtio-console",
		[VIRTIO_RNG] = "virtio-rng",
		[VIRTIO_INPUT] = "virtio-input",
		[VIRTIO_VSOCK] = "virtio-vsock",
	};

	return type < ARRAY_SIZE(names) && *names[type] ? names[type] : "virtio-?";
}

static void set_name(struct vdev *d, uint64_t place)
{
	static const char hex[] = "0123456789abcdef";
	const char *s = vdev_type_name(d->type) + 7;
	char *p = d->name;

	while (*s)
		*p++ = *s++;
	memcpy(p, d->pci ? " pci " : " mmio ", 6);
	p += d->pci ? 5 : 6;
	for (int shift = d->pci ? 12 : 32; shift >= 0; shift -= 4)
		*p++ = hex[place >> shift & 15];
	*p = 0;
}

/* §4.1.4: the structures are found by vendor capabilities. */
static bool open_pci(struct vdev *d, const struct pci_fn *f)
{
	unsigned cap = 0;

	if (f->vendor != 0x1af4 || f->device < 0x1000 || f->device > 0x107f)
		return false;
	*d = (struct vdev){.pci = true, .fn = f};
	d->type = f->device >= 0x1040 ? f->device - 0x1040u : pci_read(f->bdf, 0x2e, 2);
	while ((cap = pci_capability(f, cap, CAP_VENDOR))) {
		unsigned type = pci_read(f->bdf, cap + 3, 1), bar = pci_read(f->bdf, cap + 4, 1);
		uint64_t at = bar < 6 ? f->bar[bar].address + pci_read(f->bdf, cap + 8, 4) : 0;

		if (type == 1 && !d->common) {
			d->common = at;
		} else if (type == 2 && !d->notify) {
			d->notify = at;
			d->notify_multiplier = pci_read(f->bdf, cap + 16, 4);
		} else if (type == 3 && !d->isr) {
			d->isr = at;
		} else if (type == 4 && !d->config) {
			d->config = at;
		}
	}
	d->irq = machine_intx(f->bdf, pci_read(f->bdf, PCI_INT_PIN, 1));
	set_name(d, f->bdf);
	return d->common && d->notify && d->isr;
}

static bool open_mmio(struct vdev *d, const struct mmio_dev *m)
{
	if (mmio_read32(m->base) != MMIO_MAGIC || mmio_read32(m->base + MM_VERSION) != 2)
		return false;
	*d = (struct vdev){.base = m->base, .config = m->base + MM_CONFIG, .irq = m->irq};
	d->type = mmio_read32(m->base + MM_ID);
	set_name(d, m->base);
	return d->type;
}

unsigned vdev_find(uint32_t type, struct vdev *ret)
{
	const char *only = word_value(machine.cmdline, "transport", 0);
	struct pci_fn *f;
	unsigned n = 0, count;

	if (!only || word_is(only, "pci")) {
		count = pci_functions(&f);
		for (unsigned i = 0; i < count && n < MAX_VDEVS; i++)
			if (open_pci(&ret[n], &f[i]) && (!type || ret[n].type == type))
				n++;
	}
	if (!only || word_is(only, "mmio")) {
		for (unsigned i = 0; i < machine.mmio_count && n < MAX_VDEVS; i++)
			if (open_mmio(&ret[n], &machine.mmio[i]) && (!type || ret[n].type == type))
				n++;
	}
	return n;
}

uint8_t vdev_status(const struct vdev *d)
{
	return d->pci ? mmio_read8(d->common + PC_STATUS)
		      : (uint8_t)mmio_read32(d->base + MM_STATUS);
}

void vdev_set_status(const struct vdev *d, uint8_t v)
{
	if (d->pci)
		mmio_write8(d->common + PC_STATUS, v);
	else
		mmio_write32(d->base + MM_STATUS, v);
}

int vdev_reset(struct vdev *d)
{
	uint64_t end = deadline_ms(10000);

	vdev_set_status(d, 0);
	while (vdev_status(d)) {
		if (deadline_passed(end)) {
			note("%s: status 0x%x long after a reset\n", d->name, vdev_status(d));
			return -1;
		}
	}
	d->features = 0;
	return 0;
}

uint64_t vdev_offered(const struct vdev *d)
{
	uint64_t select = d->pci ? d->common + PC_DFSELECT : d->base + MM_DFSELECT;
	uint64_t value = d->pci ? d->common + PC_DF : d->base + MM_DF;
	uint64_t v;

	mmio_write32(select, 0);
	v = mmio_read32(value);
	mmio_write32(select, 1);
	return v | (uint64_t)mmio_read32(value) << 32;
}

int vdev_negotiate(struct vdev *d, uint64_t wanted)
{
	uint64_t select = d->pci ? d->common + PC_GFSELECT : d->base + MM_GFSELECT;
	uint64_t value = d->pci ? d->common + PC_GF : d->base + MM_GF;
	uint64_t features;

	if (vdev_reset(d))
		return -1;
	vdev_set_status(d, STATUS_ACK);
	vdev_set_status(d, STATUS_ACK | STATUS_DRIVER);
	features = vdev_offered(d) & (wanted | F_VERSION_1);
	if (!(features & F_VERSION_1))
		return -1;
	mmio_write32(select, 0);
	mmio_write32(value, (uint32_t)features);
	mmio_write32(select, 1);
	mmio_write32(value, (uint32_t)(features >> 32));
	vdev_set_status(d, STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES_OK);
	if (!(vdev_status(d) & STATUS_FEATURES_OK)) {
		note("%s: features 0x%lx refused, status 0x%x\n", d->name, features,
			vdev_status(d));
		return -1;
	}
	d->features = features;
	return 0;
}

void vdev_driver_ok(const struct vdev *d)
{
	vdev_set_status(d, STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
}

static void select_queue(const struct vdev *d, unsigned queue)
{
	if (d->pci)
		mmio_write16(d->common + PC_Q_SELECT, (uint16_t)queue);
	else
		mmio_write32(d->base + MM_Q_SELECT, queue);
}

unsigned vdev_queue_max(const struct vdev *d, unsigned queue)
{
	select_queue(d, queue);
	return d->pci ? mmio_read16(d->common + PC_Q_SIZE) : mmio_read32(d->base + MM_Q_MAX);
}

/* §4.1.3.1: 64-bit fields are written as two 32-bit halves. */
static void write64(uint64_t at, uint64_t v)
{
	mmio_write32(at, (uint32_t)v);
	mmio_write32(at + 4, (uint32_t)(v >> 32));
}

void vdev_queue_enable(const struct vdev *d, unsigned queue, unsigned size, uint64_t desc,
	uint64_t avail, uint64_t used)
{
	select_queue(d, queue);
	if (d->pci) {
		mmio_write16(d->common + PC_Q_SIZE, (uint16_t)size);
		write64(d->common + PC_Q_DESC, desc);
		write64(d->common + PC_Q_DRIVER, avail);
		write64(d->common + PC_Q_DEVICE, used);
		mmio_write16(d->common + PC_Q_ENABLE, 1);
	} else {
		mmio_write32(d->base + MM_Q_SIZE, size);
		write64(d->base + MM_Q_DESC, desc);
		write64(d->base + MM_Q_DRIVER, avail);
		write64(d->base + MM_Q_DEVICE, used);
		mmio_write32(d->base + MM_Q_READY, 1);
	}
}

uint64_t vdev_notify_address(const struct vdev *d, unsigned queue)
{
	select_queue(d, queue);
	return d->notify + mmio_read16(d->common + PC_Q_NOTIFY_OFF) * d->notify_multiplier;
}

void vdev_notify(const struct vdev *d, unsigned queue)
{
	if (d->pci)
		mmio_write16(vdev_notify_address(d, queue), (uint16_t)queue);
	else
		mmio_write32(d->base + MM_NOTIFY, queue);
}

uint32_t vdev_config(const struct vdev *d, unsigned offset, unsigned size)
{
	uint64_t a = d->config + offset;

	return size == 1 ? mmio_read8(a) : size == 2 ? mmio_read16(a) : mmio_read32(a);
}

void vdev_set_config8(const struct vdev *d, unsigned offset, uint8_t v)
{
	mmio_write8(d->config + offset, v);
}

uint64_t vdev_config64(const struct vdev *d, unsigned offset)
{
	return vdev_config(d, offset, 4) | (uint64_t)vdev_config(d, offset + 4, 4) << 32;
}

uint32_t vdev_isr(const struct vdev *d)
{
	uint32_t v;

	if (d->pci)
		return mmio_read8(d->isr); /* reading clears (§4.1.4.5) */
	v = mmio_read32(d->base + MM_ISR);
	if (v)
		mmio_write32(d->base + MM_ACK, v);
	return v;
}

int vdev_use_msix(const struct vdev *d, unsigned queue, const struct msi_msg *m)
{
	if (!d->pci || !msix_size(d->fn))
		return -1;
	msix_enable(d->fn, true);
	msix_set(d->fn, 0, m);
	select_queue(d, queue);
	mmio_write16(d->common + PC_Q_VECTOR, 0);
	return mmio_read16(d->common + PC_Q_VECTOR) == 0 ? 0 : -1; /* §4.1.5.1.2 */
}
