/* SPDX-License-Identifier: Apache-2.0 */
/* What one queue has done since its device was made. Its worker adds, any thread reads: relaxed
 * atomics, no lock. Latency runs from the pop of a chain to the publication of its used element;
 * the clock is read once for a batch, not once for a request. */
#ifndef DEVICES_VIRTIO_STATS_H
#define DEVICES_VIRTIO_STATS_H

#include <stdint.h>
#include "devices/count.h"

/* Log-linear: 8 buckets for each power of two, so a value is known to an eighth. */
#define HISTOGRAM_SUB	  8
#define HISTOGRAM_BUCKETS (40 * HISTOGRAM_SUB) /* to 2^42 ns, an hour; the last holds more */

struct histogram {
	dev_count bucket[HISTOGRAM_BUCKETS];
};
void histogram_add(struct histogram *h, uint64_t ns);
/* The largest value, in ns, of the bucket in which the per_mille-th of 1000 lies; 0 = empty. */
uint64_t histogram_quantile(const struct histogram *h, unsigned per_mille);
uint64_t histogram_count(const struct histogram *h);
/* The largest value, in ns, that falls into bucket i; the last bucket holds larger ones, too. */
uint64_t histogram_bound(unsigned i);

struct queue_stats {
	dev_count requests; /* completed; net: frames */
	/* By kind; net: reads = to the driver, writes = from it. */
	dev_count reads, writes, flushes, others;
	dev_count read_bytes, written_bytes;
	dev_count errors, dropped; /* answered with an error; net: frames thrown away */
	dev_count kicks;	   /* times the worker was woken by the driver */
	dev_count interrupts;	   /* times the driver was told */
	/* CPU spent looking at rings, in vain or not, and how often it paid. */
	dev_count poll_ns, poll_hits;
	dev_count in_flight; /* now */
	struct histogram latency;
};

#endif
