/* SPDX-License-Identifier: Apache-2.0 */
/* Counts of what a device does. One thread at a time adds to each (a queue's worker, or whoever
 * holds the device's lock), so adding needs no locked instruction; any thread may read. */
#ifndef DEVICES_COUNT_H
#define DEVICES_COUNT_H

#include <stdatomic.h>
#include <string.h>
#include "devices/device.h"
#include "vmm/base/num.h"

typedef _Atomic uint64_t dev_count;

static inline uint64_t count_get(const dev_count *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

static inline void count_set(dev_count *c, uint64_t v)
{
	atomic_store_explicit(c, v, memory_order_relaxed);
}

static inline void count_add(dev_count *c, uint64_t n)
{
	count_set(c, count_get(c) + n);
}

/* What struct device_ops asks for: as many of the n as fit. */
static inline unsigned counters_copy(
	const struct dev_counter *from, unsigned n, struct dev_counter *ret, unsigned max)
{
	n = MIN(n, max);
	memcpy(ret, from, n * sizeof(*from));
	return n;
}

/* Appends one line to the *n there are; those that do not fit are left out. */
void achieved_add(struct dev_achieved *ret, unsigned max, unsigned *n, const char *what,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#endif
