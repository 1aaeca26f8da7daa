/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device in the VMM whose queues are served by a vhost-user back-end. Two objects:
 *
 * - struct vu_peer, owned by the host's resources: the connection. It survives a reboot, reconnects
 *   for as long as it takes, keeps the inflight region, and remembers what to tell a successor.
 * - the proxy, a struct virtio_dev over a peer: it answers config reads and features from the
 *   peer's copies, turns queue_start into messages, and queue_stop and reset into messages whose
 *   reply it awaits only as long as the peer lives: when it is away the position is read from the
 *   used ring.
 *
 * Nobody ever waits for the back-end: everything is asynchronous on control's loop, except the
 * first connection, made before the machine is built and bounded by a timeout. */
#ifndef OFFLOAD_VU_PROXY_H
#define OFFLOAD_VU_PROXY_H

#include "devices/virtio/virtio.h"
#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

struct vu_peer;

struct vu_peer_opts {
	const char *socket; /* path */
	int fd;		    /* or a connected socket, -1; then there is no reconnecting */
	enum virtio_type type;
	unsigned queues; /* wanted; the peer must offer as many */
	uint16_t queue_size;
	uint32_t config_len; /* of the device type, bytes to fetch by GET_CONFIG; 0 = none */
	uint64_t must, may;  /* virtio features that the peer must offer, and that we let through */
	const char *flag, *id; /* for messages: "--disk", "_disk0" */
	unsigned timeout_ms;   /* for the first connection and handshake */
	struct log *log;
};

/* Connects and shakes hands, blocking at most timeout_ms. e says: nobody listens (and where), not
 * vhost-user, which needed feature it lacks. */
int vu_peer_open(const struct vu_peer_opts *o, struct vu_peer **ret_peer, struct err *e);
void vu_peer_close(struct vu_peer *p); /* NULL is fine */

struct vu_peer_status {
	bool connected;
	uint64_t connects, since_ns; /* of the present state */
	uint64_t features, protocol;
};
void vu_peer_status(const struct vu_peer *p, struct vu_peer_status *ret);

/* The device over a peer, which is borrowed and must not have another. Guest memory must be shared
 * (every region has an fd): -ENOTSUP otherwise. */
int vu_proxy_new(
	struct dev_host *h, const char *id, struct vu_peer *p, struct virtio_dev **ret_dev);

#endif
