/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the proxy: vu_proxy.c is the device that transports see, vu_proxy_ring.c the rings as
 * the peer is told of them, vu_proxy_say.c what is said of all of them together, vu_proxy_ctrl.c
 * the control queue of network devices, vu_proxy_config.c config space. */
#ifndef OFFLOAD_VU_PROXY_PRIV_H
#define OFFLOAD_VU_PROXY_PRIV_H

#include <pthread.h>
#include "offload/vu_peer.h"

enum run_state { RUN_IDLE, RUN_RUNNING, RUN_STOPPING };

struct vu_proxy;

/* A split ring's has no slots and no wrap counters: its indices run freely. */
struct ring_place {
	struct virtq_place avail, used;
};

struct proxy_queue {
	struct vu_proxy *proxy;
	unsigned i;
	enum run_state state; /* proxy->lock */
	struct ev_msg start, stop;

	/* Written by queue_start; control's from start to stopped. */
	struct virtq_setup s;
	bool ctrl;		  /* the control queue, which is ours */
	struct ring_place base;	  /* where it starts */
	const uint16_t *used_idx; /* in guest memory; NULL: a packed ring */
	struct vu_vring_addr addr;

	/* Control's. */
	bool live;	    /* the driver wants it served */
	bool lost;	    /* nobody knows where it stands: the driver has been told */
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

	/* Writes to config space: what a driver wrote, told when the last is told. */
	struct ev_msg write;
	bool writing; /* lock: posted */
	bool telling; /* control: said, or never to be said again */
	bool again;   /* control: it has changed meanwhile */

	/* Control's, of a network device: pairs in use, and their control queue. */
	unsigned pairs;
	struct virtq ctrl;
	struct ev_fd ctrl_kick;

	/* Control's: where the peer marks what it writes. */
	int log_fd; /* -1 = nowhere */
	uint64_t log_size;

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
/* The peer is there, and what precedes rings has been said: tells it of every ring that is live and
 * that it does not know. */
void vu_proxy_rings_ready(struct vu_proxy *p);
void vu_proxy_rings_gone(struct vu_proxy *p);
bool vu_proxy_all_idle(const struct vu_proxy *p); /* locked, or no queue can start */
/* Says which of the rings that the peer knows are enabled. */
void vu_proxy_rings_enable(struct vu_proxy *p);
/* The queue has stopped there. */
void vu_proxy_stopped(struct proxy_queue *q, const struct ring_place *at);

/* vu_proxy_say.c. Features, memory and the area, once for a connection and a driver's session; true
 * when rings may follow, else p's client is called when they may. */
bool vu_proxy_announce(struct vu_proxy *p);
/* What a successor's network learns: where the guest is. */
void vu_proxy_say_where(struct vu_proxy *p);
/* The ring's addresses, and whether what is written of it is logged. */
void vu_proxy_say_addr(struct proxy_queue *q);

/* vu_proxy_ctrl.c, on control's loop. */
bool vu_proxy_is_ctrl(const struct vu_proxy *p, unsigned i, uint64_t features);
void vu_proxy_ctrl_start(struct proxy_queue *q);
void vu_proxy_ctrl_stop(struct proxy_queue *q);

/* vu_proxy_config.c */
void vu_proxy_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len);
void vu_proxy_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len);
void vu_proxy_handle_write(struct ev_msg *m);
/* A peer that has just come does not know what the driver wrote. */
void vu_proxy_config_ready(struct vu_proxy *p);
/* Says nothing more, and waits for what is posted. Not in a handler. */
void vu_proxy_config_end(struct vu_proxy *p);

#endif
