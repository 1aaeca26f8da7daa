/* SPDX-License-Identifier: Apache-2.0 */
/* A guest at the registers of every platform device, and a person at the terminal meanwhile. Most
 * accesses hit a register at its width; time passes; state is saved and loaded back. */
#include <stdlib.h>
#include "devices/platform/platform.h"
#include "devices/testing/fake_host.h"
#include "vmm/base/num.h"

#define UART 0x1000
#define RTC  0x2000
#define GOLD 0x4000
#define EXIT 0x6000
#define PINS 8
#define NDEV 7

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct chr {
	size_t (*input)(void *arg, const uint8_t *p, size_t n);
	void *arg;
	unsigned pending; /* bytes that the UART has not taken */
};

int chr_bind(struct chr *c, struct ev_loop *loop,
	size_t (*input)(void *arg, const uint8_t *p, size_t n), void *arg)
{
	c->input = input;
	c->arg = arg;
	return 0;
}

void chr_unbind(struct chr *c)
{
	c->input = NULL;
}

void chr_input_ready(struct chr *c)
{
	if (!c->pending)
		abort(); /* only who was refused is called back */
}

size_t chr_write(struct chr *c, const uint8_t *p, size_t n)
{
	return 0;
}

struct input {
	const uint8_t *p;
	size_t n;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	bytes = MIN((size_t)bytes, in->n);
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->n -= bytes;
	return v;
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void type(struct chr *c, struct input *in)
{
	uint64_t text = take(in, 8);
	size_t n = 1 + take(in, 1) % 8;

	c->pending = n - c->input(c->arg, (uint8_t *)&text, n);
}

static void access_mmio(struct fake_host *f, struct input *in)
{
	static const uint64_t base[] = {UART, UART, RTC, GOLD, EXIT};
	uint64_t b = base[take(in, 1) % ARRAY_SIZE(base)], how = take(in, 1);
	uint64_t off = b == UART ? take(in, 1) % 8 : take(in, 1) % 8 * 4;
	unsigned size = b == UART ? 1 : 4;

	if (how % 16 == 0) {
		off = take(in, 2) % 0x1000;
		size = 1u << take(in, 1) % 4;
	}
	if (how & 16)
		fake_read(f, b + off, size);
	else
		fake_write(f, b + off, size, take(in, size));
}

static void access_pio(struct fake_host *f, struct input *in)
{
	static const uint16_t port[] = {0x70, 0x71, 0x71, 0x60, 0x64, 0x600, 0x601, 0x602, 0x604};
	uint64_t at = port[take(in, 1) % ARRAY_SIZE(port)], v;
	unsigned hint = 0, size = 1u << take(in, 1) % 3;

	bus_write(&f->pio, at, size, take(in, size), &hint);
	bus_read(&f->pio, at, size, &v, &hint);
}

/* What was saved loads, and is then the same. */
static void travel(struct device *d)
{
	struct visit_buf b = {0};
	struct visitor *v;

	check(visitor_new_save(&b, &v) == 0);
	check(d->ops->visit(d, v) == 0);
	visitor_free(v);
	check(visitor_new_load(b.data, b.len, &v) == 0);
	check(d->ops->visit(d, v) == 0);
	visitor_free(v);
	check(visitor_new_compare(b.data, b.len, &v) == 0);
	check(d->ops->visit(d, v) == 0);
	visitor_free(v);
	visit_buf_fini(&b);
}

static void step(struct fake_host *f, struct chr *chr, struct device **dev, struct input *in)
{
	unsigned op = take(in, 1);

	switch (op % 8) {
	case 0:
		type(chr, in);
		break;
	case 1:
		fake_pump(f);
		break;
	case 2:
		travel(dev[op / 8 % NDEV]);
		break;
	case 3:
		if (dev[op / 8 % NDEV]->ops->reset)
			dev[op / 8 % NDEV]->ops->reset(dev[op / 8 % NDEV]);
		break;
	case 4:
		access_pio(f, in);
		break;
	default:
		access_mmio(f, in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct platform_at uart = {SPACE_MMIO, UART, 1, 0}, pl031 = {SPACE_MMIO, RTC, 2, 0},
			   gold = {SPACE_MMIO, GOLD, 3, 0}, ex = {SPACE_MMIO, EXIT, 0, 0},
			   power = {SPACE_PIO, 0x600, 4, 0};
	struct chr chr = {0};
	struct device *dev[NDEV];
	struct fake_host f;

	check(fake_host_init(&f, 0, true) == 0);
	check(ns16550_new(&f.host, "serial", &uart, size & 1 ? IRQ_EDGE : IRQ_LEVEL, &chr,
		      &dev[0]) == 0);
	check(rtc_pl031_new(&f.host, "pl031", &pl031, &dev[1]) == 0);
	check(rtc_goldfish_new(&f.host, "goldfish", &gold, &dev[2]) == 0);
	check(rtc_cmos_new(&f.host, "cmos", &dev[3]) == 0);
	check(acpi_power_new(&f.host, "power", &power, &dev[4]) == 0);
	check(i8042_new(&f.host, "i8042", &dev[5]) == 0);
	check(test_exit_new(&f.host, "exit", &ex, &dev[6]) == 0);
	while (in.n)
		step(&f, &chr, dev, &in);
	fake_pump(&f);
	for (unsigned i = NDEV; i-- > 0;)
		device_free(dev[i]);
	for (unsigned i = 0; i < PINS; i++)
		check(!f.wire[i]);
	fake_host_fini(&f);
	return 0;
}
