/* SPDX-License-Identifier: Apache-2.0 */
/* What an ordinary in-process device need not write: queue_start, queue_stop and reset over an I/O
 * worker. The device embeds a queue_run, points its ops at the functions below and supplies
 * process(). A worker is one thread with one loop; a device names how its queues map to workers
 * (block: one a queue; net: one a pair). process() runs on the worker and takes no device lock.
 *
 *         start (device lock)             stop, reset (device lock)
 *   idle ────────────────────► running ─────────────────────────────► stopping
 *    ▲      worker: attach,               worker: no more kicks,          │
 *    │      process                       wait for in_flight() == 0,      │
 *    └──────────────────── control: queue_stopped ◄────────── detach ◄────┘
 *
 * With virtio_dev.poll a worker that has nothing to do looks at its rings for a while before it
 * asks for kicks and sleeps (queue_poll.h). A process() that wants this ends with queue_run_rest()
 * where it would call virtq_enable_kick().
 *
 * A worker lives from its first queue's start until the device is freed: through pauses and resets,
 * so that whoever pinned the thread or put it in a cgroup need not do it again. */
#ifndef DEVICES_VIRTIO_QUEUE_RUN_H
#define DEVICES_VIRTIO_QUEUE_RUN_H

#include "devices/virtio/stats.h"
#include "devices/virtio/virtio.h"
#include "devices/virtio/virtq.h"

struct queue_run;

struct queue_worker_ops {
	/* The driver kicked queue q (or it was just started): pop, serve, push, flush. At most
	 * about one ring's worth, then queue_run_again(): a driver that never pauses must not keep
	 * the worker from its other fds and from being stopped. Worker. */
	void (*process)(struct virtio_dev *d, unsigned i, struct virtq *q);
	/* Reports what the back-end has completed for an attached queue; true when something had.
	 * No system call while nothing has: it is called very often, while the worker polls. NULL:
	 * the loop's fds tell. With it nothing else of the device's may hang on the loop: that is
	 * looked at seldom then. Worker. */
	bool (*poll)(struct virtio_dev *d, unsigned i);
	/* Requests popped but not pushed; the stop waits, on the loop, until this is 0. May be
	 * NULL. */
	unsigned (*in_flight)(struct virtio_dev *d, unsigned i);
	/* Before the first and after the last chain of a started queue; worker. May be NULL. Here a
	 * back-end is bound to, and unbound from, the worker's loop; detach may still unpop. */
	int (*attach)(struct virtio_dev *d, unsigned i, struct virtq *q, struct ev_loop *loop);
	void (*detach)(struct virtio_dev *d, unsigned i);
};

/* thread_of[i] gives the worker index of queue i (below VIRTIO_QUEUES), names[w] the thread's name;
 * both are copied. d must be alive until queue_run_free(). */
int queue_run_new(struct virtio_dev *d, const struct queue_worker_ops *ops,
	const unsigned *thread_of, const char *const *names, struct queue_run **ret_run);
/* All queues stopped. NULL is fine. */
void queue_run_free(struct queue_run *r);

int queue_run_start(struct queue_run *r, unsigned i, const struct virtq_setup *s);
int queue_run_stop(struct queue_run *r, unsigned i);
void queue_run_reset(struct queue_run *r);

/* Worker: a request of queue i completed outside process(); lets a waiting stop go on. */
void queue_run_idle(struct queue_run *r, unsigned i);
/* Worker: calls process() again soon, after what else is ready. Any thread while the queue runs. */
void queue_run_again(struct queue_run *r, unsigned i);
/* Worker: virtq_pop failed. Stops serving the queue and posts `broken`. */
void queue_run_broken(struct queue_run *r, unsigned i);
/* Worker: process() has found the ring empty. True: it is not, look again; else the worker is told
 * of the next chain, by a kick or by looking. */
bool queue_run_rest(struct queue_run *r, unsigned i);
/* Worker: publishes what was pushed, and the second interrupts the driver, too, if it wants that
 * for anything published since the last time: one that is awake can go on meanwhile, one that
 * sleeps is woken once. */
void queue_run_publish(struct queue_run *r, unsigned i);
void queue_run_flush(struct queue_run *r, unsigned i);

/* Kicks, interrupts and polling are counted here, all else by the device (its worker only). Alive
 * as long as r. */
struct queue_stats *queue_run_stats(struct queue_run *r, unsigned i);
/* As virtio_dev_ops.cpu_ns. */
uint64_t queue_run_cpu_ns(struct queue_run *r, unsigned i);
/* Does the ring keep what is in flight (virtq_setup.inflight)? Worker, while started. */
bool queue_run_keeps_inflight(struct queue_run *r, unsigned i);
struct virtq *queue_run_virtq(struct queue_run *r, unsigned i); /* worker, while started */

#endif
