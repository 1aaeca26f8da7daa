/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the proxy: vu_proxy.c is the device that transports see, vu_proxy_ring.c the rings as
 * the peer is told of them, vu_proxy_config.c config space. */
#ifndef OFFLOAD_VU_PROXY_PRIV_H
#define OFFLOAD_VU_PROXY_PRIV_H

#include <pthread.h>
#include "offload/vu_peer.h"

enum run_state { RUN_IDLE, RUN_RUNNING, RUN_STOPPING };

struct vu_proxy;

struct proxy_queue {
	struct vu_proxy *proxy;
	unsigned i;
	enum run_state state; /* proxy->lock */
	struct ev_msg start, stop;

	/* Written by queue_start; control's from start to stopped. */
	struct virtq_setup s;
	uint16_t base;
	const uint16_t *used_idx; /* in guest memory */
	struct vu_vring_addr addr;

	/* Control's. */
	bool live;	    /* the driver wants it served */
	bool set_up;	    /* the peer has been told on this connection */
	bool had;	    /* some peer has had it since the start */
	bool replay;	    /* a successor's set-up is under way */
	struct ev_fd relay; /* the peer's calls, where the transport must see them */
	struct ev_fd err;   /* the peer says that the driver broke the ring */
};

struct vu_proxy {
	struct virtio_dev dev; /* first */
	struct vu_peer *peer;  /* borrowed */
	_Atomic uint64_t features;
	bool announced; /* control: on this connection, these features */
	uint64_t announced_features;
	pthread_mutex_t lock;
	bool resetting;	     /* lock */
	struct ev_msg reset; /* one that found nothing running */

	/* Writes to config space: the byte a driver may write, told when the last is told. */
	struct ev_msg write;
	bool writing; /* lock: posted */
	bool telling; /* control: said, or never to be said again */
	bool again;   /* control: it has changed meanwhile */

	struct proxy_queue queue[VIRTIO_QUEUES];
};

static inline struct vu_proxy *vu_proxy_of(struct virtio_dev *d)
{
	return (struct vu_proxy *)d;
}

/* vu_proxy_ring.c; messages on control's loop. */
void vu_proxy_handle_start(struct ev_msg *m);
void vu_proxy_handle_stop(struct ev_msg *m);
void vu_proxy_handle_reset(struct ev_msg *m);
/* Tells a peer that has just come of every ring that is live. */
void vu_proxy_rings_ready(struct vu_proxy *p);
void vu_proxy_rings_gone(struct vu_proxy *p);
bool vu_proxy_all_idle(const struct vu_proxy *p); /* locked, or no queue can start */

/* vu_proxy_config.c */
void vu_proxy_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len);
void vu_proxy_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len);
void vu_proxy_handle_write(struct ev_msg *m);
/* A peer that has just come does not know what the driver wrote. */
void vu_proxy_config_ready(struct vu_proxy *p);
/* Says nothing more, and waits for what is posted. Not in a handler. */
void vu_proxy_config_end(struct vu_proxy *p);

#endif
