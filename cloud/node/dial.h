/* SPDX-License-Identifier: Apache-2.0 */
/* How a node comes to its link: it dials the control plane named in its token file, shows the
 * token, and asks for `Upgrade: polycloud-node/1`. What fails is tried again, later each time and
 * with jitter, so that a fleet does not come back in step; each new reason is one line in the log.
 *
 *   wait ► resolve ► connect ► TLS, pin ► POST /v1/nodes/connect ► 101: ready(wire) ► dial_again()
 *
 * One loop; a name (not an address) is looked up on a thread of its own. */
#ifndef CLOUD_NODE_DIAL_H
#define CLOUD_NODE_DIAL_H

#include "cloud/link/link.h"
#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

struct dial;

/* Strings are copied. */
struct dial_opts {
	const char *token_file; /* {"url","token","fingerprint"}; read anew at each attempt */
	const char *url;	/* instead of the file's: https://HOST[:PORT] or unix:PATH; NULL */
	const char *data;	/* folder of the node's `identity`, made at first use */
	const char *name;	/* of the host, as in cloud objects: a-z 0-9 - */
	const char *chip;
	const char *version; /* of this program */
	struct log *log;     /* borrowed; NULL: silent */
	/* A wire for node_attach(), which takes it. Never from inside dial_new(). */
	void (*ready)(struct link_wire *w, void *arg);
	void *arg;
};

/* Checks name, token file and URL now (-EINVAL, -ENOENT … with e), starts dialling. */
int dial_new(
	struct ev_loop *loop, const struct dial_opts *o, struct dial **ret_dial, struct err *e);
/* The connection that ready() handed over has ended: dials again. */
void dial_again(struct dial *d, const char *why);
/* Why there is no connection, one line; "" while there is one. */
const char *dial_why(const struct dial *d);
void dial_free(struct dial *d); /* NULL is fine */

#endif
