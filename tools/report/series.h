/* SPDX-License-Identifier: Apache-2.0 */
/* The samples of each metric over several runs of the guest-tests, and their median. */
#ifndef REPORT_SERIES_H
#define REPORT_SERIES_H

#include <jansson.h>
#include <stdint.h>
#include "guest_out.h"

#define SERIES_MAX  64 /* metrics */
#define SERIES_RUNS 16 /* samples of one; further ones are dropped */

struct series {
	char name[48], unit[12], test[64];
	uint64_t sample[SERIES_RUNS];
	unsigned n;
};

struct series_set {
	struct series series[SERIES_MAX];
	unsigned n;
};

/* Adds what one run of a test measured. */
void series_add(struct series_set *s, const char *test, const struct guest_out *o);

/* The middle of n > 0 samples (the mean of the two in the middle); sorts them. */
double median(uint64_t *sample, unsigned n);

/* [{"name", "test", "unit", "median", "min", "max", "runs"}…], sorted by name. Sorts the samples.
 * A new reference; NULL without memory. */
json_t *series_json(struct series_set *s);

#endif
