/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for something that an interrupt handler or another CPU does. */
#ifndef GUEST_WAIT_H
#define GUEST_WAIT_H

#include "chip.h"

/*
 * Lets interrupts in until the expression is true or `ms` passed; its value is the expression's,
 * which is not evaluated again once it was true.
 */
#define WAIT_IRQ(expr, ms)                                                                         \
	({                                                                                         \
		uint64_t wait_end = deadline_ms(ms);                                               \
		bool wait_true;                                                                    \
		irq_allow();                                                                       \
		while (!(wait_true = (expr)) && !deadline_passed(wait_end))                        \
			cpu_relax();                                                               \
		irq_forbid();                                                                      \
		wait_true;                                                                         \
	})

/* The same with interrupts kept out. */
#define WAIT_POLL(expr, ms)                                                                        \
	({                                                                                         \
		uint64_t wait_end = deadline_ms(ms);                                               \
		bool wait_true;                                                                    \
		while (!(wait_true = (expr)) && !deadline_passed(wait_end))                        \
			cpu_relax();                                                               \
		wait_true;                                                                         \
	})

/*
 * WAIT_IRQ with the CPU asleep in between, woken by its timer in the end: the case must have
 * attached a handler to that, which need not do anything but stop it.
 */
#define WAIT_SLEEP(expr, ms)                                                                       \
	({                                                                                         \
		uint64_t wait_end = deadline_ms(ms);                                               \
		bool wait_true;                                                                    \
		timer_at(wait_end);                                                                \
		while (!(wait_true = (expr)) && !deadline_passed(wait_end))                        \
			cpu_wait();                                                                \
		timer_stop();                                                                      \
		wait_true;                                                                         \
	})

#endif
