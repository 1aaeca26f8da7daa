/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about every host, kept beside the host objects so that a decision parses nothing: changed
 * when a host's document changes, an instance is given to it, or it tells which files it has. */
#ifndef CLOUD_CONTROL_SCHEDULE_FLEET_H
#define CLOUD_CONTROL_SCHEDULE_FLEET_H

#include "cloud/control/objects.h"
#include "cloud/control/schedule.h"

struct fleet;

/* Reads the hosts and pools that there are; objects is borrowed. */
int fleet_new(struct objects *objects, struct fleet **ret_fleet);
void fleet_free(struct fleet *f);

/* A host was made, changed or deleted. 1: something may fit now that did not before; 0: no;
 * negative errno. */
int fleet_host_changed(struct fleet *f, const struct obj *host, bool deleted);
/* A pool was made, changed or deleted. */
void fleet_pools_changed(struct fleet *f);

/* Gives to a host, or (negative) takes back; an unknown host is ignored. */
void fleet_charge(struct fleet *f, const char *host_id, int64_t cpus, int64_t memory_mib);
/* The digests that a host has: all of them (array of strings; NULL: none), or one more. */
int fleet_set_blobs(struct fleet *f, const char *host_id, const json_t *digests);
int fleet_add_blob(struct fleet *f, const char *host_id, const char *digest);
bool fleet_has_blob(const struct fleet *f, const char *host_id, const char *digest);

/* In the order of ids. Borrowed until the next call that changes something. */
const struct host_facts *fleet_facts(struct fleet *f, unsigned *ret_n);
/* -ENOENT when unknown. */
int fleet_index(const struct fleet *f, const char *host_id);

/* What a pool's hosts share: {chip:[features]}. New reference; NULL: no memory. */
json_t *fleet_pool_baseline(struct fleet *f, const char *pool);

#endif
