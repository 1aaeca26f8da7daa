/* SPDX-License-Identifier: Apache-2.0 */
/* ARM PrimeCell PL031 real time clock (ARM DDI 0224): a 32-bit counter of seconds. The guest's load
 * register is an offset to the host's wall clock. The match register compares when the guest looks
 * (RTCRIS); the interrupt line is not driven, and none is described. */
#include <stdlib.h>
#include "devices/platform/platform.h"

#define PL031_SIZE 0x1000

enum {
	RTC_DR = 0x00,	 /* data */
	RTC_MR = 0x04,	 /* match */
	RTC_LR = 0x08,	 /* load */
	RTC_CR = 0x0c,	 /* control: bit 0, enabled */
	RTC_IMSC = 0x10, /* interrupt mask */
	RTC_RIS = 0x14,	 /* raw status */
	RTC_MIS = 0x18,	 /* masked status */
	RTC_ICR = 0x1c,	 /* clear */
	RTC_ID = 0xfe0,	 /* eight identification bytes, one a word */
};

struct rtc_pl031 {
	struct device device; /* first */
	struct io_region region;
	uint32_t offset, load, match, mask;
	bool armed; /* a match was written since the last one fired or was cleared */
	bool raw;
};

static uint32_t now(const struct rtc_pl031 *p)
{
	struct dev_host *h = p->device.host;

	return (uint32_t)(h->ops->realtime_ns(h) / 1000000000) + p->offset;
}

static void look_at_match(struct rtc_pl031 *p)
{
	if (p->armed && (int32_t)(now(p) - p->match) >= 0) {
		p->armed = false;
		p->raw = true;
	}
}

static uint64_t pl031_read(void *dev, uint64_t off, unsigned size)
{
	/* PeriphID 0x00041031, PCellID 0xb105f00d */
	static const uint8_t id[] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
	struct rtc_pl031 *p = dev;

	if (off >= RTC_ID && !(off & 3))
		return id[(off - RTC_ID) / 4];
	look_at_match(p);
	switch (off) {
	case RTC_DR:
		return now(p);
	case RTC_MR:
		return p->match;
	case RTC_LR:
		return p->load;
	case RTC_CR:
		return 1;
	case RTC_IMSC:
		return p->mask;
	case RTC_RIS:
		return p->raw;
	case RTC_MIS:
		return p->raw & p->mask;
	default:
		return 0;
	}
}

static void pl031_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct rtc_pl031 *p = dev;
	uint32_t v = value;

	look_at_match(p);
	switch (off) {
	case RTC_MR:
		p->match = v;
		p->armed = true;
		break;
	case RTC_LR:
		p->load = v;
		p->offset += v - now(p);
		break;
	case RTC_IMSC:
		p->mask = v & 1;
		break;
	case RTC_ICR:
		if (v & 1)
			p->raw = false;
		break;
	default: /* RTCCR: once started the counter cannot be stopped (§3.3.4) */
		break;
	}
}

static const struct io_ops pl031_io = {pl031_read, pl031_write};

static void pl031_reset(struct device *d)
{
	struct rtc_pl031 *p = (struct rtc_pl031 *)d;

	p->mask = p->match = p->load = 0;
	p->armed = p->raw = false;
}

static int pl031_visit(struct device *d, struct visitor *v)
{
	struct rtc_pl031 *p = (struct rtc_pl031 *)d;
	uint32_t version = 1;

	visit_begin(v, d->id, &version);
	visit_u32(v, "offset", &p->offset);
	visit_u32(v, "load", &p->load);
	visit_u32(v, "match", &p->match);
	visit_u32(v, "mask", &p->mask);
	visit_bool(v, "armed", &p->armed);
	visit_bool(v, "raw", &p->raw);
	visit_end(v);
	return visit_status(v);
}

static unsigned pl031_describe(const struct device *d, struct dev_desc *ret, unsigned max)
{
	const struct rtc_pl031 *p = (const struct rtc_pl031 *)d;

	if (!max)
		return 0;
	ret[0] = (struct dev_desc){
		.kind = DEV_RTC,
		.space = SPACE_MMIO,
		.base = p->region.base,
		.size = p->region.size,
		.id = d->id,
	};
	return 1;
}

static void pl031_free(struct device *d)
{
	struct rtc_pl031 *p = (struct rtc_pl031 *)d;

	bus_del(d->host->mmio, &p->region);
	device_fini(d);
	free(p);
}

static const struct device_ops pl031_ops = {
	.type = "rtc-pl031",
	.reset = pl031_reset,
	.visit = pl031_visit,
	.describe = pl031_describe,
	.free = pl031_free,
};

int rtc_pl031_new(struct dev_host *h, const char *id, const struct platform_at *at,
	struct device **ret_device)
{
	struct rtc_pl031 *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	device_init(&p->device, &pl031_ops, h, id);
	p->region = (struct io_region){
		at->base, PL031_SIZE, &pl031_io, p, &p->device.lock, p->device.id};
	r = bus_add(h->mmio, &p->region);
	if (r < 0) {
		pl031_free(&p->device);
		return r;
	}
	*ret_device = &p->device;
	return 0;
}
