/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device in the VMM whose queues are served by a vhost-user back-end. Two objects:
 *
 * - struct vu_peer, owned by the host's resources: the connection. It survives a reboot, reconnects
 *   for as long as it takes, and remembers what to tell a successor.
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
	int fd; /* or a connected socket, taken on success; then there is no reconnecting. -1 */
	enum virtio_type type;
	unsigned queues;     /* wanted; the peer must offer as many */
	uint16_t queue_size; /* largest that the driver may choose */
	/* Config space: bytes to fetch by GET_CONFIG; or ours (a network device's address is the
	 * VMM's to say). */
	uint32_t config_len;
	bool own_config;
	uint8_t config[32];
	uint64_t must, may; /* virtio features that the peer must offer, and that we let through */
	uint64_t own;	    /* features that need no peer: those of `config` */
	const char *flag, *id; /* for messages: "--disk", "_disk0" */
	unsigned timeout_ms;   /* for the first connection and handshake, and for any one reply */
	unsigned retry_ms;     /* longest wait between two attempts to reconnect, 0 = 2 s */
	struct log *log;
};

/* What is the same for every back-end of a type: features, config space, timeout. The caller fills
 * in the rest. */
void vu_peer_opts_blk(struct vu_peer_opts *ret);
void vu_peer_opts_net(
	struct vu_peer_opts *ret, const uint8_t mac[6], uint16_t mtu); /* 0 = untold */

/* Connects and shakes hands, blocking at most timeout_ms. e says: nobody listens (and where), not
 * vhost-user, which needed feature it lacks. */
int vu_peer_open(const struct vu_peer_opts *o, struct vu_peer **ret_peer, struct err *e);
/* Its device is freed, and the loop that the device was made for still exists. NULL is fine. */
void vu_peer_close(struct vu_peer *p);

struct vu_peer_status {
	bool connected;
	uint64_t connects, since_ns; /* of the present state */
	uint64_t features, protocol;
};
/* Any thread. */
void vu_peer_status(struct vu_peer *p, struct vu_peer_status *ret);

/* The device over a peer, which is borrowed and must not have another. Guest memory must be shared
 * (every region has an fd): -ENOTSUP otherwise. From the first device on the peer lives on
 * h->control, which must be the same for all. */
int vu_proxy_new(
	struct dev_host *h, const char *id, struct vu_peer *p, struct virtio_dev **ret_dev);

#endif
