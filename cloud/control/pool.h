/* SPDX-License-Identifier: Apache-2.0 */
/* Pools: hosts between which an instance may be moved, so it may rely only on the CPU features that
 * all of them have (per chip, if a pool has several). */
#ifndef CLOUD_CONTROL_POOL_H
#define CLOUD_CONTROL_POOL_H

#include "cloud/control/objects.h"
#include "cloud/control/schedule.h"

/* Does the pool's document ("hosts": names, or "labels": those that match) name this host? */
bool pool_has(const json_t *pool, const struct host_facts *h);
/* The names in all of the n hosts' features. ret->v is malloc'ed, its strings are borrowed. */
int pool_intersect(const struct host_facts *const *hosts, unsigned n, struct names *ret);

#endif
