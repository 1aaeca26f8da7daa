/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A case is one file in cases/ that defines `this_case`. lib/case.c brings the machine up, runs
 * it, and reports on the console and through the test-exit device:
 *
 *     case NAME: PASS | FAIL reason | SKIP reason
 *     metric NAME VALUE UNIT
 *
 * The verdicts never return: a bare-metal guest has nothing to unwind.
 */
#ifndef GUEST_CASE_H
#define GUEST_CASE_H

#include "chip.h"
#include "machine.h"
#include "text.h"

/* Values written to the test-exit device; the VMM's exit status is (value << 1) | 1. */
#define EXIT_PASS 0x10u /* 33 */
#define EXIT_FAIL 0x11u /* 35 */
#define EXIT_SKIP 0x12u /* 37 */

struct guest_case {
	const char *name;
	void (*run)(void); /* returning is a pass */
	bool no_irqs;	   /* leave the interrupt controllers alone */
};

extern const struct guest_case this_case;

_Noreturn void case_pass(void);
_Noreturn void case_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void case_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond))                                                                       \
			case_fail(__VA_ARGS__);                                                    \
	} while (0)

/* A line of detail. */
#define note(...) say("  " __VA_ARGS__)

void metric(const char *name, uint64_t value, const char *unit);
/* Sorts the samples (clock ticks) and prints their median in ns. */
void metric_median(const char *name, uint64_t *samples, unsigned n);

#endif
