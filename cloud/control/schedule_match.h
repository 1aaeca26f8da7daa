/* SPDX-License-Identifier: Apache-2.0 */
/* Matching of names and labels, shared by the choice and its explanation. */
#ifndef CLOUD_CONTROL_SCHEDULE_MATCH_H
#define CLOUD_CONTROL_SCHEDULE_MATCH_H

#include <string.h>

#include "cloud/control/schedule.h"

static inline bool names_have(struct names s, const char *name)
{
	unsigned lo = 0, hi = s.n;
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		int c = strcmp(s.v[mid], name);
		if (!c)
			return true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

/* The index, from `from` on, of the first label that the host does not have; n when it has all. */
static inline unsigned labels_missing(struct labels have, struct labels want, unsigned from)
{
	for (unsigned i = from; i < want.n; i++) {
		unsigned j = 0;
		while (j < have.n && (strcmp(have.v[j].key, want.v[i].key) ||
					     strcmp(have.v[j].value, want.v[i].value)))
			j++;
		if (j == have.n)
			return i;
	}
	return want.n;
}

/* The same for CPU features. In a pool only what all its hosts have may be relied on: an instance
 * must find it wherever in the pool it is moved. */
static inline unsigned features_missing(
	const struct host_facts *h, const struct sched_request *r, unsigned from)
{
	struct names have = h->pool ? h->baseline : h->features;
	for (unsigned i = from; i < r->features.n; i++) {
		if (!names_have(have, r->features.v[i]))
			return i;
	}
	return r->features.n;
}

#endif
