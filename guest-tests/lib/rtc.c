/* SPDX-License-Identifier: Apache-2.0 */
/* MC146818 (data sheet), PL031 (Arm DDI 0224), goldfish (Android GOLDFISH-VIRTUAL-HARDWARE). */
#include "rtc.h"

#include "case.h"
#include "io.h"

static uint32_t cmos(uint8_t reg)
{
	uint32_t v = 0xff;

	port_write(0x70, 1, reg);
	port_read(0x71, 1, &v);
	return v;
}

static uint32_t from_bcd(uint32_t v, bool binary)
{
	return binary ? v : (v >> 4) * 10 + (v & 15);
}

/* Days since 1970 of a Gregorian date. */
static uint64_t days(uint32_t y, uint32_t m, uint32_t d)
{
	static const uint16_t before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	uint64_t n = 365ull * (y - 1970) + (y - 1969) / 4 - (y - 1901) / 100 + (y - 1601) / 400;

	return n + before[m - 1] + d - 1 + (m > 2 && y % 4 == 0 && (y % 100 || y % 400 == 0));
}

static uint64_t read_cmos(void)
{
	uint32_t now[6], again[6], status = cmos(0x0b);
	static const uint8_t regs[6] = {0, 2, 4, 7, 8, 9};
	bool binary = status & 4;

	if (status == 0xff)
		case_skip("no CMOS clock at port 0x70");
	/* not while it updates, and the same twice */
	do {
		for (unsigned i = 0; cmos(0x0a) & 0x80; i++)
			CHECK(i < 100000, "the CMOS clock never ends its update");
		for (unsigned i = 0; i < 6; i++)
			now[i] = cmos(regs[i]);
		for (unsigned i = 0; i < 6; i++)
			again[i] = cmos(regs[i]);
	} while (memcmp(now, again, sizeof(now)));
	for (unsigned i = 0; i < 6; i++)
		now[i] = i == 2 ? from_bcd(now[i] & 0x7f, binary) : from_bcd(now[i], binary);
	if (!(status & 2)) /* 12 hours: bit 7 is the afternoon */
		now[2] = now[2] % 12 + (again[2] & 0x80 ? 12 : 0);
	CHECK(now[4] >= 1 && now[4] <= 12 && now[3] >= 1 && now[3] <= 31 && now[2] < 24,
		"CMOS shows month %u, day %u, hour %u", now[4], now[3], now[2]);
	return days(2000 + now[5], now[4], now[3]) * 86400 + now[2] * 3600 + now[1] * 60 + now[0];
}

static uint64_t read_goldfish(void)
{
	uint64_t low = mmio_read32(machine.rtc_base); /* latches the high half */

	return (low | (uint64_t)mmio_read32(machine.rtc_base + 4) << 32) / 1000000000u;
}

uint64_t rtc_seconds(void)
{
	switch (machine.rtc) {
	case RTC_CMOS:
		return read_cmos();
	case RTC_PL031:
		return mmio_read32(machine.rtc_base);
	case RTC_GOLDFISH:
		return read_goldfish();
	default:
		return 0;
	}
}
