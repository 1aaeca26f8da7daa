/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/vhost_proxy.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "devices/virtio/virtq.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

/* ---- what the transport asks ---- */

static bool all_idle(const struct vhost_proxy *p)
{
	for (unsigned i = 0; i < p->dev.nqueues; i++)
		if (p->ring[i].state != VHOST_RING_IDLE)
			return false;
	return true;
}

/* Locked. */
static void ask(struct vhost_proxy *p)
{
	if (!p->posted)
		ev_post(p->dev.host->control, &p->ask);
	p->posted = true;
}

void vhost_proxy_started(struct virtio_dev *d)
{
	struct vhost_proxy *p = vhost_proxy_of(d);
	bool any = false;

	LOCK_SCOPE(&p->lock);
	for (unsigned i = 0; i < d->nqueues; i++) {
		if (p->ring[i].state != VHOST_RING_NOTED)
			continue;
		p->ring[i].state = VHOST_RING_WANTED;
		any = true;
	}
	if (any)
		ask(p);
}

static int prepare(struct vhost_ring *r, const struct virtq_setup *s)
{
	struct guest_mem *mem = r->proxy->dev.host->dma;
	struct virtq vq;
	int ret = virtq_init(&vq, mem, s);

	if (ret < 0)
		return ret;
	r->s = *s;
	r->pos = s->pos ? *s->pos : VIRTQ_POS_FRESH;
	r->s.pos = NULL; /* borrowed for the call */
	/* Checked by virtq_init(); a ring's parts lie whole in one region. */
	r->desc = guest_mem_ptr(mem, s->desc, 16);
	r->avail = guest_mem_ptr(mem, s->avail, 4);
	r->used = guest_mem_ptr(mem, s->used, 4);
	r->failed = r->told = false;
	return 0;
}

int vhost_proxy_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	struct vhost_proxy *p = vhost_proxy_of(d);
	int ret;

	LOCK_SCOPE(&p->lock);
	if (p->ring[i].state != VHOST_RING_IDLE || p->resetting)
		return -EBUSY;
	ret = prepare(&p->ring[i], s);
	if (ret == 0)
		p->ring[i].state = VHOST_RING_NOTED;
	return ret;
}

int vhost_proxy_queue_stop(struct virtio_dev *d, unsigned i)
{
	struct vhost_proxy *p = vhost_proxy_of(d);

	LOCK_SCOPE(&p->lock);
	if (p->ring[i].state == VHOST_RING_IDLE)
		return -EINVAL;
	p->ring[i].state = VHOST_RING_STOPPING;
	ask(p);
	return 0;
}

void vhost_proxy_reset(struct virtio_dev *d)
{
	struct vhost_proxy *p = vhost_proxy_of(d);

	LOCK_SCOPE(&p->lock);
	p->resetting = true;
	for (unsigned i = 0; i < d->nqueues; i++)
		if (p->ring[i].state != VHOST_RING_IDLE)
			p->ring[i].state = VHOST_RING_STOPPING;
	ask(p);
}

/* ---- a round ---- */

/* The line's own eventfd may be made by control only. */
static void take_line(struct vhost_ring *r)
{
	const struct virtio_signal *s = &r->s.signal;

	r->line_fd = -1;
	if (!s->status && !s->raise && s->line)
		r->line_fd = irq_fd(s->line);
	if (r->line_fd < -1)
		log_line(r->proxy->dev.host->log, LOG_ERROR, r->proxy->dev.id,
			"queue %u: no interrupts: %s", r->i, strerrordesc_np(-r->line_fd));
}

static void snapshot(struct vhost_proxy *p)
{
	LOCK_SCOPE(&p->lock);
	p->posted = false;
	if (p->busy) {
		p->again = true;
		return;
	}
	p->busy = true;
	p->again = false;
	p->round_resets = p->resetting;
	for (unsigned i = 0; i < p->dev.nqueues; i++) {
		struct vhost_ring *r = &p->ring[i];
		bool want = r->state == VHOST_RING_WANTED;

		if (want && !r->want)
			take_line(r);
		r->want = want;
	}
	ev_post(p->loop, &p->work);
}

static void handle_ask(struct ev_msg *m)
{
	snapshot(container_of(m, struct vhost_proxy, ask));
}

static void handle_work(struct ev_msg *m)
{
	struct vhost_proxy *p = container_of(m, struct vhost_proxy, work);

	p->ops->settle(p, p->round_resets);
	ev_post(p->dev.host->control, &p->report);
}

/* The rings that this round has stopped become idle: as a set of bits, and those that failed.
 * *ret_reset: none is left and the reset is over. */
static uint32_t end_round(struct vhost_proxy *p, uint32_t *ret_failed, bool *ret_reset)
{
	uint32_t stopped = 0;

	LOCK_SCOPE(&p->lock);
	*ret_failed = 0;
	for (unsigned i = 0; i < p->dev.nqueues; i++) {
		struct vhost_ring *r = &p->ring[i];

		if (r->want && r->failed && !r->told)
			*ret_failed |= 1u << i;
		r->told |= r->want && r->failed;
		if (r->state != VHOST_RING_STOPPING || r->up || r->want)
			continue;
		r->state = VHOST_RING_IDLE;
		stopped |= 1u << i;
	}
	p->busy = false;
	*ret_reset = p->round_resets && all_idle(p);
	if (*ret_reset)
		p->resetting = false;
	if (p->again)
		ask(p);
	return stopped;
}

static void handle_report(struct ev_msg *m)
{
	struct vhost_proxy *p = container_of(m, struct vhost_proxy, report);
	const struct virtio_events *to = p->dev.events;
	bool reset;
	uint32_t failed, stopped = end_round(p, &failed, &reset);

	for (unsigned i = 0; i < p->dev.nqueues; i++) {
		struct vhost_ring *r = &p->ring[i];

		if (failed & 1u << i)
			to->broken(p->dev.transport, i);
		if (stopped & 1u << i) {
			struct virtq_pos pos = r->pos; /* it may start again in the call */

			to->queue_stopped(p->dev.transport, i, &pos);
		}
	}
	if (reset)
		to->reset_done(p->dev.transport);
}

/* ---- for settle() ---- */

void vhost_proxy_log(struct vhost_proxy *p, int code, const char *what)
{
	log_line(p->dev.host->log, LOG_ERROR, p->dev.id, "%s: %s", what, strerrordesc_np(-code));
}

void vhost_ring_fail(struct vhost_ring *r, int code)
{
	struct vhost_proxy *p = r->proxy;

	log_line(p->dev.host->log, LOG_ERROR, p->dev.id, "queue %u: %s: %s", r->i, p->vhost->failed,
		strerrordesc_np(-code));
	r->failed = true;
}

static void relay_ready(struct ev_fd *w, uint32_t events)
{
	struct vhost_ring *r = container_of(w, struct vhost_ring, relay);
	eventfd_t n;

	if (eventfd_read(w->fd, &n) == 0)
		virtio_signal_raise(&r->s.signal, VIRTIO_ISR_QUEUE);
}

static void err_ready(struct ev_fd *w, uint32_t events)
{
	struct vhost_ring *r = container_of(w, struct vhost_ring, err);
	struct virtio_dev *d = &r->proxy->dev;
	eventfd_t n;

	if (eventfd_read(w->fd, &n) == 0)
		d->events->broken(d->transport, r->i);
}

static int watch(struct vhost_ring *r, struct ev_fd *w, void (*ready)(struct ev_fd *, uint32_t))
{
	int ret;

	if (w->loop)
		return w->fd;
	*w = (struct ev_fd){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = ready};
	if (w->fd < 0)
		return -errno;
	ret = ev_add(r->proxy->loop, w, EPOLLIN);
	if (ret < 0)
		close(w->fd);
	return ret < 0 ? ret : w->fd;
}

static void unwatch(struct ev_fd *w)
{
	if (!w->loop)
		return;
	ev_del(w);
	close(w->fd);
}

/* One number for both kinds of ring: split, the next entry of the available ring; packed, both
 * places with their wrap counters in bit 15, the used one above (as vhost-user has it). */
static uint32_t base_of(const struct vhost_ring *r)
{
	const struct virtq_pos *p = &r->pos;

	if (!(r->s.features & VIRTIO_BIT_RING_PACKED))
		return p->avail;
	return (uint32_t)(p->avail | p->avail_wrap << 15) | (uint32_t)(p->used | p->used_wrap << 15)
								    << 16;
}

static uint16_t used_idx(const struct vhost_ring *r)
{
	return __atomic_load_n((const uint16_t *)(r->used + 2), __ATOMIC_ACQUIRE);
}

void vhost_ring_base_used(struct vhost_ring *r)
{
	uint16_t used = used_idx(r);

	r->pos = (struct virtq_pos){.avail = used, .used = used};
}

int vhost_ring_base(struct vhost_ring *r, struct vhost *v, unsigned index)
{
	struct vhost_vring_state st = {.index = index};
	int ret = VHOST_CALL(v, VHOST_GET_VRING_BASE, &st);

	if (ret < 0)
		return ret;
	if (r->s.features & VIRTIO_BIT_RING_PACKED)
		r->pos = (struct virtq_pos){.avail = st.num & 0x7fff,
			.avail_wrap = st.num >> 15 & 1,
			.used = st.num >> 16 & 0x7fff,
			.used_wrap = st.num >> 31};
	else
		r->pos = (struct virtq_pos){.avail = (uint16_t)st.num, .used = used_idx(r)};
	return 0;
}

void vhost_ring_quiet(struct vhost_ring *r)
{
	if (r->relay.loop)
		relay_ready(&r->relay, EPOLLIN);
	unwatch(&r->relay);
	unwatch(&r->err);
}

static int set_eventfds(struct vhost_ring *r, struct vhost *v, unsigned index, bool with_err)
{
	const struct virtio_signal *s = &r->s.signal;
	struct vhost_vring_file call = {index, MAX(r->line_fd, -1)}, err = {index, -1},
				kick = {index, r->s.kick_fd};
	int ret = 0;

	v->failed = "eventfd";
	if (s->status || s->raise)
		ret = call.fd = watch(r, &r->relay, relay_ready);
	if (ret >= 0 && with_err)
		ret = err.fd = watch(r, &r->err, err_ready);
	if (ret >= 0)
		ret = VHOST_CALL(v, VHOST_SET_VRING_CALL, &call);
	if (ret >= 0 && with_err)
		ret = VHOST_CALL(v, VHOST_SET_VRING_ERR, &err);
	return ret < 0 ? ret : VHOST_CALL(v, VHOST_SET_VRING_KICK, &kick);
}

int vhost_ring_up(struct vhost_ring *r, struct vhost *v, unsigned index,
	const struct vhost_vring_addr *addr, bool with_err)
{
	struct vhost_vring_state num = {index, r->s.size}, base = {index, base_of(r)};
	struct vhost_vring_addr a = *addr;
	int ret = VHOST_CALL(v, VHOST_SET_VRING_NUM, &num);

	a.index = index;
	if (ret >= 0)
		ret = VHOST_CALL(v, VHOST_SET_VRING_BASE, &base);
	if (ret >= 0)
		ret = VHOST_CALL(v, VHOST_SET_VRING_ADDR, &a);
	return ret < 0 ? ret : set_eventfds(r, v, index, with_err);
}

/* ---- life ---- */

void vhost_proxy_init(struct vhost_proxy *p, const struct vhost_proxy_ops *ops, struct vhost *v,
	struct ev_loop *loop)
{
	p->ops = ops;
	p->vhost = v;
	p->loop = loop;
	p->ask.handle = handle_ask;
	p->work.handle = handle_work;
	p->report.handle = handle_report;
	pthread_mutex_init(&p->lock, NULL);
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
		p->ring[i] = (struct vhost_ring){.proxy = p, .i = i, .line_fd = -1};
}

void vhost_proxy_fini(struct vhost_proxy *p)
{
	pthread_mutex_destroy(&p->lock);
}

void vhost_proxy_wait(struct vhost_proxy *p)
{
	bool going = true;

	while (going) {
		pthread_mutex_lock(&p->lock);
		going = p->posted || p->busy;
		pthread_mutex_unlock(&p->lock);
		if (going)
			ev_run_once(p->dev.host->control, 10);
	}
}
