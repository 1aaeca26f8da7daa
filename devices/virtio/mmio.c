/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over MMIO (virtio 1.2 §4.2), register layout version 2. Registers are 32 bits wide; config
 * space from 0x100 takes any width. Writing 0 to Status returns only when the reset is done:
 * drivers of this transport go on at once without polling. */
#include "devices/virtio/core.h"

#include <errno.h>
#include <stdlib.h>
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

#define MMIO_SIZE   0x200
#define MMIO_CONFIG 0x100

/* §4.2.2, table 4.1 */
enum {
	REG_MAGIC = 0x00,
	REG_VERSION = 0x04,
	REG_DEVICE_ID = 0x08,
	REG_VENDOR_ID = 0x0c,
	REG_FEATURES = 0x10,
	REG_FEATURES_SEL = 0x14,
	REG_DRIVER_FEATURES = 0x20,
	REG_DRIVER_FEATURES_SEL = 0x24,
	REG_QUEUE_SEL = 0x30,
	REG_QUEUE_NUM_MAX = 0x34,
	REG_QUEUE_NUM = 0x38,
	REG_QUEUE_READY = 0x44,
	REG_QUEUE_NOTIFY = 0x50,
	REG_INTERRUPT_STATUS = 0x60,
	REG_INTERRUPT_ACK = 0x64,
	REG_STATUS = 0x70,
	REG_DESC_LOW = 0x80,
	REG_DESC_HIGH = 0x84,
	REG_DRIVER_LOW = 0x90,
	REG_DRIVER_HIGH = 0x94,
	REG_DEVICE_LOW = 0xa0,
	REG_DEVICE_HIGH = 0xa4,
	REG_SHM_LEN_LOW = 0xb0,
	REG_SHM_LEN_HIGH = 0xb4,
	REG_SHM_BASE_LOW = 0xb8,
	REG_SHM_BASE_HIGH = 0xbc,
	REG_CONFIG_GENERATION = 0xfc,
};

struct virtio_mmio {
	struct device device; /* first */
	struct virtio_core core;
	struct io_region region;
	struct irq_line *irq;
	uint32_t pin;
	bool doorbells;
};

static uint32_t read_queue(struct virtio_mmio *m, uint64_t off)
{
	struct virtio_core *c = &m->core;
	struct virtio_core_queue *q = virtio_core_queue(c);

	if (!q)
		return 0;
	switch (off) {
	case REG_QUEUE_NUM_MAX:
		return c->dev->queue_max[c->queue_sel];
	case REG_QUEUE_READY: /* §4.2.3.2: reads 1 until a stop has ended */
		return q->enabled || q->running;
	default:
		return 0;
	}
}

static uint32_t read_register(struct virtio_mmio *m, uint64_t off)
{
	struct virtio_core *c = &m->core;

	switch (off) {
	case REG_MAGIC:
		return 0x74726976; /* "virt" */
	case REG_VERSION:
		return 2;
	case REG_DEVICE_ID:
		return c->dev->type;
	case REG_VENDOR_ID:
		return 0x59564c50; /* "PLVY" */
	case REG_FEATURES:
		return virtio_core_features_read(c);
	case REG_INTERRUPT_STATUS:
		return atomic_load(&c->isr);
	case REG_STATUS:
		return virtio_core_status_read(c);
	case REG_SHM_LEN_LOW: /* §4.2.2: a region that does not exist has length and base -1 */
	case REG_SHM_LEN_HIGH:
	case REG_SHM_BASE_LOW:
	case REG_SHM_BASE_HIGH:
		return UINT32_MAX;
	case REG_CONFIG_GENERATION:
		return c->generation;
	default:
		return read_queue(m, off);
	}
}

static uint64_t mmio_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_mmio *m = dev;
	uint64_t v = 0;

	if (off >= MMIO_CONFIG)
		virtio_core_config_read(&m->core, off - MMIO_CONFIG, &v, size);
	else if (size == 4) /* §4.2.2.2: nothing else is used */
		v = read_register(m, off);
	return v;
}

static void set_half(uint64_t *at, bool high, uint32_t v)
{
	store_le((uint8_t *)at + 4 * high, 4, v);
}

static void write_queue(struct virtio_mmio *m, uint64_t off, uint32_t v)
{
	struct virtio_core_queue *q = virtio_core_queue_setup(&m->core);
	bool high = off & 4;

	if (!q)
		return;
	switch (off & ~(uint64_t)4) {
	case REG_DESC_LOW:
		set_half(&q->desc, high, v);
		break;
	case REG_DRIVER_LOW:
		set_half(&q->avail, high, v);
		break;
	case REG_DEVICE_LOW:
		set_half(&q->used, high, v);
		break;
	}
}

static void write_register(struct virtio_mmio *m, uint64_t off, uint32_t v)
{
	struct virtio_core *c = &m->core;

	switch (off) {
	case REG_FEATURES_SEL:
		c->feature_sel = v;
		break;
	case REG_DRIVER_FEATURES:
		virtio_core_features_write(c, v);
		break;
	case REG_DRIVER_FEATURES_SEL:
		c->driver_feature_sel = v;
		break;
	case REG_QUEUE_SEL:
		c->queue_sel = v;
		break;
	case REG_QUEUE_NUM:
		virtio_core_queue_size(c, v);
		break;
	case REG_QUEUE_READY:
		virtio_core_queue_enable(c, v & 1);
		break;
	case REG_QUEUE_NOTIFY: /* where there is no doorbell */
		virtio_core_kick(c, v);
		break;
	case REG_INTERRUPT_ACK:
		atomic_fetch_and(&c->isr, ~v);
		break;
	case REG_STATUS:
		virtio_core_status_write(c, v);
		virtio_core_wait_reset(c);
		break;
	default:
		write_queue(m, off, v);
	}
}

static void mmio_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct virtio_mmio *m = dev;

	if (off >= MMIO_CONFIG)
		virtio_core_config_write(&m->core, off - MMIO_CONFIG, &value, size);
	else if (size == 4)
		write_register(m, off, value);
}

static const struct io_ops mmio_io = {mmio_read, mmio_write};

static struct virtio_signal mmio_signal(struct virtio_core *c)
{
	return (struct virtio_signal){
		.line = container_of(c, struct virtio_mmio, core)->irq,
		.status = &c->isr,
	};
}

static struct virtio_signal queue_signal(struct virtio_core *c, unsigned i)
{
	return mmio_signal(c);
}

/* One register for all queues; the value written tells them apart. */
static int doorbells(struct virtio_mmio *m, bool add)
{
	struct dev_host *h = m->device.host;
	int r = 0;

	for (unsigned i = 0; i < m->core.dev->nqueues && r == 0; i++)
		r = h->ops->doorbell(h, add, SPACE_MMIO, m->region.base + REG_QUEUE_NOTIFY, 4, true,
			i, m->core.queue[i].kick_fd);
	return r == -EOPNOTSUPP ? 0 : r;
}

static void mmio_reset(struct device *d)
{
	virtio_core_power_on(&((struct virtio_mmio *)d)->core);
}

static int mmio_visit(struct device *d, struct visitor *v)
{
	struct virtio_mmio *m = (struct virtio_mmio *)d;
	uint32_t version = 1;

	visit_begin(v, d->id, &version);
	virtio_core_visit(&m->core, v);
	visit_end(v);
	return visit_status(v);
}

static unsigned mmio_describe(const struct device *d, struct dev_desc *ret, unsigned max)
{
	const struct virtio_mmio *m = (const struct virtio_mmio *)d;

	if (!max)
		return 0;
	ret[0] = (struct dev_desc){
		.kind = DEV_VIRTIO_MMIO,
		.space = SPACE_MMIO,
		.base = m->region.base,
		.size = m->region.size,
		.irq = m->pin,
		.has_irq = true,
		.id = d->id,
	};
	return 1;
}

static void mmio_pause(struct device *d)
{
	virtio_core_pause(&((struct virtio_mmio *)d)->core);
}

static bool mmio_paused(const struct device *d)
{
	return virtio_core_paused(&((struct virtio_mmio *)d)->core);
}

static void mmio_resume(struct device *d)
{
	virtio_core_resume(&((struct virtio_mmio *)d)->core);
}

static unsigned mmio_counters(struct device *d, struct dev_counter *ret, unsigned max)
{
	return virtio_core_counters(&((struct virtio_mmio *)d)->core, ret, max);
}

static unsigned mmio_achieved(struct device *d, struct dev_achieved *ret, unsigned max)
{
	return virtio_core_achieved(&((struct virtio_mmio *)d)->core, ret, max);
}

static void mmio_free(struct device *d)
{
	struct virtio_mmio *m = (struct virtio_mmio *)d;

	bus_del(d->host->mmio, &m->region);
	if (m->doorbells)
		doorbells(m, false);
	virtio_core_fini(&m->core);
	irq_line_free(m->irq);
	device_fini(d);
	free(m);
}

static const struct device_ops mmio_ops = {
	.type = "virtio-mmio",
	.reset = mmio_reset,
	.visit = mmio_visit,
	.pause = mmio_pause,
	.paused = mmio_paused,
	.resume = mmio_resume,
	.counters = mmio_counters,
	.achieved = mmio_achieved,
	.describe = mmio_describe,
	.free = mmio_free,
};

static int connect(struct virtio_mmio *m)
{
	struct dev_host *h = m->device.host;
	int r = irq_wire_new(h->irqs, NULL, m->pin, IRQ_EDGE, h->control, &m->irq);

	/* One write per interrupt instead of two calls that set and clear the pin. */
	if (r == 0 && h->irqs->has_irqfd) {
		r = irq_fd(m->irq);
		r = r < 0 ? r : 0;
	}
	if (r == 0)
		r = bus_add(h->mmio, &m->region);
	if (r == 0) {
		m->doorbells = true;
		r = doorbells(m, true);
	}
	return r;
}

int virtio_mmio_new(struct dev_host *h, struct virtio_dev *dev, uint64_t base, uint32_t pin,
	struct device **ret_device)
{
	struct virtio_mmio *m = calloc(1, sizeof(*m));
	int r;

	if (!m) {
		virtio_dev_free(dev);
		return -ENOMEM;
	}
	device_init(&m->device, &mmio_ops, h, dev->id);
	m->pin = pin;
	m->region = (struct io_region){base, MMIO_SIZE, &mmio_io, m, &m->device.lock, m->device.id};
	r = virtio_core_init(&m->core, dev, &m->device.lock);
	m->core.queue_signal = queue_signal;
	m->core.config_signal = mmio_signal;
	if (r == 0)
		r = connect(m);
	if (r < 0) {
		mmio_free(&m->device);
		return r;
	}
	*ret_device = &m->device;
	return 0;
}
