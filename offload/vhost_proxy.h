/* SPDX-License-Identifier: Apache-2.0 */
/* What the proxies of vhost-net and of vhost-vdpa share: rings that the transport starts and stops,
 * and a kernel device that is told of them by ioctl.
 *
 * The transport's calls come from vCPUs under the device's lock: they note what is wanted and post.
 * Then, one round at a time:
 *
 *   vCPU       queue_start, queue_stop, reset ── noted ──┐
 *   control    what is wanted, its eventfds ─────────────┴─► round
 *   loop       settle(): ioctls until what is up is what is wanted
 *   control    queue_stopped with positions, broken, reset_done
 *
 * `loop` is control's where the kernel itself answers (vhost-net), and a thread of its own where a
 * process may be behind the ioctl that takes its time (VDUSE): nobody else waits for that. */
#ifndef OFFLOAD_VHOST_PROXY_H
#define OFFLOAD_VHOST_PROXY_H

#include <linux/vhost.h>
#include <pthread.h>
#include "devices/virtio/virtio.h"
#include "offload/vhost_sys.h"

enum vhost_ring_state {
	VHOST_RING_IDLE,
	VHOST_RING_NOTED, /* started by the transport, which has not started all yet */
	VHOST_RING_WANTED,
	VHOST_RING_STOPPING,
};

struct vhost_proxy;

struct vhost_ring {
	struct vhost_proxy *proxy;
	unsigned i;
	enum vhost_ring_state state; /* proxy->lock */

	/* Written by queue_start while the ring is idle; then the round's. */
	struct virtq_setup s;	      /* s.pos is NULL */
	struct virtq_pos pos;	      /* where the ring stands while it is down */
	uint8_t *desc, *avail, *used; /* its parts in guest memory */

	/* The round's. */
	bool want, up;
	bool failed, told;  /* could not come up since the start; the transport knows */
	int line_fd;	    /* the line's own eventfd, where nobody else needs to know */
	struct ev_fd relay; /* calls that the transport must see */
	struct ev_fd err;   /* the kernel says that the driver broke the ring */
};

struct vhost_proxy_ops {
	/* Brings every ring to `want`. What cannot come up is marked failed, after a line in the
	 * log. `reset`: the driver has reset the device, and wants no ring. On loop. */
	void (*settle)(struct vhost_proxy *p, bool reset);
};

struct vhost_proxy {
	struct virtio_dev dev; /* first */
	const struct vhost_proxy_ops *ops;
	struct vhost *vhost;	   /* for messages: whose call failed last */
	struct ev_loop *loop;	   /* where settle() runs */
	_Atomic uint64_t features; /* accepted */

	pthread_mutex_t lock;
	bool resetting, posted;		/* lock */
	bool busy, again, round_resets; /* control's */
	struct ev_msg ask, work, report;

	struct vhost_ring ring[VIRTIO_QUEUES];
};

/* dev's ops, type, queues and host are set by the caller before. */
void vhost_proxy_init(struct vhost_proxy *p, const struct vhost_proxy_ops *ops, struct vhost *v,
	struct ev_loop *loop);
/* Control, all queues stopped: waits for what is posted. Then fini. */
void vhost_proxy_wait(struct vhost_proxy *p);
void vhost_proxy_fini(struct vhost_proxy *p);

/* For dev's ops. What queue_start notes is wanted from vhost_proxy_started() on (any thread). */
int vhost_proxy_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s);
int vhost_proxy_queue_stop(struct virtio_dev *d, unsigned i);
void vhost_proxy_reset(struct virtio_dev *d);
void vhost_proxy_started(struct virtio_dev *d);

/* For settle(). Sets number, position, addresses and eventfds of ring r on v, which knows it as
 * `index` and its parts at addr (index is filled in here). with_err: the device tells of broken
 * rings. 0 or a negative errno, v->failed names the call. */
int vhost_ring_up(struct vhost_ring *r, struct vhost *v, unsigned index,
	const struct vhost_vring_addr *addr, bool with_err);
/* Reads where the ring stands, from the device and (split) the used ring, into r->pos. */
int vhost_ring_base(struct vhost_ring *r, struct vhost *v, unsigned index);
/* Without asking the device, split rings only: what was not published is popped again. */
void vhost_ring_base_used(struct vhost_ring *r);
/* The ring is down: passes on its last call, closes its eventfds. */
void vhost_ring_quiet(struct vhost_ring *r);
/* One line that names what failed; the driver is asked for a reset. */
void vhost_ring_fail(struct vhost_ring *r, int code);
void vhost_proxy_log(struct vhost_proxy *p, int code, const char *what);

static inline struct vhost_proxy *vhost_proxy_of(struct virtio_dev *d)
{
	return (struct vhost_proxy *)d;
}

#endif
