/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes' connections, and what they do to the host objects. A node that connects joins: its
 * whole state is asked for (GET /v1/state), the host object is made or brought up to date, the
 * reconciler hears of it, and a watch stream is kept open whose lines are news and heartbeat. A
 * node that is silent for 15 s is taken for gone.
 *
 * A host's name belongs to the node that took it first, which proves itself by its identity (a
 * secret it keeps; only its hash is here): another machine cannot become that host and be handed
 * its instances. */
#ifndef CLOUD_CONTROL_NODES_H
#define CLOUD_CONTROL_NODES_H

#include "cloud/control/control.h"

/* After objects and reconciler, which it calls. */
int nodes_new(struct control *c, struct nodes **ret_nodes);
void nodes_free(struct nodes *n); /* closes every link; NULL is fine */

/* The node in this process: w is one end of a socketpair, which it takes, also on failure. */
int nodes_attach(struct nodes *n, struct link_wire *w, const char *name);

/* The newest {"load":…,"memory_free_mib":…} of a host, borrowed; NULL while it is away. It is not
 * in the host's document, which changes only with facts. */
const json_t *nodes_load(struct nodes *n, const char *host_id);
unsigned nodes_count(const struct nodes *n); /* connected */
/* Ends the connection of a host that is deleted or fenced. */
void nodes_drop(struct nodes *n, const char *host_id, const char *why);

extern const struct route nodes_routes[]; /* POST /v1/nodes/connect */
extern const unsigned nodes_nroutes;

#endif
