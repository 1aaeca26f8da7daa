/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to hosts: cordon, drain, fence, and moving an instance off one. The handlers answer
 * the call. */
#ifndef CLOUD_CONTROL_HOSTS_DO_H
#define CLOUD_CONTROL_HOSTS_DO_H

#include <jansson.h>
#include "cloud/control/route.h"

/* POST /v1/hosts/{id}/actions/…: host is the object that the path named. */
void hosts_cordon(struct call *c, struct obj *host);   /* nothing new comes here */
void hosts_uncordon(struct call *c, struct obj *host); /* also takes a fence back */
/* Cordon, and move off what can be: 202 and an operation that ends with what blocks. */
void hosts_drain(struct call *c, struct obj *host);
/* Body {"confirm":true}: the operator says that the host runs nothing any more. Its instances are
 * placed anew; what it still has of them is deleted when it comes back. */
void hosts_fence(struct call *c, struct obj *host);
/* POST /v1/instances/{id}/actions/move: 202 and an operation, or 409 with what blocks. */
void instance_move(struct call *c, struct obj *instance);

/* The one state of a host's document, from "connected" (the connection) and "admin" ("none",
 * "cordoned", "draining", "fenced"): sets "state". */
void host_doc_state(json_t *doc);
/* {"cpus":N,"memory_mib":N} given to instances on a host. New reference; NULL: no memory. */
json_t *hosts_allocated(struct control *c, const char *host_id);
/* {"load":…,"memory_free_mib":…} as its node said last; NULL while it is away. New reference. */
json_t *hosts_load(struct control *c, const char *host_id);
/* {chip:[features]} that a pool's hosts share. Likewise. */
json_t *pools_baseline(struct control *c, const char *pool);

#endif
