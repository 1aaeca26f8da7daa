/* SPDX-License-Identifier: Apache-2.0 */
/* Three clocks against one wall clock that the test sets. */
#include <criterion/criterion.h>
#include <unistd.h>
#include "devices/platform/platform.h"
#include "devices/testing/fake_host.h"
#include "vmm/base/num.h"

#define NS   UINT64_C(1000000000)
#define BASE 0x9000000
#define IRQ  7

/* 2024-02-29 23:59:58 UTC, a Thursday */
#define LEAP UINT64_C(1709251198)

static uint64_t wall_ns;

static uint64_t test_realtime(struct dev_host *h)
{
	return wall_ns;
}

struct rig {
	struct fake_host f;
	struct dev_host_ops ops;
	struct device *rtc;
};

typedef int new_fn(struct dev_host *h, const char *id, const struct platform_at *at,
	struct device **ret_device);

static int cmos_new(struct dev_host *h, const char *id, const struct platform_at *at,
	struct device **ret_device)
{
	return rtc_cmos_new(h, id, ret_device);
}

static void rig_init(struct rig *r, new_fn *make)
{
	struct platform_at at = {SPACE_MMIO, BASE, IRQ, 0};

	memset(r, 0, sizeof(*r));
	wall_ns = LEAP * NS;
	cr_assert_eq(fake_host_init(&r->f, 0, true), 0);
	r->ops = *r->f.host.ops;
	r->ops.realtime_ns = test_realtime;
	r->f.host.ops = &r->ops;
	cr_assert_eq(make(&r->f.host, "rtc0", &at, &r->rtc), 0);
}

static void rig_fini(struct rig *r)
{
	device_free(r->rtc);
	fake_pump(&r->f);
	fake_host_fini(&r->f);
}

static void copy_state(struct rig *from, struct rig *to)
{
	struct visit_buf b = {0};
	struct visitor *v;

	cr_assert_eq(visitor_new_save(&b, &v), 0);
	cr_assert_eq(from->rtc->ops->visit(from->rtc, v), 0);
	visitor_free(v);
	cr_assert_eq(visitor_new_load(b.data, b.len, &v), 0);
	cr_assert_eq(to->rtc->ops->visit(to->rtc, v), 0);
	visitor_free(v);
	visit_buf_fini(&b);
}

static uint8_t cmos_get(struct rig *r, uint8_t index)
{
	unsigned hint = 0;
	uint64_t v;

	bus_write(&r->f.pio, 0x70, 1, index, &hint);
	bus_read(&r->f.pio, 0x71, 1, &v, &hint);
	return v;
}

static void cmos_set(struct rig *r, uint8_t index, uint8_t v)
{
	unsigned hint = 0;

	bus_write(&r->f.pio, 0x70, 1, index | 0x80, &hint);
	bus_write(&r->f.pio, 0x71, 1, v, &hint);
}

Test(rtc_cmos, tells_the_time_in_bcd)
{
	struct rig r;

	rig_init(&r, cmos_new);
	cr_assert_eq(cmos_get(&r, 0), 0x58);
	cr_assert_eq(cmos_get(&r, 2), 0x59);
	cr_assert_eq(cmos_get(&r, 4), 0x23);
	cr_assert_eq(cmos_get(&r, 6), 5);
	cr_assert_eq(cmos_get(&r, 7), 0x29);
	cr_assert_eq(cmos_get(&r, 8), 0x02);
	cr_assert_eq(cmos_get(&r, 9), 0x24);
	cr_assert_eq(cmos_get(&r, 0x32), 0x20);
	wall_ns += 2 * NS;
	cr_assert_eq(cmos_get(&r, 0), 0);
	cr_assert_eq(cmos_get(&r, 7), 1);
	cr_assert_eq(cmos_get(&r, 8), 3);
	cr_assert_eq(cmos_get(&r, 10) & 0x80, 0, "no update in progress");
	cr_assert_eq(cmos_get(&r, 13), 0x80);
	rig_fini(&r);
}

Test(rtc_cmos, binary_and_twelve_hours)
{
	struct rig r;

	rig_init(&r, cmos_new);
	cmos_set(&r, 11, 0x04);
	cr_assert_eq(cmos_get(&r, 4), 0x80 | 11);
	cmos_set(&r, 4, 12); /* 12 am */
	cmos_set(&r, 11, 0x06);
	cr_assert_eq(cmos_get(&r, 4), 0);
	cr_assert_eq(cmos_get(&r, 2), 59);
	rig_fini(&r);
}

Test(rtc_cmos, can_be_set)
{
	struct rig r, s;

	rig_init(&r, cmos_new);
	cmos_set(&r, 11, 0x82);
	cmos_set(&r, 0, 0x00);
	cmos_set(&r, 2, 0x30);
	cmos_set(&r, 9, 0x31);
	wall_ns += 5 * NS;
	cr_assert_eq(cmos_get(&r, 0), 0, "updates are inhibited");
	cmos_set(&r, 11, 0x02);
	wall_ns += 7 * NS;
	cr_assert_eq(cmos_get(&r, 0), 7);
	cr_assert_eq(cmos_get(&r, 2), 0x30);
	cr_assert_eq(cmos_get(&r, 9), 0x31);
	cmos_set(&r, 0x40, 0xab);
	rig_init(&s, cmos_new);
	copy_state(&r, &s);
	cr_assert_eq(cmos_get(&s, 0x40), 0xab);
	cr_assert_eq(cmos_get(&s, 9), 0x31);
	rig_fini(&s);
	rig_fini(&r);
}

Test(rtc_cmos, nonsense_does_no_harm)
{
	struct rig r;

	rig_init(&r, cmos_new);
	for (unsigned v = 0; v < 256; v++)
		for (unsigned i = 0; i < 128; i++) {
			cmos_set(&r, i, v * 37 + i);
			cmos_get(&r, i);
		}
	rig_fini(&r);
}

static uint32_t get(struct rig *r, unsigned off)
{
	return fake_read(&r->f, BASE + off, 4);
}

static void set(struct rig *r, unsigned off, uint32_t v)
{
	fake_write(&r->f, BASE + off, 4, v);
}

Test(rtc_pl031, counts_loads_and_matches)
{
	struct rig r, s;

	rig_init(&r, rtc_pl031_new);
	cr_assert_eq(get(&r, 0), LEAP);
	cr_assert_eq(get(&r, 0x0c), 1);
	set(&r, 0x08, 1000);
	wall_ns += 3 * NS;
	cr_assert_eq(get(&r, 0), 1003);
	cr_assert_eq(get(&r, 0x08), 1000);
	set(&r, 0x04, 1005);
	set(&r, 0x10, 1);
	cr_assert_eq(get(&r, 0x14), 0);
	wall_ns += 2 * NS;
	cr_assert_eq(get(&r, 0x14), 1);
	cr_assert_eq(get(&r, 0x18), 1);
	set(&r, 0x1c, 1);
	cr_assert_eq(get(&r, 0x14), 0);
	rig_init(&s, rtc_pl031_new);
	copy_state(&r, &s);
	cr_assert_eq(get(&s, 0), 1000, "the same offset to the host's clock, set back by 5 s");
	rig_fini(&s);
	rig_fini(&r);
}

Test(rtc_pl031, says_what_it_is)
{
	struct rig r;
	uint32_t id = 0, cell = 0;

	rig_init(&r, rtc_pl031_new);
	for (unsigned i = 0; i < 4; i++) {
		id |= get(&r, 0xfe0 + 4 * i) << (8 * i);
		cell |= get(&r, 0xff0 + 4 * i) << (8 * i);
	}
	cr_assert_eq(id & 0xfffff, 0x41031);
	cr_assert_eq(cell, 0xb105f00d);
	rig_fini(&r);
}

static uint64_t goldfish_now(struct rig *r)
{
	uint64_t low = get(r, 0);

	return (uint64_t)get(r, 4) << 32 | low;
}

Test(rtc_goldfish, tells_and_takes_the_time)
{
	struct rig r, s;

	rig_init(&r, rtc_goldfish_new);
	cr_assert_eq(goldfish_now(&r), LEAP * NS);
	set(&r, 4, 1);
	set(&r, 0, 5);
	wall_ns += 10;
	cr_assert_eq(goldfish_now(&r), (UINT64_C(1) << 32) + 15);
	rig_init(&s, rtc_goldfish_new);
	copy_state(&r, &s);
	cr_assert_eq(goldfish_now(&s), (UINT64_C(1) << 32) + 5);
	rig_fini(&s);
	rig_fini(&r);
}

static void arm(struct rig *r, uint64_t at)
{
	set(r, 0x0c, at >> 32);
	set(r, 0x08, at);
	set(r, 0x10, 1);
}

static bool fired(void *arg)
{
	return ((struct rig *)arg)->f.wire[IRQ];
}

Test(rtc_goldfish, alarm)
{
	struct rig r;

	rig_init(&r, rtc_goldfish_new);
	arm(&r, wall_ns + NS / 100);
	fake_pump(&r.f);
	cr_assert_eq(get(&r, 0x18), 1);
	cr_assert(!r.f.wire[IRQ]);
	wall_ns += NS;
	cr_assert(fake_pump_until(&r.f, fired, &r));
	cr_assert_eq(get(&r, 0x18), 0);
	set(&r, 0x1c, 1);
	cr_assert(!r.f.wire[IRQ]);
	arm(&r, wall_ns - 1);
	set(&r, 0x14, 1);
	fake_pump(&r.f);
	cr_assert(!r.f.wire[IRQ], "cleared before it was due");
	arm(&r, 0);
	cr_assert(fake_pump_until(&r.f, fired, &r), "an alarm in the past is due");
	r.rtc->ops->reset(r.rtc);
	cr_assert(!r.f.wire[IRQ]);
	arm(&r, wall_ns + NS);
	rig_fini(&r); /* with a message on its way */
}

Test(rtc_goldfish, alarm_waits_for_a_paused_machine)
{
	struct rig r;

	rig_init(&r, rtc_goldfish_new);
	arm(&r, wall_ns + NS / 100);
	fake_pump(&r.f);
	r.rtc->ops->pause(r.rtc);
	cr_assert(r.rtc->ops->paused(r.rtc));
	wall_ns += NS;
	arm(&r, wall_ns); /* a message on its way */
	for (int i = 0; i < 20; i++) {
		fake_pump(&r.f);
		usleep(1000);
	}
	cr_assert(!r.f.wire[IRQ]);
	r.rtc->ops->resume(r.rtc);
	cr_assert(r.f.wire[IRQ]);
	rig_fini(&r);
}
