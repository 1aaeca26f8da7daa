/* SPDX-License-Identifier: Apache-2.0 */
/* What the processes of an instance say of themselves, asked over their own APIs one after another,
 * for what is put together of it. On the node's loop. */
#ifndef CLOUD_NODE_ASK_H
#define CLOUD_NODE_ASK_H

#include "cloud/node/node_priv.h"

enum { ASK_INFO, ASK_COUNTERS, ASK_DISKS, ASK_NET, ASKED };

struct asking {
	struct node *node;
	char id[64];
	struct link_req *req;
	void (*done)(struct asking *a, struct instance *in);
	unsigned at;
	json_t *got[ASKED];
	char why[ASKED][96]; /* where there is no answer */
	/* done may ask for the disks again */
	struct ev_timer timer;
	json_t *before; /* what they said first */
	unsigned looks;
};

/* Asks, then calls done, which answers the request. */
void ask(struct instance *in, struct link_req *r,
	void (*done)(struct asking *a, struct instance *in));
/* Inside done: asks the disks again in a while, then calls done again instead of ending. */
void ask_again(struct asking *a, unsigned after_ms);
/* The devices in an answer of an offload process. */
const json_t *asked_devices(const struct asking *a, unsigned question);
/* An answer, and the end of j. */
void ask_reply(struct link_req *r, json_t *j);

#endif
