/* SPDX-License-Identifier: Apache-2.0 */
/* The PC's MC146818 clock and its 128 bytes of battery-backed memory, index port 0x70, data 0x71.
 * Time is the host's wall clock plus the offset that the guest's writes made. No alarm and no
 * periodic interrupt: no interrupt line is described.
 *
 * While register B's SET bit is set the ten time bytes are memory (data sheet, "updates are
 * inhibited"); clearing it, or writing one of them without it, turns what they hold into a new
 * offset. */
#include <stdlib.h>
#include <time.h>
#include "devices/platform/platform.h"
#include "vmm/base/num.h"

#define CMOS_PORT  0x70
#define CMOS_BYTES 128

enum {
	RTC_SECONDS = 0,
	RTC_MINUTES = 2,
	RTC_HOURS = 4,
	RTC_WEEKDAY = 6,
	RTC_DAY = 7,
	RTC_MONTH = 8,
	RTC_YEAR = 9,
	RTC_REG_A = 10,
	RTC_REG_B = 11,
	RTC_REG_C = 12,
	RTC_REG_D = 13,
	RTC_CENTURY = 0x32,
};

#define REG_A_32KHZ 0x26 /* divider running, 1024 Hz */
#define REG_A_UIP   0x80
#define REG_B_SET   0x80
#define REG_B_BIN   0x04
#define REG_B_24H   0x02
#define REG_D_VALID 0x80
#define HOUR_PM	    0x80

struct rtc_cmos {
	struct device device; /* first */
	struct io_region region;
	uint8_t index;
	uint8_t ram[CMOS_BYTES];
	int64_t offset_s; /* guest's time minus the host's */
};

static bool is_time(uint8_t index)
{
	return index == RTC_SECONDS || index == RTC_MINUTES || index == RTC_HOURS ||
	       (index >= RTC_WEEKDAY && index <= RTC_YEAR) || index == RTC_CENTURY;
}

static uint8_t encode(const struct rtc_cmos *c, unsigned v)
{
	return c->ram[RTC_REG_B] & REG_B_BIN ? v : (v / 10 % 10) << 4 | v % 10;
}

static unsigned decode(const struct rtc_cmos *c, uint8_t v)
{
	return c->ram[RTC_REG_B] & REG_B_BIN ? v : (v >> 4) * 10 + (v & 0xf);
}

static uint8_t encode_hour(const struct rtc_cmos *c, unsigned hour)
{
	if (c->ram[RTC_REG_B] & REG_B_24H)
		return encode(c, hour);
	return encode(c, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct rtc_cmos *c, uint8_t v)
{
	if (c->ram[RTC_REG_B] & REG_B_24H)
		return decode(c, v);
	return decode(c, v & ~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

static int64_t host_s(const struct rtc_cmos *c)
{
	return c->device.host->ops->realtime_ns(c->device.host) / 1000000000;
}

static void time_to_ram(struct rtc_cmos *c)
{
	time_t now = host_s(c) + c->offset_s;
	struct tm t;

	if (!gmtime_r(&now, &t))
		return;
	c->ram[RTC_SECONDS] = encode(c, t.tm_sec);
	c->ram[RTC_MINUTES] = encode(c, t.tm_min);
	c->ram[RTC_HOURS] = encode_hour(c, t.tm_hour);
	c->ram[RTC_WEEKDAY] = encode(c, t.tm_wday + 1);
	c->ram[RTC_DAY] = encode(c, t.tm_mday);
	c->ram[RTC_MONTH] = encode(c, t.tm_mon + 1);
	c->ram[RTC_YEAR] = encode(c, t.tm_year % 100);
	c->ram[RTC_CENTURY] = encode(c, (t.tm_year + 1900) / 100);
}

/* Bytes out of range are carried over by timegm, as 60 seconds are a minute. */
static void ram_to_time(struct rtc_cmos *c)
{
	struct tm t = {
		.tm_sec = decode(c, c->ram[RTC_SECONDS]),
		.tm_min = decode(c, c->ram[RTC_MINUTES]),
		.tm_hour = decode_hour(c, c->ram[RTC_HOURS]),
		.tm_mday = decode(c, c->ram[RTC_DAY]),
		.tm_mon = (int)decode(c, c->ram[RTC_MONTH]) - 1,
		.tm_year =
			decode(c, c->ram[RTC_CENTURY]) * 100 + decode(c, c->ram[RTC_YEAR]) - 1900,
	};

	c->offset_s = timegm(&t) - host_s(c);
}

static uint64_t cmos_read(void *dev, uint64_t off, unsigned size)
{
	struct rtc_cmos *c = dev;

	if (off == 0)
		return 0xff; /* the index port is write-only */
	if (is_time(c->index) && !(c->ram[RTC_REG_B] & REG_B_SET))
		time_to_ram(c);
	return c->ram[c->index];
}

static void write_reg_b(struct rtc_cmos *c, uint8_t v)
{
	uint8_t old = c->ram[RTC_REG_B];

	if (!(old & REG_B_SET))
		time_to_ram(c);
	c->ram[RTC_REG_B] = v;
	if (old & REG_B_SET && !(v & REG_B_SET))
		ram_to_time(c);
}

static void write_time(struct rtc_cmos *c, uint8_t v)
{
	bool running = !(c->ram[RTC_REG_B] & REG_B_SET);

	if (running)
		time_to_ram(c);
	c->ram[c->index] = v;
	if (running)
		ram_to_time(c);
}

static void cmos_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct rtc_cmos *c = dev;
	uint8_t v = value;

	if (off == 0)
		c->index = v & (CMOS_BYTES - 1); /* bit 7 is the NMI gate of PCs */
	else if (c->index == RTC_REG_B)
		write_reg_b(c, v);
	else if (c->index == RTC_REG_A)
		c->ram[RTC_REG_A] = v & ~REG_A_UIP;
	else if (is_time(c->index))
		write_time(c, v);
	else if (c->index != RTC_REG_C && c->index != RTC_REG_D)
		c->ram[c->index] = v;
}

static const struct io_ops cmos_io = {cmos_read, cmos_write};

/* A reset leaves the clock and its memory alone: they have a battery. */
static void cmos_reset(struct device *d)
{
	((struct rtc_cmos *)d)->index = 0;
}

static int cmos_visit(struct device *d, struct visitor *v)
{
	struct rtc_cmos *c = (struct rtc_cmos *)d;
	uint32_t version = 1;
	uint64_t offset = c->offset_s;

	visit_begin(v, d->id, &version);
	visit_u8(v, "index", &c->index);
	visit_bytes(v, "ram", c->ram, sizeof(c->ram));
	visit_u64(v, "offset_s", &offset);
	if (c->index >= CMOS_BYTES)
		visit_fail(v, -EINVAL);
	visit_end(v);
	c->offset_s = offset;
	return visit_status(v);
}

static unsigned cmos_describe(const struct device *d, struct dev_desc *ret, unsigned max)
{
	if (!max)
		return 0;
	ret[0] = (struct dev_desc){
		.kind = DEV_RTC, .space = SPACE_PIO, .base = CMOS_PORT, .size = 2, .id = d->id};
	return 1;
}

static void cmos_free(struct device *d)
{
	struct rtc_cmos *c = (struct rtc_cmos *)d;

	bus_del(d->host->pio, &c->region);
	device_fini(d);
	free(c);
}

static const struct device_ops cmos_ops = {
	.type = "rtc-cmos",
	.reset = cmos_reset,
	.visit = cmos_visit,
	.describe = cmos_describe,
	.free = cmos_free,
};

int rtc_cmos_new(struct dev_host *h, const char *id, struct device **ret_device)
{
	struct rtc_cmos *c;
	int r;

	if (!h->pio)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	device_init(&c->device, &cmos_ops, h, id);
	c->ram[RTC_REG_A] = REG_A_32KHZ;
	c->ram[RTC_REG_B] = REG_B_24H;
	c->ram[RTC_REG_D] = REG_D_VALID;
	c->region = (struct io_region){CMOS_PORT, 2, &cmos_io, c, &c->device.lock, c->device.id};
	r = bus_add(h->pio, &c->region);
	if (r < 0) {
		cmos_free(&c->device);
		return r;
	}
	*ret_device = &c->device;
	return 0;
}
