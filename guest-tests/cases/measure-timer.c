/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timer latency: from the deadline to the handler, with the CPU asleep (timer-sleep) and busy
 * (timer-busy).
 */
#include "case.h"
#include "wait.h"

#define ROUNDS 31

static uint64_t samples[ROUNDS];
static uint64_t fired_at;

static void on_timer(void *arg)
{
	uint64_t now = clock_ticks();

	(void)arg;
	timer_stop();
	WRITE_ONCE(fired_at, now);
}

static void measure(const char *name, bool sleep)
{
	uint64_t step = ns_to_ticks(500000);

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t when = clock_ticks() + step;

		fired_at = 0;
		timer_at(when);
		while (sleep && !READ_ONCE(fired_at))
			cpu_wait();
		CHECK(WAIT_IRQ(READ_ONCE(fired_at), 10000), "the timer did not fire");
		samples[i] = fired_at > when ? fired_at - when : 0;
	}
	metric_median(name, samples, ROUNDS);
}

static void run(void)
{
	timer_attach(on_timer, NULL);
	measure("timer-sleep", true);
	measure("timer-busy", false);
}

const struct guest_case this_case = {"measure-timer", run, false};
