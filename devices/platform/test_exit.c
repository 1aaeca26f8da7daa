/* SPDX-License-Identifier: Apache-2.0 */
/* The way a bare-metal guest reports: writing v ends the VM with exit status (v << 1) | 1, of which
 * a process keeps the low byte. The encoding is that of QEMU's isa-debug-exit, so that guests
 * written for it run unchanged; status 0 cannot be produced and means that nobody wrote. */
#include <stdlib.h>
#include "devices/platform/platform.h"

struct test_exit {
	struct device device; /* first */
	struct io_region region;
	enum dev_space space;
};

static uint64_t exit_read(void *dev, uint64_t off, unsigned size)
{
	return 0;
}

static void exit_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct test_exit *t = dev;
	struct dev_host *h = t->device.host;

	h->ops->event(h, DEV_EVENT_EXIT, (uint8_t)(value << 1 | 1));
}

static const struct io_ops exit_io = {exit_read, exit_write};

static int exit_visit(struct device *d, struct visitor *v)
{
	return visit_status(v); /* no state */
}

static unsigned exit_describe(const struct device *d, struct dev_desc *ret, unsigned max)
{
	const struct test_exit *t = (const struct test_exit *)d;

	if (!max)
		return 0;
	ret[0] = (struct dev_desc){
		.kind = DEV_TEST_EXIT,
		.space = t->space,
		.base = t->region.base,
		.size = t->region.size,
		.id = d->id,
	};
	return 1;
}

static struct bus *exit_bus(const struct test_exit *t)
{
	return t->space == SPACE_PIO ? t->device.host->pio : t->device.host->mmio;
}

static void exit_free(struct device *d)
{
	struct test_exit *t = (struct test_exit *)d;

	bus_del(exit_bus(t), &t->region);
	device_fini(d);
	free(t);
}

static const struct device_ops exit_ops = {
	.type = "test-exit",
	.visit = exit_visit,
	.describe = exit_describe,
	.free = exit_free,
};

int test_exit_new(struct dev_host *h, const char *id, const struct platform_at *at,
	struct device **ret_device)
{
	struct test_exit *t;
	int r;

	if (at->space == SPACE_PIO && !h->pio)
		return -EINVAL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	device_init(&t->device, &exit_ops, h, id);
	t->space = at->space;
	t->region = (struct io_region){at->base, 4, &exit_io, t, &t->device.lock, t->device.id};
	r = bus_add(exit_bus(t), &t->region);
	if (r < 0) {
		exit_free(&t->device);
		return r;
	}
	*ret_device = &t->device;
	return 0;
}
