/* SPDX-License-Identifier: Apache-2.0 */
/* Scripted nodes behind real links, and a control plane over a real database: what the reconciler's
 * tests play on. A node does what it is told at once and in order; its answers may be held back and
 * given in any order, or be lost with the connection. What it has survives all of that. */
#ifndef CLOUD_CONTROL_TEST_NODE_H
#define CLOUD_CONTROL_TEST_NODE_H

#include "cloud/control/nodes.h"
#include "cloud/control/reconcile_internal.h"

#define NODES 4
#define HAS   64 /* instances on a node */

struct world;
struct has {
	char id[ID_LEN];
	json_t *assignment;
	int64_t generation;
	char state[16];
};
struct node_script {
	struct world *w;
	char name[16];
	struct link *link;
	struct link_stream *watch;
	struct has has[HAS];
	unsigned n;
	struct link_req *held[256];
	unsigned held_status[256];
	json_t *held_body[256];
	unsigned nheld;
	bool hold;		/* answers wait for release_one() */
	bool refuse;		/* PUT answers 507 */
	bool dead;		/* nothing runs there: it was fenced */
	unsigned puts, deletes; /* of instances */
	json_t *volumes;	/* id to generation */
};
struct world {
	char dir[64];
	struct control c;
	struct node_script node[NODES];
	unsigned doubled; /* an instance began on a node while another had it */
	bool has_root;	  /* the image has a root disk */
	unsigned pushed;
	/* The last answer of a handler. */
	unsigned status;
	json_t *answer;
	char problem[600];
	struct call call;
};

void world_start(struct world *w); /* data and control, project "default"; no node */
void control_start(struct world *w);
void control_stop(struct world *w);
void world_stop(struct world *w);

void node_connect(struct node_script *n);
void node_cut(struct node_script *n);
void node_release(struct node_script *n, unsigned which); /* a held answer */
void node_report(struct node_script *n, struct has *h);
struct has *node_has(struct node_script *n, const char *id);

/* Runs the loop until nothing moves. */
void settle(struct world *w);
/* Makes an instance; more is merged into the document. Returns its id. */
const char *make(struct world *w, const char *name, const char *more);
void desire(struct world *w, const char *id, const char *state);
json_t *doc_of(struct world *w, const char *id); /* NULL when it is gone */
const char *observed(struct world *w, const char *id);
struct obj *host_of(struct world *w, unsigned node);
/* A handler, as if it had been called. */
struct call *call_as(struct world *w, const char *body);
/* How many nodes that live have it. */
unsigned copies(struct world *w, const char *id);

#endif
