/* SPDX-License-Identifier: Apache-2.0 */
/* Buses: sorted arrays of I/O regions. Control builds a bus; it is frozen while vCPUs run, so that
 * dispatch needs no lock but the device's. A region is embedded in its device and names the lock
 * under which the model's code runs: the dispatcher takes it, the model never does. */
#ifndef DEVICES_BUS_H
#define DEVICES_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct io_ops {
	/* off is relative to the region, size is 1, 2, 4 or 8 and the access lies inside the
	 * region. Called under region->lock. */
	uint64_t (*read)(void *dev, uint64_t off, unsigned size);
	void (*write)(void *dev, uint64_t off, unsigned size, uint64_t value);
};

struct io_region {
	uint64_t base, size;
	const struct io_ops *ops;
	void *dev;
	pthread_mutex_t *lock; /* the device's; NULL for a stateless region */
	const char *name;      /* device id, for messages */
};

#define BUS_REGIONS 256

struct bus {
	struct io_region *region[BUS_REGIONS]; /* ascending, disjoint; not owned */
	unsigned n;
};

/* Stopped world only. Returns 0, -EEXIST (overlap), -EINVAL (empty or wrapping), -ENOSPC. */
int bus_add(struct bus *b, struct io_region *r);
void bus_del(struct bus *b, struct io_region *r); /* legal when not added */

/* The region that holds the whole access, or NULL. *hint caches the last hit; start it at 0. */
struct io_region *bus_find(const struct bus *b, uint64_t addr, unsigned size, unsigned *hint);

/* Any vCPU thread. Returns true when a region took the access; else read gives all-ones and writes
 * are dropped, as on real buses. */
bool bus_read(
	const struct bus *b, uint64_t addr, unsigned size, uint64_t *ret_value, unsigned *hint);
bool bus_write(const struct bus *b, uint64_t addr, unsigned size, uint64_t value, unsigned *hint);

#endif
