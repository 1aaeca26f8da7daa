/* SPDX-License-Identifier: Apache-2.0 */
/* Runs this image's one case and reports its verdict. */
#include "case.h"

#include "mem.h"

_Noreturn static void finish(uint32_t value)
{
	test_exit(value);
	/* no such device: the line on the console is the report */
	power_off();
	power_reset();
	halt_forever();
}

_Noreturn void case_pass(void)
{
	say("case %s: PASS\n", this_case.name);
	finish(EXIT_PASS);
}

_Noreturn void case_fail(const char *fmt, ...)
{
	va_list ap;

	say("case %s: FAIL ", this_case.name);
	va_start(ap, fmt);
	vsay(fmt, ap);
	va_end(ap);
	say("\n");
	finish(EXIT_FAIL);
}

_Noreturn void case_skip(const char *fmt, ...)
{
	va_list ap;

	say("case %s: SKIP ", this_case.name);
	va_start(ap, fmt);
	vsay(fmt, ap);
	va_end(ap);
	say("\n");
	finish(EXIT_SKIP);
}

void metric(const char *name, uint64_t value, const char *unit)
{
	say("metric %s %lu %s\n", name, value, unit);
}

void metric_median(const char *name, uint64_t *samples, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		uint64_t v = samples[i];
		unsigned j = i;

		for (; j && samples[j - 1] > v; j--)
			samples[j] = samples[j - 1];
		samples[j] = v;
	}
	metric(name, ticks_to_ns(samples[n / 2]), "ns");
}

uint64_t ticks_to_ns(uint64_t ticks)
{
	uint64_t hz = clock_hz();

	return ticks / hz * 1000000000u + ticks % hz * 1000000000u / hz;
}

uint64_t ns_to_ticks(uint64_t ns)
{
	uint64_t hz = clock_hz();

	return ns / 1000000000u * hz + ns % 1000000000u * hz / 1000000000u;
}

void delay_us(unsigned us)
{
	uint64_t end = clock_ticks() + ns_to_ticks(us * 1000ull);

	while (clock_ticks() < end)
		cpu_relax();
}

uint64_t deadline_ms(unsigned ms)
{
	return clock_ticks() + ns_to_ticks(ms * 1000000ull);
}

bool deadline_passed(uint64_t deadline)
{
	return clock_ticks() >= deadline;
}

/* Called by the chip's start code on the boot CPU's stack. */
_Noreturn void guest_main(void);
_Noreturn void guest_main(void)
{
	cpu_local()->index = 0;
	chip_probe();
	if (!this_case.no_irqs)
		chip_irq_init();
	this_case.run();
	case_pass();
}
