/* SPDX-License-Identifier: Apache-2.0 */
/* The node: what runs instances on a host. It keeps what it was told (one spec per instance, in a
 * folder), and makes what runs equal to it, again and again: the control plane may be away for as
 * long as it likes, the node itself may be killed and started anew, and the host may reboot. An
 * instance is a VMM process, a polyvisor-offload for its disks and one for its network; they are
 * sessions of their own, so none of them ends with the node.
 *
 * It is driven over a link (cloud/link): calls of the node protocol in, reports out. One loop, one
 * thread; files are copied by a job thread. */
#ifndef CLOUD_NODE_NODE_H
#define CLOUD_NODE_NODE_H

#include <jansson.h>
#include "cloud/link/link.h"
#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

struct node;

/* Strings are copied. */
struct node_opts {
	const char *data;	 /* folder of everything the node keeps; made if absent */
	const char *bin;	 /* folder of polyvisor and polyvisor-offload; NULL: beside this
				    program, else in $PATH */
	const char *control_url; /* as dialled, only told; NULL: in this process */
	const char *name;	 /* the host's name; NULL: its hostname */
	unsigned uids;	 /* root only: first of the 65536 uids that are given out; 0: 1900000 */
	bool shared_uid; /* run everything as this process's uid although it is root */
	struct log *log; /* borrowed */
};

/* Opens the folder (one node each: -EBUSY), adopts what still runs, ends what does not belong, and
 * starts what should run. Nothing waits for a link. */
int node_new(
	struct ev_loop *loop, const struct node_opts *o, struct node **ret_node, struct err *e);

/* Serves the node protocol on w, which it takes, also on failure. A second call replaces the link
 * of the first. gone is called when the connection is over, never from inside this call; the node
 * has freed the link then. NULL is fine. */
int node_attach(
	struct node *n, struct link_wire *w, void (*gone)(const char *why, void *arg), void *arg);

/* Facts of this host, as GET /v1/host answers; borrowed. The dialler sends the name and the chip.
 */
const json_t *node_facts(struct node *n);

/* Leaves every instance running. NULL is fine. */
void node_free(struct node *n);

#endif
