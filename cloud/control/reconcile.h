/* SPDX-License-Identifier: Apache-2.0 */
/* Desired to observed. The reconciler keeps one small item per instance and volume. Whenever
 * something may concern it (its document changed, its node reported, a host came or went, time to
 * try again) the item is queued; its turn looks at the document, finds the one next step that is
 * missing, and takes it. No step relies on an earlier one having been seen: after a crash, a
 * restore or a lost answer the same look finds the same next step.
 *
 * An instance belongs to one host by (host_id, generation), written to the store before the node is
 * told. It is given to another host only after the first confirmed that it is gone there, or an
 * operator fenced it. Control thread only. */
#ifndef CLOUD_CONTROL_RECONCILE_H
#define CLOUD_CONTROL_RECONCILE_H

#include <stdint.h>
#include "cloud/control/control.h"

struct reconcile_stats {
	uint64_t items, queued, in_flight,
		waiting;   /* now: known, to look at, calls out, backing off */
	uint64_t unplaced; /* instances without a host */
	uint64_t turns, calls, failures, placements; /* since start */
	uint64_t adopted, orphaned, discarded;
	uint64_t decide_ns; /* spent in scheduling */
};
void reconcile_stats(const struct reconciler *r, struct reconcile_stats *ret);

extern const struct route schedule_routes[], diagnose_routes[];
extern const unsigned schedule_nroutes, diagnose_nroutes;

#endif
