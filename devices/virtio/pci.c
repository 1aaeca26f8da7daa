/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over PCI, modern only (virtio 1.2 §4.1). One 64-bit memory BAR:
 *
 *   0x0000  common configuration      0x3000  notify, 4 bytes a queue (each its own doorbell)
 *   0x1000  ISR status                0x4000  MSI-X table
 *   0x2000  device configuration      0x5000  MSI-X pending bits
 *
 * Interrupts go by MSI-X while it is enabled, else by INTx with the ISR byte. The same registers
 * can be reached without mapping the BAR, through the PCI_CFG capability (§4.1.4.9): firmware does
 * so. */
#include "devices/virtio/core.h"

#include <errno.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include "devices/pci/pci.h"
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

#define VIRTIO_VENDOR 0x1af4
#define DEVICE_ID     0x1040 /* + type, §4.1.2 */

#define PCI_CAP_VENDOR 0x09

#define BAR	   0
#define BAR_SIZE   0x8000
#define AT_COMMON  0x0000
#define AT_ISR	   0x1000
#define AT_DEVICE  0x2000
#define AT_NOTIFY  0x3000
#define AT_MSIX	   0x4000
#define AT_PBA	   0x5000
#define AREA	   0x1000
#define NOTIFY_MUL 4

struct virtio_pci {
	struct device device; /* first */
	struct virtio_core core;
	struct pci_fn fn;
	uint8_t cfg_cap; /* the PCI_CFG capability's place */
};

static struct virtio_pci *of_fn(struct pci_fn *f)
{
	return container_of(f, struct virtio_pci, fn);
}

static struct virtio_pci *of_core(struct virtio_core *c)
{
	return container_of(c, struct virtio_pci, core);
}

static void raise_intx(void *arg)
{
	pci_fn_set_intx(arg, true);
}

static struct virtio_signal vector_signal(struct virtio_pci *p, uint16_t vector)
{
	if (pci_fn_msix_enabled(&p->fn))
		return (struct virtio_signal){.line = pci_fn_msix_line(&p->fn, vector)};
	return (struct virtio_signal){.status = &p->core.isr, .raise = raise_intx, .arg = &p->fn};
}

static struct virtio_signal queue_signal(struct virtio_core *c, unsigned i)
{
	return vector_signal(of_core(c), c->queue[i].vector);
}

static struct virtio_signal config_signal(struct virtio_core *c)
{
	return vector_signal(of_core(c), c->config_vector);
}

static void was_reset(struct virtio_core *c)
{
	pci_fn_set_intx(&of_core(c)->fn, false);
}

/* §4.1.4.5: reading clears, and lets go of the line. A worker may have set a bit and raised the
 * line in between: then it is raised again. */
static uint8_t read_isr(struct virtio_pci *p)
{
	uint8_t isr = atomic_exchange(&p->core.isr, 0);

	pci_fn_set_intx(&p->fn, false);
	if (atomic_load(&p->core.isr))
		pci_fn_set_intx(&p->fn, true);
	return isr;
}

/* A 64-bit register as its two halves, §4.1.3.1. */
static uint32_t half(uint64_t v, unsigned off)
{
	return off & 4 ? v >> 32 : v;
}

static uint64_t common_read_queue(struct virtio_pci *p, unsigned off, unsigned size)
{
	struct virtio_core *c = &p->core;
	struct virtio_core_queue *q = virtio_core_queue(c);

	if (!q)
		return 0;
	switch (off << 4 | size) {
	case VIRTIO_PCI_COMMON_Q_SIZE << 4 | 2:
		return q->size;
	case VIRTIO_PCI_COMMON_Q_MSIX << 4 | 2:
		return q->vector;
	case VIRTIO_PCI_COMMON_Q_ENABLE << 4 | 2:
		return q->enabled;
	case VIRTIO_PCI_COMMON_Q_NOFF << 4 | 2:
		return c->queue_sel;
	case VIRTIO_PCI_COMMON_Q_DESCLO << 4 | 4:
	case VIRTIO_PCI_COMMON_Q_DESCHI << 4 | 4:
		return half(q->desc, off - VIRTIO_PCI_COMMON_Q_DESCLO);
	case VIRTIO_PCI_COMMON_Q_AVAILLO << 4 | 4:
	case VIRTIO_PCI_COMMON_Q_AVAILHI << 4 | 4:
		return half(q->avail, off - VIRTIO_PCI_COMMON_Q_AVAILLO);
	case VIRTIO_PCI_COMMON_Q_USEDLO << 4 | 4:
	case VIRTIO_PCI_COMMON_Q_USEDHI << 4 | 4:
		return half(q->used, off - VIRTIO_PCI_COMMON_Q_USEDLO);
	default:
		return 0;
	}
}

/* Only natural widths are registers (§4.1.3.1), so offset and width together pick one. */
static uint64_t common_read(struct virtio_pci *p, unsigned off, unsigned size)
{
	struct virtio_core *c = &p->core;

	switch (off << 4 | size) {
	case VIRTIO_PCI_COMMON_DFSELECT << 4 | 4:
		return c->feature_sel;
	case VIRTIO_PCI_COMMON_DF << 4 | 4:
		return virtio_core_features_read(c);
	case VIRTIO_PCI_COMMON_GFSELECT << 4 | 4:
		return c->driver_feature_sel;
	case VIRTIO_PCI_COMMON_GF << 4 | 4:
		return c->driver_feature_sel < 2
			       ? half(c->driver_features, 4 * c->driver_feature_sel)
			       : 0;
	case VIRTIO_PCI_COMMON_MSIX << 4 | 2:
		return c->config_vector;
	case VIRTIO_PCI_COMMON_NUMQ << 4 | 2:
		return c->dev->nqueues;
	case VIRTIO_PCI_COMMON_STATUS << 4 | 1:
		return virtio_core_status_read(c);
	case VIRTIO_PCI_COMMON_CFGGENERATION << 4 | 1:
		return c->generation & 0xff;
	case VIRTIO_PCI_COMMON_Q_SELECT << 4 | 2:
		return c->queue_sel;
	default:
		return common_read_queue(p, off, size);
	}
}

/* §4.1.5.1.2: a vector that does not exist reads back as "no vector". */
static uint16_t valid_vector(struct virtio_pci *p, uint16_t v)
{
	return pci_fn_msix_line(&p->fn, v) ? v : VIRTIO_NO_VECTOR;
}

static void set_queue_vector(struct virtio_pci *p, uint16_t v)
{
	struct virtio_core_queue *q = virtio_core_queue(&p->core);

	if (!q || p->core.resetting)
		return;
	q->vector = valid_vector(p, v);
	if (q->running)
		virtio_core_signals_changed(&p->core);
}

static void common_write_queue(struct virtio_pci *p, unsigned off, unsigned size, uint32_t v)
{
	struct virtio_core_queue *q = virtio_core_queue_setup(&p->core);
	uint8_t *at;

	if (!q || size != 4 || off & 3)
		return;
	switch (off & ~7u) {
	case VIRTIO_PCI_COMMON_Q_DESCLO:
		at = (uint8_t *)&q->desc;
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
		at = (uint8_t *)&q->avail;
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
		at = (uint8_t *)&q->used;
		break;
	default:
		return;
	}
	store_le(at + (off & 4), 4, v);
}

static void common_write(struct virtio_pci *p, unsigned off, unsigned size, uint32_t v)
{
	struct virtio_core *c = &p->core;

	switch (off << 4 | size) {
	case VIRTIO_PCI_COMMON_DFSELECT << 4 | 4:
		c->feature_sel = v;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT << 4 | 4:
		c->driver_feature_sel = v;
		break;
	case VIRTIO_PCI_COMMON_GF << 4 | 4:
		virtio_core_features_write(c, v);
		break;
	case VIRTIO_PCI_COMMON_MSIX << 4 | 2:
		if (!c->resetting)
			c->config_vector = valid_vector(p, v);
		break;
	case VIRTIO_PCI_COMMON_STATUS << 4 | 1:
		virtio_core_status_write(c, v);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT << 4 | 2:
		c->queue_sel = v;
		break;
	case VIRTIO_PCI_COMMON_Q_SIZE << 4 | 2:
		virtio_core_queue_size(c, v);
		break;
	case VIRTIO_PCI_COMMON_Q_MSIX << 4 | 2:
		set_queue_vector(p, v);
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE << 4 | 2:
		if (v == 1) /* §4.1.4.3.2: a driver does not write 0 */
			virtio_core_queue_enable(c, true);
		break;
	default:
		common_write_queue(p, off, size, v);
	}
}

static uint64_t area_read(struct virtio_pci *p, unsigned area, unsigned off, unsigned size)
{
	uint64_t v = 0;

	switch (area) {
	case AT_COMMON:
		return common_read(p, off, size);
	case AT_ISR:
		return off == 0 ? read_isr(p) : 0;
	case AT_DEVICE:
		virtio_core_config_read(&p->core, off, &v, size);
		return v;
	case AT_MSIX:
	case AT_PBA:
		return p->fn.msix ? msix_read(&p->fn, off, size, area == AT_PBA) : 0;
	default:
		return 0;
	}
}

static void area_write(struct virtio_pci *p, unsigned area, unsigned off, unsigned size, uint64_t v)
{
	switch (area) {
	case AT_COMMON:
		common_write(p, off, size, v);
		break;
	case AT_DEVICE:
		virtio_core_config_write(&p->core, off, &v, size);
		break;
	case AT_NOTIFY: /* where there is no doorbell */
		virtio_core_kick(&p->core, off / NOTIFY_MUL);
		break;
	case AT_MSIX:
		if (p->fn.msix)
			msix_write(&p->fn, off, size, v);
		break;
	default: /* ISR and PBA are read-only */
		break;
	}
}

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
	unsigned area = off & ~(uint64_t)(AREA - 1), at = off & (AREA - 1);

	return area_read(dev, area, at, size);
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	unsigned area = off & ~(uint64_t)(AREA - 1), at = off & (AREA - 1);

	if (area == AT_COMMON && size == 8) { /* a driver may write both halves at once */
		area_write(dev, area, at, 4, value & UINT32_MAX);
		area_write(dev, area, at + 4, 4, value >> 32);
	} else {
		area_write(dev, area, at, size, value);
	}
}

static const struct io_ops bar_io = {bar_read, bar_write};

/* §4.1.4.9.1: an access to pci_cfg_data is one to the BAR at the capability's offset. Returns false
 * unless the window is a whole, aligned access inside our BAR. */
static bool cfg_window(struct virtio_pci *p, uint16_t off, uint32_t *ret_off, uint32_t *ret_len)
{
	const uint8_t *cap = p->fn.config + p->cfg_cap;
	uint32_t at = load_le(cap + VIRTIO_PCI_CAP_OFFSET, 4);
	uint32_t len = load_le(cap + VIRTIO_PCI_CAP_LENGTH, 4);

	if (!p->cfg_cap || off != p->cfg_cap + sizeof(struct virtio_pci_cap))
		return false;
	if (cap[VIRTIO_PCI_CAP_BAR] != BAR || (len != 1 && len != 2 && len != 4))
		return false;
	if (at % len || at > BAR_SIZE - len)
		return false;
	*ret_off = at;
	*ret_len = len;
	return true;
}

static bool config_read(struct pci_fn *f, uint16_t off, unsigned size, uint32_t *ret_value)
{
	struct virtio_pci *p = of_fn(f);
	uint32_t at, len;

	if (!cfg_window(p, off, &at, &len))
		return false;
	*ret_value = bar_read(p, at, len);
	return true;
}

static bool config_write(struct pci_fn *f, uint16_t off, unsigned size, uint32_t value)
{
	struct virtio_pci *p = of_fn(f);
	uint32_t at, len;

	if (!cfg_window(p, off, &at, &len))
		return false;
	bar_write(p, at, len, value & (UINT32_MAX >> (32 - 8 * len)));
	return true;
}

static void bar_mapped(struct pci_fn *f, unsigned bar, uint64_t base, bool mapped)
{
	struct virtio_pci *p = of_fn(f);
	struct dev_host *h = p->device.host;

	for (unsigned i = 0; i < p->core.dev->nqueues; i++) {
		int r = h->ops->doorbell(h, mapped, SPACE_MMIO, base + AT_NOTIFY + NOTIFY_MUL * i,
			0, false, 0, p->core.queue[i].kick_fd);

		/* Without it the write arrives as an exit, which serves as well. */
		if (r < 0 && r != -EOPNOTSUPP)
			log_limited(h->log, &p->core.limit, LOG_WARN, p->device.id,
				"no doorbell for queue %u: %s", i, strerrordesc_np(-r));
	}
}

static void irq_mode(struct pci_fn *f)
{
	virtio_core_signals_changed(&of_fn(f)->core);
}

static const struct pci_fn_ops fn_ops = {
	.bar_mapped = bar_mapped,
	.config_read = config_read,
	.config_write = config_write,
	.irq_mode = irq_mode,
};

static void add_cap(struct virtio_pci *p, uint8_t type, uint32_t off, uint32_t len)
{
	struct virtio_pci_cap cap = {
		.cap_len = sizeof(cap), .cfg_type = type, .bar = BAR, .offset = off, .length = len};

	pci_fn_add_cap(&p->fn, PCI_CAP_VENDOR, &cap, sizeof(cap));
}

/* §4.1.4 */
static void add_caps(struct virtio_pci *p)
{
	unsigned n = p->core.dev->nqueues;
	struct virtio_pci_notify_cap notify = {
		.cap = {.cap_len = sizeof(notify),
			.cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG,
			.bar = BAR,
			.offset = AT_NOTIFY,
			.length = n * NOTIFY_MUL},
		.notify_off_multiplier = NOTIFY_MUL,
	};
	struct virtio_pci_cfg_cap cfg = {
		.cap = {.cap_len = sizeof(cfg), .cfg_type = VIRTIO_PCI_CAP_PCI_CFG},
	};
	uint8_t *writable;

	add_cap(p, VIRTIO_PCI_CAP_COMMON_CFG, AT_COMMON, sizeof(struct virtio_pci_common_cfg));
	pci_fn_add_cap(&p->fn, PCI_CAP_VENDOR, &notify, sizeof(notify));
	add_cap(p, VIRTIO_PCI_CAP_ISR_CFG, AT_ISR, 1);
	if (p->core.dev->config_len)
		add_cap(p, VIRTIO_PCI_CAP_DEVICE_CFG, AT_DEVICE, p->core.dev->config_len);
	p->cfg_cap = pci_fn_add_cap(&p->fn, PCI_CAP_VENDOR, &cfg, sizeof(cfg));
	writable = p->fn.writable + p->cfg_cap;
	writable[VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(writable + VIRTIO_PCI_CAP_OFFSET, 0xff, 8); /* offset and length */
}

static uint32_t class_rev(enum virtio_type t)
{
	switch (t) {
	case VIRTIO_TYPE_NET:
		return 0x02000001; /* Ethernet controller; revision 1 or more, §4.1.2.1 */
	case VIRTIO_TYPE_BLOCK:
		return 0x01000001; /* mass storage, as other hypervisors say */
	case VIRTIO_TYPE_CONSOLE:
		return 0x07800001;
	case VIRTIO_TYPE_INPUT:
		return 0x09800001;
	default:
		return 0x00ff0001;
	}
}

static void pci_reset(struct device *d)
{
	struct virtio_pci *p = (struct virtio_pci *)d;

	virtio_core_power_on(&p->core);
	pci_fn_reset(&p->fn);
}

static int pci_visit(struct device *d, struct visitor *v)
{
	struct virtio_pci *p = (struct virtio_pci *)d;
	uint32_t version = 1;

	visit_begin(v, d->id, &version);
	pci_fn_visit(&p->fn, v);
	virtio_core_visit(&p->core, v);
	visit_end(v);
	return visit_status(v);
}

static void pci_pause(struct device *d)
{
	virtio_core_pause(&((struct virtio_pci *)d)->core);
}

static bool pci_paused(const struct device *d)
{
	return virtio_core_paused(&((struct virtio_pci *)d)->core);
}

static void pci_resume(struct device *d)
{
	virtio_core_resume(&((struct virtio_pci *)d)->core);
}

static unsigned pci_counters(struct device *d, struct dev_counter *ret, unsigned max)
{
	return virtio_core_counters(&((struct virtio_pci *)d)->core, ret, max);
}

static unsigned pci_achieved(struct device *d, struct dev_achieved *ret, unsigned max)
{
	return virtio_core_achieved(&((struct virtio_pci *)d)->core, ret, max);
}

static void pci_free(struct device *d)
{
	struct virtio_pci *p = (struct virtio_pci *)d;

	/* The queues stop while their lines exist; the doorbells go while their fds do. */
	virtio_core_power_on(&p->core);
	p->core.was_reset = NULL;
	pci_fn_fini(&p->fn);
	virtio_core_fini(&p->core);
	device_fini(d);
	free(p);
}

static const struct device_ops pci_ops = {
	.type = "virtio-pci",
	.reset = pci_reset,
	.visit = pci_visit,
	.pause = pci_pause,
	.paused = pci_paused,
	.resume = pci_resume,
	.counters = pci_counters,
	.achieved = pci_achieved,
	.free = pci_free,
};

static int connect(struct virtio_pci *p, struct pci_root *root, int slot)
{
	struct pci_bar *bar = &p->fn.bar[BAR];
	int r;

	bar->size = BAR_SIZE;
	bar->is64 = bar->prefetch = true;
	bar->region = (struct io_region){
		.ops = &bar_io, .dev = p, .lock = &p->device.lock, .name = p->device.id};
	add_caps(p);
	r = pci_fn_add_msix(&p->fn, p->core.dev->nqueues + 1, BAR, AT_MSIX, AT_PBA);
	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	return pci_root_add(root, &p->fn, slot);
}

int virtio_pci_new(struct dev_host *h, struct virtio_dev *dev, struct pci_root *root, int slot,
	struct device **ret_device)
{
	struct virtio_pci *p = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		virtio_dev_free(dev);
		return -ENOMEM;
	}
	device_init(&p->device, &pci_ops, h, dev->id);
	pci_fn_init(&p->fn, &fn_ops, &p->device, VIRTIO_VENDOR, DEVICE_ID + dev->type,
		class_rev(dev->type), VIRTIO_VENDOR, DEVICE_ID + dev->type);
	r = virtio_core_init(&p->core, dev, &p->device.lock);
	p->core.queue_signal = queue_signal;
	p->core.config_signal = config_signal;
	p->core.was_reset = was_reset;
	if (r == 0)
		r = connect(p, root, slot);
	if (r < 0) {
		pci_free(&p->device);
		return r;
	}
	*ret_device = &p->device;
	return 0;
}
