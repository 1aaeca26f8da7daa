/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's parts, for handlers and controllers: who owns what. Made and freed by control.c in
 * this order, freed in the reverse one. */
#ifndef CLOUD_CONTROL_CONTROL_H
#define CLOUD_CONTROL_CONTROL_H

#include "cloud/control/objects.h"
#include "cloud/control/route.h"
#include "cloud/link/link.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

struct nodes;	   /* connections of nodes (nodes.h) */
struct reconciler; /* desired to observed (reconcile.h) */
struct images;	   /* the OCI layout (cloud/image/image.h) */
struct server;	   /* HTTP (server.h) */

struct control {
	struct ev_loop *loop;
	struct log *log;
	const char *data; /* folder */
	struct store *store;
	struct objects *objects;
	struct images *images;
	struct nodes *nodes;
	struct reconciler *reconciler;
	struct server *server;
};

/* A node's connection by the host's id; NULL while it is away. (nodes.c) */
struct link *nodes_link(struct nodes *n, const char *host_id);

/* News of a node, called by nodes.c, implemented by reconcile.c. `observed` etc. are borrowed. */
void reconcile_host_up(
	struct reconciler *r, const char *host_id, const json_t *state); /* GET /v1/state */
void reconcile_host_down(struct reconciler *r, const char *host_id);
void reconcile_observed(struct reconciler *r, const char *host_id, const json_t *observed);
int reconciler_new(struct control *c, struct reconciler **ret_reconciler);
void reconciler_free(struct reconciler *r);

#endif
