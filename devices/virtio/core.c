/* SPDX-License-Identifier: Apache-2.0 */
/* What the driver wants (status, `enabled`) and what the device does (`running`) differ while
 * something is being stopped; this file moves the second after the first. A queue starts when
 * DRIVER_OK and its enable are both there, whichever comes last, and not before an earlier stop of
 * it has ended, nor while the machine is paused. */
#include "devices/virtio/core.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

static uint64_t offered(struct virtio_core *c)
{
	return virtio_dev_features(c->dev);
}

static bool any_running(const struct virtio_core *c)
{
	for (unsigned i = 0; i < c->dev->nqueues; i++)
		if (c->queue[i].running)
			return true;
	return false;
}

static void notify_config(struct virtio_core *c)
{
	struct virtio_signal s = c->config_signal(c);

	if (c->status & VIRTIO_S_DRIVER_OK)
		virtio_signal_raise(&s, VIRTIO_ISR_CONFIG);
}

/* virtio 1.2 §2.1.2 */
static void needs_reset(struct virtio_core *c)
{
	if (c->status & VIRTIO_S_NEEDS_RESET || c->resetting)
		return;
	c->status |= VIRTIO_S_NEEDS_RESET;
	notify_config(c);
}

static void start_queue(struct virtio_core *c, unsigned i)
{
	struct virtio_core_queue *q = &c->queue[i];
	struct virtq_setup s = {
		.size = q->size,
		.desc = q->desc,
		.avail = q->avail,
		.used = q->used,
		.features = c->driver_features,
		.kick_fd = q->kick_fd,
		.signal = c->queue_signal(c, i),
		.pos = q->keep_pos ? &q->pos : NULL,
	};
	int r = c->dev->ops->queue_start(c->dev, i, &s);

	if (r == 0) {
		q->running = true;
		return;
	}
	log_limited(c->dev->host->log, &c->limit, LOG_WARN, c->dev->id, "queue %u cannot start: %s",
		i, strerrordesc_np(-r));
	needs_reset(c);
}

static void start_if_wanted(struct virtio_core *c, unsigned i)
{
	struct virtio_core_queue *q = &c->queue[i];

	if (q->enabled && !q->running && !c->resetting && !c->paused &&
		c->status & VIRTIO_S_DRIVER_OK)
		start_queue(c, i);
}

static void started(struct virtio_core *c)
{
	if (c->dev->ops->started)
		c->dev->ops->started(c->dev);
}

static void begin_stop(struct virtio_core *c, unsigned i)
{
	if (!c->queue[i].running || c->queue[i].stopping)
		return;
	c->queue[i].stopping = true;
	c->dev->ops->queue_stop(c->dev, i);
}

static void notice(struct virtio_core *c, enum dev_notice n)
{
	struct dev_host *h = c->dev->host;

	if (h->ops->notice)
		h->ops->notice(h, c->dev->id, n);
}

static void set_initial(struct virtio_core *c)
{
	c->status = 0;
	c->feature_sel = c->driver_feature_sel = c->queue_sel = 0;
	c->driver_features = 0;
	c->config_vector = VIRTIO_NO_VECTOR;
	atomic_store(&c->isr, 0);
	for (unsigned i = 0; i < c->dev->nqueues; i++) {
		int kick_fd = c->queue[i].kick_fd;

		c->queue[i] = (struct virtio_core_queue){.size = c->dev->queue_max[i],
			.vector = VIRTIO_NO_VECTOR,
			.kick_fd = kick_fd,
			.pos = VIRTQ_POS_FRESH};
	}
	if (c->was_reset)
		c->was_reset(c);
}

static void begin_reset(struct virtio_core *c)
{
	if (c->resetting)
		return;
	if (!any_running(c)) {
		set_initial(c);
		return;
	}
	c->resetting = true;
	c->dev->ops->reset(c->dev);
}

/* Posted by the device, on control. */
static void on_queue_stopped(void *transport, unsigned i, const struct virtq_pos *pos)
{
	struct virtio_core *c = transport;
	struct virtio_core_queue *q = &c->queue[i];

	LOCK_SCOPE(c->lock);
	q->running = q->stopping = false;
	q->pos = q->keep_pos ? *pos : VIRTQ_POS_FRESH;
	start_if_wanted(c, i);
	started(c);
}

static void on_reset_done(void *transport)
{
	struct virtio_core *c = transport;

	LOCK_SCOPE(c->lock);
	c->resetting = false;
	set_initial(c);
	pthread_cond_broadcast(&c->idle);
}

static void on_config_changed(void *transport)
{
	struct virtio_core *c = transport;

	LOCK_SCOPE(c->lock);
	c->generation++;
	notify_config(c);
}

static void on_broken(void *transport, unsigned i)
{
	static const char text[] = "the driver broke queue %u; waiting for its reset";
	struct virtio_core *c = transport;

	LOCK_SCOPE(c->lock);
	log_limited(c->dev->host->log, &c->limit, LOG_WARN, c->dev->id, text, i);
	needs_reset(c);
}

static const struct virtio_events core_events = {
	.queue_stopped = on_queue_stopped,
	.reset_done = on_reset_done,
	.config_changed = on_config_changed,
	.broken = on_broken,
};

int virtio_core_init(struct virtio_core *c, struct virtio_dev *dev, pthread_mutex_t *lock)
{
	int r = 0;

	*c = (struct virtio_core){.dev = dev, .lock = lock};
	pthread_cond_init(&c->idle, NULL);
	dev->events = &core_events;
	dev->transport = c;
	for (unsigned i = 0; i < dev->nqueues; i++) {
		c->queue[i].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (c->queue[i].kick_fd < 0 && r == 0)
			r = -errno;
	}
	set_initial(c);
	return r;
}

/* Lock held by the caller, on control: the loop runs until the device has stopped. */
static void reset_and_wait(struct virtio_core *c)
{
	begin_reset(c);
	while (c->resetting) {
		pthread_mutex_unlock(c->lock);
		ev_run_once(c->dev->host->control, 100);
		pthread_mutex_lock(c->lock);
	}
}

void virtio_core_power_on(struct virtio_core *c)
{
	LOCK_SCOPE(c->lock);
	reset_and_wait(c);
}

void virtio_core_fini(struct virtio_core *c)
{
	if (!c->dev)
		return;
	virtio_core_power_on(c);
	for (unsigned i = 0; i < c->dev->nqueues; i++)
		cleanup_closep(&c->queue[i].kick_fd);
	pthread_cond_destroy(&c->idle);
	virtio_dev_free(c->dev);
	c->dev = NULL;
}

/* §2.2.2: no bit that was not offered, and a version that we speak; then the device's own rules. */
static bool features_ok(struct virtio_core *c)
{
	uint64_t f = c->driver_features;

	return !(f & ~offered(c)) && f & VIRTIO_BIT_VERSION_1 &&
	       c->dev->ops->accept(c->dev, f) == 0;
}

void virtio_core_status_write(struct virtio_core *c, uint8_t status)
{
	uint8_t fresh = status & ~c->status & ~VIRTIO_S_NEEDS_RESET;

	if (c->resetting)
		return;
	if (!status) {
		if (c->status & VIRTIO_S_DRIVER_OK)
			notice(c, DEV_NOTICE_RESET);
		begin_reset(c);
		return;
	}
	if (fresh & VIRTIO_S_FEATURES_OK && !features_ok(c))
		fresh &= ~VIRTIO_S_FEATURES_OK;
	/* §3.1.1: DRIVER_OK only after a successful FEATURES_OK */
	if (!((c->status | fresh) & VIRTIO_S_FEATURES_OK))
		fresh &= ~VIRTIO_S_DRIVER_OK;
	c->status |= fresh; /* bits are cleared by reset only, §2.1.1 */
	if (!(fresh & VIRTIO_S_DRIVER_OK))
		return;
	for (unsigned i = 0; i < c->dev->nqueues; i++)
		start_if_wanted(c, i);
	started(c);
	notice(c, DEV_NOTICE_ACTIVATED);
}

uint8_t virtio_core_status_read(struct virtio_core *c)
{
	return c->status;
}

void virtio_core_wait_reset(struct virtio_core *c)
{
	while (c->resetting)
		pthread_cond_wait(&c->idle, c->lock);
}

uint32_t virtio_core_features_read(struct virtio_core *c)
{
	return c->feature_sel < 2 ? offered(c) >> (32 * c->feature_sel) : 0;
}

void virtio_core_features_write(struct virtio_core *c, uint32_t v)
{
	unsigned shift = 32 * c->driver_feature_sel;

	if (c->driver_feature_sel >= 2 || c->status & VIRTIO_S_FEATURES_OK || c->resetting)
		return;
	c->driver_features &= ~((uint64_t)UINT32_MAX << shift);
	c->driver_features |= (uint64_t)v << shift;
}

struct virtio_core_queue *virtio_core_queue(struct virtio_core *c)
{
	return c->queue_sel < c->dev->nqueues ? &c->queue[c->queue_sel] : NULL;
}

struct virtio_core_queue *virtio_core_queue_setup(struct virtio_core *c)
{
	struct virtio_core_queue *q = virtio_core_queue(c);

	return q && !q->enabled && !c->resetting ? q : NULL;
}

/* §2.7: a power of two; §2.8.10.1: packed rings take any. */
static bool size_ok(const struct virtio_core *c, unsigned i, uint32_t size)
{
	return size && size <= c->dev->queue_max[i] &&
	       (is_pow2(size) || c->driver_features & VIRTIO_BIT_RING_PACKED);
}

void virtio_core_queue_size(struct virtio_core *c, uint32_t size)
{
	struct virtio_core_queue *q = virtio_core_queue_setup(c);

	if (q && size_ok(c, c->queue_sel, size))
		q->size = size;
}

void virtio_core_queue_enable(struct virtio_core *c, bool enable)
{
	struct virtio_core_queue *q = virtio_core_queue(c);

	if (!q || c->resetting || enable == q->enabled)
		return;
	q->enabled = enable;
	q->keep_pos = false;
	if (enable) {
		start_if_wanted(c, c->queue_sel);
		started(c);
	} else {
		begin_stop(c, c->queue_sel);
	}
}

/* Stops queue i to start it again where it stood, unless the driver has disabled it already. */
static void interrupt_queue(struct virtio_core *c, unsigned i)
{
	if (!c->queue[i].running || c->queue[i].stopping || c->resetting)
		return;
	c->queue[i].keep_pos = true;
	begin_stop(c, i);
}

void virtio_core_signals_changed(struct virtio_core *c)
{
	for (unsigned i = 0; i < c->dev->nqueues; i++)
		interrupt_queue(c, i);
}

void virtio_core_pause(struct virtio_core *c)
{
	LOCK_SCOPE(c->lock);
	c->paused = true;
	for (unsigned i = 0; i < c->dev->nqueues; i++)
		interrupt_queue(c, i);
}

bool virtio_core_paused(struct virtio_core *c)
{
	LOCK_SCOPE(c->lock);
	return c->paused && !c->resetting && !any_running(c);
}

static void resume_queue(struct virtio_core *c, unsigned i)
{
	struct virtio_signal s;

	start_if_wanted(c, i);
	if (!c->queue[i].running)
		return;
	eventfd_write(c->queue[i].kick_fd, 1);
	s = c->queue_signal(c, i);
	virtio_signal_raise(&s, VIRTIO_ISR_QUEUE);
}

void virtio_core_resume(struct virtio_core *c)
{
	LOCK_SCOPE(c->lock);
	c->paused = false;
	for (unsigned i = 0; i < c->dev->nqueues; i++)
		resume_queue(c, i);
	started(c);
}

void virtio_core_kick(struct virtio_core *c, unsigned queue)
{
	if (queue >= c->dev->nqueues)
		return;
	count_add(&c->kick_exits, 1);
	eventfd_write(c->queue[queue].kick_fd, 1);
}

unsigned virtio_core_counters(struct virtio_core *c, struct dev_counter *ret, unsigned max)
{
	struct dev_counter own = {"kick_exits", count_get(&c->kick_exits)};
	unsigned n = c->dev->ops->counters ? c->dev->ops->counters(c->dev, ret, max) : 0;

	return n + counters_copy(&own, 1, ret + n, max - n);
}

/* The sizes that the driver gave its queues: one when they are alike. */
static void queue_sizes(const struct virtio_core *c, char *text, size_t cap)
{
	uint16_t last = 0;
	size_t at = 0;

	snprintf(text, cap, "none yet");
	for (unsigned i = 0; i < c->dev->nqueues && at < cap; i++) {
		if (!c->queue[i].enabled || c->queue[i].size == last)
			continue;
		last = c->queue[i].size;
		at += snprintf(text + at, cap - at, "%s%u", at ? ", " : "", last);
	}
}

static const char *accepted(const struct virtio_core *c, uint64_t bit)
{
	if (!(c->status & VIRTIO_S_FEATURES_OK))
		return "none yet";
	return c->driver_features & bit ? "on" : "off: the driver did not accept it";
}

unsigned virtio_core_achieved(struct virtio_core *c, struct dev_achieved *ret, unsigned max)
{
	char sizes[48];
	unsigned n = 0;

	LOCK_SCOPE(c->lock);
	queue_sizes(c, sizes, sizeof(sizes));
	achieved_add(
		ret, max, &n, "driver", "%s", c->status & VIRTIO_S_DRIVER_OK ? "yes" : "none yet");
	achieved_add(ret, max, &n, "queue_size", "%s", sizes);
	achieved_add(ret, max, &n, "event_idx", "%s", accepted(c, VIRTIO_BIT_EVENT_IDX));
	achieved_add(ret, max, &n, "indirect", "%s", accepted(c, VIRTIO_BIT_INDIRECT_DESC));
	achieved_add(ret, max, &n, "packed", "%s",
		c->dev->no_packed ? "off: not offered" : accepted(c, VIRTIO_BIT_RING_PACKED));
	if (c->dev->ops->achieved)
		n += c->dev->ops->achieved(c->dev, ret + n, max - n);
	return n;
}

/* The part of [off, off+len) that config space has. */
static uint32_t config_part(const struct virtio_core *c, uint32_t off, uint32_t len)
{
	return off < c->dev->config_len ? MIN(len, c->dev->config_len - off) : 0;
}

void virtio_core_config_read(struct virtio_core *c, uint32_t off, void *buf, uint32_t len)
{
	uint32_t n = config_part(c, off, len);

	memset(buf, 0, len);
	if (n)
		c->dev->ops->config_read(c->dev, off, buf, n);
}

void virtio_core_config_write(struct virtio_core *c, uint32_t off, const void *buf, uint32_t len)
{
	uint32_t n = config_part(c, off, len);

	if (n && !c->resetting && c->dev->ops->config_write)
		c->dev->ops->config_write(c->dev, off, buf, n);
}

static void visit_pos(struct visitor *v, struct virtq_pos *p)
{
	uint32_t n = p->npopped;

	visit_u16(v, "avail", &p->avail);
	visit_u16(v, "used", &p->used);
	visit_bool(v, "avail_wrap", &p->avail_wrap);
	visit_bool(v, "used_wrap", &p->used_wrap);
	visit_array(v, "popped", &n, VIRTIO_QUEUE_MAX);
	p->npopped = MIN(n, (uint32_t)VIRTIO_QUEUE_MAX);
	for (unsigned i = 0; i < p->npopped; i++)
		visit_u16(v, NULL, &p->popped[i]);
	visit_array_end(v);
}

static void visit_queue(struct virtio_core *c, unsigned i, struct visitor *v)
{
	struct virtio_core_queue *q = &c->queue[i];
	uint32_t version = 1;

	visit_begin(v, NULL, &version);
	visit_u16(v, "size", &q->size);
	visit_bool(v, "enabled", &q->enabled);
	visit_u64(v, "desc", &q->desc);
	visit_u64(v, "driver", &q->avail);
	visit_u64(v, "device", &q->used);
	visit_u16(v, "vector", &q->vector);
	visit_pos(v, &q->pos);
	visit_end(v);
	if (!size_ok(c, i, q->size))
		visit_fail(v, -EINVAL);
	if (visit_mode(v) == VISIT_LOAD)
		q->keep_pos = true;
}

int virtio_core_visit(struct virtio_core *c, struct visitor *v)
{
	uint32_t version = 1, n = c->dev->nqueues, isr = atomic_load(&c->isr);

	visit_begin(v, "virtio", &version);
	visit_u8(v, "status", &c->status);
	visit_u32(v, "feature_sel", &c->feature_sel);
	visit_u32(v, "driver_feature_sel", &c->driver_feature_sel);
	visit_u32(v, "queue_sel", &c->queue_sel);
	visit_u64(v, "driver_features", &c->driver_features);
	visit_u32(v, "generation", &c->generation);
	visit_u16(v, "config_vector", &c->config_vector);
	visit_u32(v, "isr", &isr);
	visit_array(v, "queues", &n, VIRTIO_QUEUES);
	if (n != c->dev->nqueues)
		return visit_fail(v, -EINVAL);
	for (unsigned i = 0; i < n; i++)
		visit_queue(c, i, v);
	visit_array_end(v);
	if (visit_mode(v) == VISIT_LOAD)
		atomic_store(&c->isr, isr);
	if (c->driver_features & ~offered(c))
		visit_fail(v, -EINVAL);
	if (c->dev->ops->visit)
		c->dev->ops->visit(c->dev, v);
	visit_end(v);
	return visit_status(v);
}
