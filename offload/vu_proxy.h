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
	const char *called; /* in messages, instead of that; NULL */
	int fd; /* or a connected socket, taken on success; then there is no reconnecting. -1 */
	enum virtio_type type;
	/* Wanted; the peer must offer as many. Of a network device two for each pair: a control
	 * queue is the VMM's own. */
	unsigned queues;
	bool fixed_queues;   /* devices of the type all have as many, MQ offered or not */
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
/* mtu 0 = untold. With more `queues` than two, which the caller sets, the driver chooses how many
 * pairs it uses, over a control queue that the VMM answers. */
void vu_peer_opts_net(struct vu_peer_opts *ret, const uint8_t mac[6], uint16_t mtu);
/* Any other type: features and config space are the peer's, apart from features in which the
 * transport or the VMM would have a part. The caller may change `queues`, which is the type's usual
 * number. -EINVAL: a device of that type cannot be had so, and *ret_why (static text) says why. */
int vu_peer_opts_generic(struct vu_peer_opts *ret, unsigned type, const char **ret_why);
/* "blk", "fs", "26", ...: the number of the type (virtio 1.2 §5), or -EINVAL; and a list of the
 * names, for whoever wrote another one. */
int vu_type_of(const char *name);
#define VU_TYPE_NAMES "net, blk, console, rng, scsi, vsock, fs, i2c, can, sound, gpio, or a number"
/* Of a feature of such a device, for messages; buf is for those without. */
const char *vu_feature_name(unsigned type, unsigned bit, char buf[24]);

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
/* The peer, and whoever succeeds it, marks what it writes of guest memory in fd, a bit for each 4
 * KiB from address 0 on (vhost-user, "Migration"), `size` bytes; fd is borrowed for the call, and
 * a memfd that cannot shrink. -1: no more. -ENOTSUP: it cannot. Control. */
int vu_proxy_log(struct virtio_dev *d, int fd, uint64_t size);

#endif
