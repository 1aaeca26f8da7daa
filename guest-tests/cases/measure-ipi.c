/* SPDX-License-Identifier: Apache-2.0 */
/* IPI round trip: CPU 0 interrupts CPU 1, whose handler interrupts CPU 0; both sleep meanwhile. */
#include "case.h"
#include "wait.h"

#define ROUNDS 31

static uint64_t samples[ROUNDS];
static uint64_t back_at;
static bool leave;

static void on_ipi(void *arg)
{
	uint64_t now = clock_ticks();

	(void)arg;
	if (cpu_self())
		ipi_send(0);
	else
		WRITE_ONCE(back_at, now);
}

static void answer(void *arg)
{
	(void)arg;
	while (!READ_ONCE(leave))
		cpu_wait();
}

static void run(void)
{
	if (machine.cpu_count < 2)
		case_skip("one CPU");
	ipi_attach(on_ipi, NULL);
	CHECK(!cpu_start(1, answer, NULL), "CPU 1 did not start");
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t from = clock_ticks();

		back_at = 0;
		ipi_send(1);
		while (!READ_ONCE(back_at))
			cpu_wait();
		samples[i] = back_at - from;
	}
	metric_median("ipi-round-trip", samples, ROUNDS);
	WRITE_ONCE(leave, true);
}

const struct guest_case this_case = {"measure-ipi", run, false};
