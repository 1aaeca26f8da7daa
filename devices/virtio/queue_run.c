/* SPDX-License-Identifier: Apache-2.0 */
/* Three threads meet here. The caller of start, stop and reset (a vCPU under the device lock) and
 * control agree on each queue's state under r->lock, which is taken inside the device lock and
 * never held while the transport is told. The worker owns the ring between its "start" and its
 * "stopped" message and takes neither lock. Each message is embedded in its queue and in flight at
 * most once, because the state says so.
 *
 * The kick eventfd is watched edge-triggered and never read: each write is an edge, and the count
 * is of no interest. That saves a system call per kick. */
#include "devices/virtio/queue_run.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include "vmm/base/cleanup.h"

enum run_state { RUN_IDLE, RUN_RUNNING, RUN_STOPPING };

struct run_queue {
	struct queue_run *run;
	unsigned i, worker;
	enum run_state state; /* run->lock */
	struct ev_msg start, stop, stopped, broke;

	/* The worker's between start and stopped. */
	struct virtq vq;
	struct ev_fd kick;
	bool attached, draining;
	struct virtq_pos pos;
};

struct run_worker {
	char name[16];
	struct ev_thread *thread; /* run->lock; made by the first start */
};

struct queue_run {
	struct virtio_dev *dev;
	const struct queue_worker_ops *ops;
	pthread_mutex_t lock;
	bool resetting;
	struct ev_msg reset; /* a reset that found nothing running */
	struct run_worker worker[VIRTIO_QUEUES];
	unsigned nqueues;
	struct log_limit limit;
	struct run_queue queue[];
};

static void post_control(struct run_queue *q, struct ev_msg *m)
{
	ev_post(q->run->dev->host->control, m);
}

static void process(struct run_queue *q)
{
	struct queue_run *r = q->run;

	if (q->kick.loop && !q->vq.broken)
		r->ops->process(r->dev, q->i, &q->vq);
}

static void kicked(struct ev_fd *w, uint32_t events)
{
	process(container_of(w, struct run_queue, kick));
}

void queue_run_broken(struct queue_run *r, unsigned i)
{
	struct run_queue *q = &r->queue[i];

	if (!q->kick.loop)
		return; /* told already, or stopping: a reset follows anyway */
	ev_del(&q->kick);
	q->vq.broken = true;
	post_control(q, &q->broke);
}

void queue_run_again(struct queue_run *r, unsigned i)
{
	eventfd_write(r->queue[i].kick.fd, 1);
}

struct virtq *queue_run_virtq(struct queue_run *r, unsigned i)
{
	return &r->queue[i].vq;
}

static void handle_start(struct ev_msg *m)
{
	struct run_queue *q = container_of(m, struct run_queue, start);
	struct queue_run *r = q->run;
	struct ev_loop *loop = ev_thread_loop(r->worker[q->worker].thread);
	int err = ev_add(loop, &q->kick, EPOLLIN | EPOLLET);

	if (err == 0 && r->ops->attach)
		err = r->ops->attach(r->dev, q->i, &q->vq, loop);
	q->attached = err == 0;
	if (err == 0) {
		process(q);
		return;
	}
	log_limited(r->dev->host->log, &r->limit, LOG_ERROR, r->dev->id,
		"queue %u does not start: %s", q->i, strerrordesc_np(-err));
	ev_del(&q->kick);
	q->vq.broken = true;
	post_control(q, &q->broke);
}

static void finish_if_idle(struct run_queue *q)
{
	struct queue_run *r = q->run;

	if (!q->draining || (r->ops->in_flight && r->ops->in_flight(r->dev, q->i)))
		return;
	q->draining = false;
	if (q->attached && r->ops->detach)
		r->ops->detach(r->dev, q->i);
	q->attached = false;
	virtq_flush(&q->vq);
	virtq_pos_get(&q->vq, &q->pos);
	post_control(q, &q->stopped);
}

static void handle_stop(struct ev_msg *m)
{
	struct run_queue *q = container_of(m, struct run_queue, stop);

	ev_del(&q->kick);
	q->draining = true;
	finish_if_idle(q);
}

void queue_run_idle(struct queue_run *r, unsigned i)
{
	finish_if_idle(&r->queue[i]);
}

/* Control. */
static void handle_broke(struct ev_msg *m)
{
	struct run_queue *q = container_of(m, struct run_queue, broke);
	struct virtio_dev *d = q->run->dev;

	d->events->broken(d->transport, q->i);
}

static void end_reset(struct queue_run *r)
{
	r->dev->events->reset_done(r->dev->transport);
}

static void handle_reset(struct ev_msg *m)
{
	end_reset(container_of(m, struct queue_run, reset));
}

static bool all_idle(const struct queue_run *r)
{
	for (unsigned i = 0; i < r->nqueues; i++)
		if (r->queue[i].state != RUN_IDLE)
			return false;
	return true;
}

static void handle_stopped(struct ev_msg *m)
{
	struct run_queue *q = container_of(m, struct run_queue, stopped);
	struct queue_run *r = q->run;
	struct virtio_dev *d = r->dev;
	struct virtq_pos pos = q->pos;
	bool reset;

	pthread_mutex_lock(&r->lock);
	q->state = RUN_IDLE;
	reset = r->resetting && all_idle(r);
	if (reset)
		r->resetting = false;
	pthread_mutex_unlock(&r->lock);
	d->events->queue_stopped(d->transport, q->i, &pos);
	if (reset)
		end_reset(r);
}

static void init_queue(struct queue_run *r, unsigned i, unsigned worker)
{
	struct run_queue *q = &r->queue[i];

	q->run = r;
	q->i = i;
	q->worker = worker;
	q->start.handle = handle_start;
	q->stop.handle = handle_stop;
	q->stopped.handle = handle_stopped;
	q->broke.handle = handle_broke;
	q->kick.ready = kicked;
}

int queue_run_new(struct virtio_dev *d, const struct queue_worker_ops *ops,
	const unsigned *thread_of, const char *const *names, struct queue_run **ret_run)
{
	struct queue_run *r = calloc(1, sizeof(*r) + d->nqueues * sizeof(r->queue[0]));

	if (!r)
		return -ENOMEM;
	r->dev = d;
	r->ops = ops;
	r->nqueues = d->nqueues;
	r->reset.handle = handle_reset;
	pthread_mutex_init(&r->lock, NULL);
	for (unsigned i = 0; i < d->nqueues; i++) {
		assert(thread_of[i] < VIRTIO_QUEUES);
		init_queue(r, i, thread_of[i]);
		strncpy(r->worker[thread_of[i]].name, names[thread_of[i]],
			sizeof(r->worker[0].name) - 1);
	}
	*ret_run = r;
	return 0;
}

void queue_run_free(struct queue_run *r)
{
	if (!r)
		return;
	assert(all_idle(r));
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
		ev_thread_free(r->worker[i].thread);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

int queue_run_start(struct queue_run *r, unsigned i, const struct virtq_setup *s)
{
	struct run_queue *q = &r->queue[i];
	struct run_worker *w = &r->worker[q->worker];
	int err;

	LOCK_SCOPE(&r->lock);
	if (q->state != RUN_IDLE || r->resetting)
		return -EBUSY;
	err = virtq_init(&q->vq, r->dev->host->dma, s);
	if (err < 0)
		return err;
	if (!w->thread)
		err = ev_thread_new(w->name, &w->thread);
	if (err < 0)
		return err;
	q->kick.fd = s->kick_fd;
	q->state = RUN_RUNNING;
	ev_post(ev_thread_loop(w->thread), &q->start);
	return 0;
}

/* Locked. */
static void begin_stop(struct queue_run *r, struct run_queue *q)
{
	if (q->state != RUN_RUNNING)
		return;
	q->state = RUN_STOPPING;
	ev_post(ev_thread_loop(r->worker[q->worker].thread), &q->stop);
}

int queue_run_stop(struct queue_run *r, unsigned i)
{
	LOCK_SCOPE(&r->lock);
	if (r->queue[i].state == RUN_IDLE)
		return -EINVAL;
	begin_stop(r, &r->queue[i]);
	return 0;
}

void queue_run_reset(struct queue_run *r)
{
	LOCK_SCOPE(&r->lock);
	if (r->resetting)
		return;
	if (all_idle(r)) {
		ev_post(r->dev->host->control, &r->reset);
		return;
	}
	r->resetting = true;
	for (unsigned i = 0; i < r->nqueues; i++)
		begin_stop(r, &r->queue[i]);
}
