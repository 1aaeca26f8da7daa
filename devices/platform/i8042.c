/* SPDX-License-Identifier: Apache-2.0 */
/* The keyboard controller of PCs, as far as a reboot goes: command 0xf0..0xff pulses output lines,
 * of which line 0, active low, is the reset. There is no keyboard: the firmware tables say so, and
 * the status register reads as "nothing to read, ready for commands". */
#include <stdlib.h>
#include "devices/platform/platform.h"

#define I8042_DATA   0x60
#define I8042_STATUS 0x64
#define CMD_PULSE    0xf0

struct i8042 {
	struct device device; /* first */
	struct io_region data, status;
};

static uint64_t i8042_read(void *dev, uint64_t off, unsigned size)
{
	return 0;
}

static void data_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
}

static void command_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct i8042 *k = dev;
	struct dev_host *h = k->device.host;

	if ((value & CMD_PULSE) == CMD_PULSE && !(value & 1))
		h->ops->event(h, DEV_EVENT_RESET, 0);
}

static const struct io_ops data_io = {i8042_read, data_write};
static const struct io_ops status_io = {i8042_read, command_write};

static int i8042_visit(struct device *d, struct visitor *v)
{
	return visit_status(v); /* no state */
}

static unsigned i8042_describe(const struct device *d, struct dev_desc *ret, unsigned max)
{
	if (!max)
		return 0;
	ret[0] = (struct dev_desc){
		.kind = DEV_I8042, .space = SPACE_PIO, .base = I8042_DATA, .size = 5, .id = d->id};
	return 1;
}

static void i8042_free(struct device *d)
{
	struct i8042 *k = (struct i8042 *)d;

	bus_del(d->host->pio, &k->data);
	bus_del(d->host->pio, &k->status);
	device_fini(d);
	free(k);
}

static const struct device_ops i8042_ops = {
	.type = "i8042",
	.visit = i8042_visit,
	.describe = i8042_describe,
	.free = i8042_free,
};

int i8042_new(struct dev_host *h, const char *id, struct device **ret_device)
{
	struct i8042 *k;
	int r;

	if (!h->pio)
		return -EINVAL;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	device_init(&k->device, &i8042_ops, h, id);
	k->data = (struct io_region){I8042_DATA, 1, &data_io, k, &k->device.lock, k->device.id};
	k->status =
		(struct io_region){I8042_STATUS, 1, &status_io, k, &k->device.lock, k->device.id};
	r = bus_add(h->pio, &k->data);
	if (!r)
		r = bus_add(h->pio, &k->status);
	if (r < 0) {
		i8042_free(&k->device);
		return r;
	}
	*ret_device = &k->device;
	return 0;
}
