/* SPDX-License-Identifier: Apache-2.0 */
/* Tunnels: a link stream on one side, a TCP connection to 127.0.0.1 on the other; bytes go both
 * ways, each way waits for its reader, and each way ends by itself (half-close). Loop thread. */
#ifndef CLOUD_NODE_TUNNEL_H
#define CLOUD_NODE_TUNNEL_H

#include <stdint.h>
#include "cloud/link/link.h"
#include "vmm/base/ev.h"

struct tunnels;

int tunnels_new(struct ev_loop *loop, struct tunnels **ret_tunnels); /* 0 or -ENOMEM */
/* Connects to the port, then accepts r; a problem (502, 504) when nothing answers there. owner
 * (any address, may be NULL) names it for tunnels_end(). */
void tunnel_serve(struct tunnels *t, struct link_req *r, uint16_t port, const void *owner);
/* Cuts those of an owner. */
void tunnels_end(struct tunnels *t, const void *owner);
void tunnels_free(struct tunnels *t); /* cuts all; NULL is fine */

#endif
