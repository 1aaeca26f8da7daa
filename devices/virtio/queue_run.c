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
#include "devices/virtio/queue_poll.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/relax.h"

/* How long a worker that is never short of work may keep from its loop: messages wait that long,
 * and so do its fds, where there are any that it cannot poll. */
#define TURN_NS	       1000000
#define TURN_OF_FDS_NS 50000
#define LOOKS	       16 /* the same for one that does not poll */

enum run_state { RUN_IDLE, RUN_RUNNING, RUN_STOPPING };

struct run_queue {
	struct queue_run *run;
	unsigned i, worker;
	struct run_queue *next; /* of the same worker */
	struct queue_stats stats;
	enum run_state state; /* run->lock */
	struct ev_msg start, stop, stopped, broke;

	/* The worker's between start and stopped. */
	struct virtq vq;
	struct ev_fd kick;
	bool attached, draining, keeps_inflight;
	bool interrupt_owed;
	bool resting; /* the ring was empty; kicks have not been asked for yet */
	_Atomic bool again;
	struct virtq_pos pos;
};

struct run_worker {
	char name[16];
	struct queue_run *run;
	struct run_queue *queues;
	struct ev_thread *thread; /* run->lock; made by the first start */

	/* The worker's own. */
	struct ev_idle idle;
	struct poll_budget poll;
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

	q->resting = false;
	if (q->kick.loop && !q->vq.broken)
		r->ops->process(r->dev, q->i, &q->vq);
}

static void kicked(struct ev_fd *w, uint32_t events)
{
	struct run_queue *q = container_of(w, struct run_queue, kick);

	if (!atomic_exchange_explicit(&q->again, false, memory_order_relaxed))
		count_add(&q->stats.kicks, 1);
	process(q);
}

/* ---- polling ---- */

/* Looks at q once, without a system call; true when there was something, which is done now. */
static bool look(struct run_queue *q)
{
	const struct queue_worker_ops *ops = q->run->ops;
	bool found = q->attached && ops->poll && ops->poll(q->run->dev, q->i);

	if (q->resting && virtq_pending(&q->vq)) {
		process(q);
		found = true;
	}
	return found;
}

static struct run_queue *look_at_all(struct run_worker *w)
{
	struct run_queue *found = NULL;

	for (struct run_queue *q = w->queues; q; q = q->next)
		if (look(q))
			found = q;
	return found;
}

/* Once, and then for as long as the budget allows; true when there was something. *now goes on. */
static bool spin(struct run_worker *w, uint64_t *now)
{
	uint64_t start = *now, spent = 0, window = poll_budget_window(&w->poll, start);
	struct run_queue *found = look_at_all(w);

	while (!found && spent < window) {
		relax();
		*now = ev_now_ns();
		spent = *now - start;
		found = look_at_all(w);
	}
	poll_budget_spent(&w->poll, spent, found);
	count_add(&(found ? found : w->queues)->stats.poll_ns, spent);
	count_add(&(found ? found : w->queues)->stats.poll_hits, !!found);
	return found;
}

/* Asks for kicks; true when there were chains after all. */
static bool ask_for_kicks(struct run_worker *w)
{
	bool found = false;

	for (struct run_queue *q = w->queues; q; q = q->next) {
		if (!q->resting)
			continue;
		q->resting = false;
		if (virtq_enable_kick(&q->vq)) {
			process(q);
			found = true;
		}
	}
	return found;
}

static bool is_attached(const struct run_worker *w)
{
	for (const struct run_queue *q = w->queues; q; q = q->next)
		if (q->attached)
			return true;
	return false;
}

/* Looks until there is nothing, and when there has been nothing for long enough asks for kicks.
 * True: there may be more. */
static bool poll(struct run_worker *w, uint64_t turn_ns)
{
	uint64_t start = ev_now_ns(), now = start;

	poll_budget_woke(&w->poll, now);
	for (; now - start < turn_ns; now = ev_now_ns()) {
		if (spin(w, &now) || ask_for_kicks(w))
			continue;
		poll_budget_sleeps(&w->poll, now);
		return false;
	}
	return true;
}

/* The worker would sleep. Without polling, too, it need not ask the kernel for completions that lie
 * in its memory already. */
static bool more(struct ev_idle *i)
{
	struct run_worker *w = container_of(i, struct run_worker, idle);

	if (!is_attached(w))
		return false;
	if (w->poll.percent)
		return poll(w, w->run->ops->poll ? TURN_NS : TURN_OF_FDS_NS);
	for (unsigned n = 0; n < LOOKS; n++)
		if (!look_at_all(w))
			return false;
	return true;
}

static void watch_idle(struct run_worker *w, struct ev_loop *loop)
{
	unsigned percent = w->run->dev->poll;

	if (w->idle.more || (!percent && !w->run->ops->poll))
		return;
	poll_budget_init(&w->poll, percent, ev_now_ns());
	w->idle.more = more;
	ev_set_idle(loop, &w->idle);
}

bool queue_run_rest(struct queue_run *r, unsigned i)
{
	struct run_queue *q = &r->queue[i];

	if (!r->worker[q->worker].poll.percent)
		return virtq_enable_kick(&q->vq);
	q->resting = true;
	return false;
}

/* ---- what a device asks for ---- */

void queue_run_publish(struct queue_run *r, unsigned i)
{
	struct run_queue *q = &r->queue[i];

	q->interrupt_owed |= virtq_publish(&q->vq);
}

void queue_run_flush(struct queue_run *r, unsigned i)
{
	struct run_queue *q = &r->queue[i];

	queue_run_publish(r, i);
	if (!q->interrupt_owed)
		return;
	q->interrupt_owed = false;
	virtio_signal_raise(&q->vq.signal, VIRTIO_ISR_QUEUE);
	count_add(&q->stats.interrupts, 1);
}

struct queue_stats *queue_run_stats(struct queue_run *r, unsigned i)
{
	return &r->queue[i].stats;
}

uint64_t queue_run_cpu_ns(struct queue_run *r, unsigned i)
{
	LOCK_SCOPE(&r->lock);
	struct ev_thread *t = r->worker[r->queue[i].worker].thread;

	return t ? ev_thread_cpu_ns(t) : 0;
}

bool queue_run_keeps_inflight(struct queue_run *r, unsigned i)
{
	return r->queue[i].keeps_inflight;
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
	atomic_store_explicit(&r->queue[i].again, true, memory_order_relaxed);
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

	watch_idle(&r->worker[q->worker], loop);
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
	queue_run_flush(r, q->i);
	virtq_pos_get(&q->vq, &q->pos);
	post_control(q, &q->stopped);
}

static void handle_stop(struct ev_msg *m)
{
	struct run_queue *q = container_of(m, struct run_queue, stop);

	ev_del(&q->kick);
	q->resting = false;
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
	q->next = r->worker[worker].queues;
	r->worker[worker].queues = q;
	r->worker[worker].run = r;
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
	q->keeps_inflight = s->inflight;
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
