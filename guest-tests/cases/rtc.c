/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The battery clock shows a date after this test was written, and it goes. rtc=SECONDS on the
 * command line says what the host's clock showed at the start; it may differ by a minute.
 */
#include "rtc.h"

#include "case.h"

static void run(void)
{
	const char *told = word_value(machine.cmdline, "rtc", 0);
	uint64_t start = rtc_seconds(), end = deadline_ms(5000), host;

	if (machine.rtc == RTC_NONE)
		case_skip("the tables name no clock");
	note("%lu seconds since 1970\n", start);
	CHECK(start > 1760000000, "the clock shows %lu", start);
	CHECK(start < 4102444800, "the clock shows %lu", start);
	if (told) {
		host = parse_number(&told);
		CHECK(start + 60 >= host && start <= host + 60, "the host's clock shows %lu", host);
	}
	while (rtc_seconds() == start)
		CHECK(!deadline_passed(end), "the clock stands still");
}

const struct guest_case this_case = {"rtc", run, .no_irqs = true};
