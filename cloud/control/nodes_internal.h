/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about nodes share. */
#ifndef CLOUD_CONTROL_NODES_INTERNAL_H
#define CLOUD_CONTROL_NODES_INTERNAL_H

#include "cloud/base/digest.h"
#include "cloud/control/nodes.h"
#include "vmm/base/list.h"

#define NODE_LINE_MAX  (1u << 20) /* bytes of one line of the watch */
#define NODE_EARLY_MAX 20000	  /* lines that may come before the state */
#define NODE_FACTS_MAX (64u << 10)
#define NODE_SILENT_NS (15ull * 1000000000)
#define NODE_UPGRADE   "polycloud-node/1"
#define NODE_LEAST     "0.1"   /* the oldest version of a node that may join */
#define IDENTITY_LOCAL "local" /* instead of a hash: the node in this process */

struct nodes {
	struct control *c;
	struct list list;
	unsigned count;
	struct ev_timer timer;
	struct obj_watch watch;
};

struct node_conn {
	struct nodes *all;
	struct list node;
	struct link *link;
	struct link_stream *watch;
	char name[64], identity[DIGEST_LEN], host_id[32]; /* host_id "": not joined */
	bool up;					  /* joined: the reconciler knows */
	bool drop;					  /* at the next look; why is in `why` */
	char why[200];
	uint64_t heard_ns;
	json_t *early; /* lines that came before the state */
	json_t *load;  /* the newest {"load",…} */
	char *line;    /* of the watch, not whole yet */
	size_t line_len, line_cap;
};

/* nodes.c. Takes w. The connection is dropped, and freed, at a later turn, never inside a call. */
int node_conn_new(struct nodes *all, struct link_wire *w, const char *name, const char *identity);
void node_conn_drop(struct node_conn *n, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
struct node_conn *nodes_by_name(struct nodes *all, const char *name);

/* nodes_join.c: the answer of GET /v1/state made to a host object, found or new. */
int node_join(struct node_conn *n, const json_t *state, struct err *e);
int node_set_connected(struct node_conn *n, bool connected, const char *event);
/* Facts that changed, or the load (which is only kept here). */
void node_facts_line(struct node_conn *n, const json_t *host);
/* Whether a node of that name and identity may be this host: 0, or -EEXIST with e. */
int node_may_be(struct nodes *all, const char *name, const char *identity, struct err *e);

/* nodes_watch.c */
int node_watch_open(struct node_conn *n);
void node_watch_replay(struct node_conn *n); /* the early lines, after joining */

#endif
