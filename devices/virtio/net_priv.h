/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of virtio-net share: net.c is the device, net_rx.c and net_tx.c the two directions
 * of a pair of queues, net_ctrlq.c the control queue, net_rarp.c the announcement.
 *
 *   queue     0    1    2    3   …   2n-2   2n-1    2n (without VIRTIO_NET_F_MQ: 2)
 *             rx0  tx0  rx1  tx1 …                  control
 *             └─ worker 0  └─ worker 1              worker 0 (1)
 *
 * A pair belongs to one worker, with its back-end. Which pairs receive is `active`: the control
 * queue stores it and then asks each worker by message to look, and answers the driver when all
 * have; a pair that starts meanwhile looks by itself. */
#ifndef DEVICES_VIRTIO_NET_PRIV_H
#define DEVICES_VIRTIO_NET_PRIV_H

#include <linux/virtio_net.h>
#include "devices/backend/netdev.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/queue_run.h"
#include "devices/virtio/stats.h"

#define NET_PAIRS     ((VIRTIO_QUEUES - 1) / 2)
#define NET_RX	      0
#define NET_TX	      1
#define NET_HDR_LEN   sizeof(struct virtio_net_hdr_v1)
#define NET_FRAME_MAX 65550 /* 64 KiB of payload and an Ethernet header */
#define NET_BUDGET    256   /* frames before the worker looks at its other fds */
#define NET_BIT(n)    (UINT64_C(1) << (n))

#define RX_AHEAD_CHAINS 64
#define RX_AHEAD_IOV	512

struct rx_chain {
	uint16_t head, niov;
	uint32_t len;
};

struct rx_ahead {
	struct rx_chain chain[RX_AHEAD_CHAINS];
	struct iovec iov[RX_AHEAD_IOV];
	unsigned first, n;	  /* chains */
	unsigned first_iov, niov; /* their buffers */
	uint32_t len;		  /* and bytes */
};

struct net_pair {
	struct virtio_net *net;
	struct netdev *back; /* borrowed */
	unsigned i;
	struct queue_stats *stats[2]; /* the queues' own */
	bool disabled[2];	      /* as its queue was started (virtq_setup) */
	bool host_on; /* the back-end delivers to this pair; changed on the worker, or when no
			 queue runs */
	struct ev_msg look, looked; /* "look at active", and back with the result */
	int look_result;
	_Atomic(struct ev_loop *) loop; /* the worker's, from the first start on */

	/* The worker's. */
	unsigned bound; /* queues that are attached */
	bool in_order;	/* VIRTIO_F_IN_ORDER was accepted */
	struct virtq *q[2];
	struct rx_ahead ahead;
	struct virtq_chain chain;     /* the one being looked at */
	uint8_t spill[NET_FRAME_MAX]; /* what a frame has too much: its length tells that it must go
				       */
	bool listening;
	bool tx_blocked; /* the back-end will say when it takes more */
	struct ev_timer drain;
};

/* The control queue, on whichever worker serves it. */
struct net_ctrlq {
	struct virtq *q;
	struct ev_loop *loop;
	unsigned i;	  /* the queue's index */
	unsigned waiting; /* workers that have not looked yet: the command in `chain` waits for them
			   */
	int result;	  /* the worst of theirs */
	struct virtq_chain chain;
};

struct virtio_net {
	struct virtio_dev dev; /* first */
	struct queue_run *run;
	struct virtio_net_config config;
	_Atomic uint64_t features; /* accepted */
	_Atomic unsigned active;   /* pairs that receive */
	_Atomic bool link_down;	   /* a back-end is gone */
	struct ev_msg link_msg;	   /* to control; posted once */
	_Atomic uint64_t announce; /* an address to announce, 0: none (net_rarp.c) */
	_Atomic bool announce_posted;
	struct ev_msg announce_msg;
	struct net_ctrlq ctrl;
	unsigned npairs;
	struct net_pair pair[];
};

static inline struct virtio_net *net_of(struct virtio_dev *d)
{
	return (struct virtio_net *)d;
}

static inline bool net_has(const struct virtio_net *n, unsigned feature)
{
	return atomic_load_explicit(&n->features, memory_order_relaxed) & NET_BIT(feature);
}

/* net.c */
/* Makes the back-end of each pair deliver or not, as after a reset. No queue runs. */
void net_set_active(struct virtio_net *n, unsigned pairs);
/* The back-end delivers to this pair, or not. Its worker, or while no queue runs. */
int net_pair_update(struct net_pair *p);
/* After a back-end failed: if it is gone the link is down. Worker, while a queue is attached. */
void net_check_gone(struct net_pair *p);

/* net_rx.c, worker. */
void net_rx_process(struct net_pair *p); /* the driver has given buffers */
void net_rx_ready(struct net_pair *p);	 /* the back-end has frames */
void net_rx_stop(struct net_pair *p);	 /* gives back what was taken ahead */
void net_rx_listen(struct net_pair *p, bool on);
bool net_rx_on(const struct net_pair *p); /* active and enabled */

/* net_tx.c, worker. */
void net_tx_process(struct net_pair *p);
void net_tx_ready(struct net_pair *p); /* the back-end takes frames again */
void net_tx_drain(struct ev_timer *t); /* a disabled queue's frames are thrown away */

/* net_ctrlq.c; process and attach on the queue's worker. */
void net_ctrlq_init(struct virtio_net *n);
bool net_is_ctrl(const struct virtio_net *n, unsigned i); /* by the features accepted */
void net_ctrlq_attach(struct virtio_net *n, unsigned i, struct virtq *q, struct ev_loop *loop);
void net_ctrlq_process(struct virtio_net *n);

/* net_rarp.c: on pair 0's worker, sends what virtio_net_announce() left. */
void net_rarp_init(struct virtio_net *n);
void net_rarp_send(struct virtio_net *n);

#endif
