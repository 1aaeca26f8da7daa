/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU's timer: it interrupts once, not early, wakes a sleeping CPU, and can be stopped. */
#include "case.h"
#include "wait.h"

static unsigned fired;

static void on_timer(void *arg)
{
	(void)arg;
	fired++;
	timer_stop();
}

static void run(void)
{
	uint64_t when, now;

	timer_attach(on_timer, NULL);
	for (unsigned us = 100; us <= 10000; us *= 10) {
		fired = 0;
		when = clock_ticks() + ns_to_ticks(us * 1000ull);
		timer_at(when);
		CHECK(WAIT_IRQ(READ_ONCE(fired), 10000), "no interrupt after %u us", us);
		now = clock_ticks();
		/* a one-shot timer calibrated against another clock may be off by a little */
		CHECK(now + ns_to_ticks(us * 20ull) >= when, "%u us timer fired early", us);
	}

	fired = 0;
	timer_at(clock_ticks() + ns_to_ticks(2000000));
	cpu_wait();
	CHECK(WAIT_IRQ(READ_ONCE(fired), 10000), "no interrupt while the CPU slept");

	fired = 0;
	timer_at(clock_ticks()); /* already over: must fire at once */
	CHECK(WAIT_IRQ(READ_ONCE(fired), 10000), "no interrupt for a deadline that is over");

	fired = 0;
	timer_at(clock_ticks() + ns_to_ticks(20000000));
	timer_stop();
	CHECK(!WAIT_IRQ(READ_ONCE(fired), 40), "a stopped timer fired");
}

const struct guest_case this_case = {"timer", run, false};
