/* SPDX-License-Identifier: Apache-2.0 */
/* A back-end for tests of the proxy: a disk (or a network device that sends nothing) behind the
 * vhost-user transport, on a thread of its own, and in front of it somebody in the middle who
 * passes every message on, or drops the connection at one, holds all back, hides protocol features,
 * or changes what is said. */
#ifndef OFFLOAD_TEST_RIG_H
#define OFFLOAD_TEST_RIG_H

#include <pthread.h>
#include "devices/backend/block.h"
#include "devices/backend/netdev.h"
#include "offload/vu_device.h"
#include "offload/vu_msg.h"

struct backend {
	char disk_path[32], path[64], inner_path[64];
	pthread_t thread;
	bool running;
	unsigned queues, pairs; /* pairs 0: a disk */
	struct block *block;
	struct netdev *net[NETDEV_QUEUES];

	/* What the one in the middle does; any thread sets it. */
	_Atomic bool stop;
	_Atomic int drop_at;	 /* the how-manieth message from now on; 0 = none */
	_Atomic int drops;	 /* so many connections more are dropped so */
	_Atomic bool stall;	 /* nothing is passed on */
	_Atomic uint64_t hide;	 /* protocol features */
	_Atomic uint64_t resize; /* the disk gets so many bytes */
	_Atomic uint64_t hide_features;
	_Atomic bool no_area;			/* it tracks nothing after all */
	_Atomic unsigned messages[VU_REQUESTS]; /* seen, by request */
	_Atomic uint64_t said[VU_REQUESTS];	/* the first eight bytes of the last one */
	_Atomic int enabled[VIRTIO_QUEUES];	/* as SET_VRING_ENABLE said, -1 = never */

	/* Its thread's. */
	struct ev_loop *loop;
	struct vu_device *device;
	struct ev_fd listen;
	struct vu_conn *front, *inner;
	int count;
};

/* A disk of 1 MiB, and the thread. */
void backend_init(struct backend *b);
void backend_init_queues(struct backend *b, unsigned queues); /* that many of them */
void backend_init_net(struct backend *b, unsigned pairs);
void backend_start(struct backend *b);
/* As if it were killed: connection and sockets are gone. */
void backend_stop(struct backend *b);
void backend_fini(struct backend *b);

#endif
