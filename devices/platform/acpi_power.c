/* SPDX-License-Identifier: Apache-2.0 */
/* Power for guests that use ACPI: the sleep control and status registers of hardware-reduced ACPI
 * (ACPI 6.5 §4.8.3.7), the reset register (§4.8.3.6), and the event register that the Generic Event
 * Device's method reads when its interrupt comes (§5.6.9).
 *
 * S5 is the only sleeping state the tables offer, so any SLP_EN means power off. */
#include <stdlib.h>
#include "devices/platform/platform.h"
#include "vmm/base/cleanup.h"

enum { REG_SLEEP_CONTROL, REG_SLEEP_STATUS, REG_RESET, REG_EVENTS = 4, REGS_SIZE = 8 };

#define SLP_EN		   0x20
#define EVENT_POWER_BUTTON 0x01

struct acpi_power {
	struct device device; /* first */
	struct platform_at at;
	struct io_region region;
	struct irq_line *irq; /* edge */
	uint8_t events;
};

static uint64_t power_read(void *dev, uint64_t off, unsigned size)
{
	struct acpi_power *p = dev;
	uint8_t events;

	if (off != REG_EVENTS)
		return 0;
	events = p->events;
	p->events = 0;
	return events;
}

static void power_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct acpi_power *p = dev;
	struct dev_host *h = p->device.host;

	if (off == REG_SLEEP_CONTROL && value & SLP_EN)
		h->ops->event(h, DEV_EVENT_POWEROFF, 0);
	else if (off == REG_RESET)
		h->ops->event(h, DEV_EVENT_RESET, 0);
}

static const struct io_ops power_io = {power_read, power_write};

void acpi_power_button(struct device *d)
{
	struct acpi_power *p = (struct acpi_power *)d;

	LOCK_SCOPE(&d->lock);
	p->events |= EVENT_POWER_BUTTON;
	irq_pulse(p->irq);
}

static void power_reset(struct device *d)
{
	((struct acpi_power *)d)->events = 0;
}

static int power_visit(struct device *d, struct visitor *v)
{
	struct acpi_power *p = (struct acpi_power *)d;
	uint32_t version = 1;

	visit_begin(v, d->id, &version);
	visit_u8(v, "events", &p->events);
	visit_end(v);
	return visit_status(v);
}

static unsigned power_describe(const struct device *d, struct dev_desc *ret, unsigned max)
{
	const struct acpi_power *p = (const struct acpi_power *)d;

	if (!max)
		return 0;
	ret[0] = (struct dev_desc){
		.kind = DEV_POWER,
		.space = p->at.space,
		.base = p->region.base,
		.size = p->region.size,
		.irq = p->at.irq,
		.has_irq = true,
		.id = d->id,
	};
	return 1;
}

static struct bus *power_bus(const struct acpi_power *p)
{
	return p->at.space == SPACE_PIO ? p->device.host->pio : p->device.host->mmio;
}

static void power_free(struct device *d)
{
	struct acpi_power *p = (struct acpi_power *)d;

	bus_del(power_bus(p), &p->region);
	irq_line_free(p->irq);
	device_fini(d);
	free(p);
}

static const struct device_ops power_ops = {
	.type = "acpi-power",
	.reset = power_reset,
	.visit = power_visit,
	.describe = power_describe,
	.free = power_free,
};

int acpi_power_new(struct dev_host *h, const char *id, const struct platform_at *at,
	struct device **ret_device)
{
	struct acpi_power *p;
	int r;

	if (at->space == SPACE_PIO && !h->pio)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	device_init(&p->device, &power_ops, h, id);
	p->at = *at;
	p->region = (struct io_region){
		at->base, REGS_SIZE, &power_io, p, &p->device.lock, p->device.id};
	r = irq_wire_new(h->irqs, NULL, at->irq, IRQ_EDGE, h->control, &p->irq);
	if (!r)
		r = bus_add(power_bus(p), &p->region);
	if (r < 0) {
		power_free(&p->device);
		return r;
	}
	*ret_device = &p->device;
	return 0;
}
