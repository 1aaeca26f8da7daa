/* SPDX-License-Identifier: Apache-2.0 */
/* The rings, as the peer is told of them, and how they stop. On control's loop. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "offload/vu_proxy_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

static uint16_t used_index(const struct proxy_queue *q)
{
	return __atomic_load_n(q->used_idx, __ATOMIC_ACQUIRE);
}

/* ---- descriptors ---- */

static void relay_ready(struct ev_fd *w, uint32_t events)
{
	struct proxy_queue *q = container_of(w, struct proxy_queue, relay);
	eventfd_t n;

	if (eventfd_read(w->fd, &n) == 0)
		virtio_signal_raise(&q->s.signal, VIRTIO_ISR_QUEUE);
}

static void err_ready(struct ev_fd *w, uint32_t events)
{
	struct proxy_queue *q = container_of(w, struct proxy_queue, err);
	struct virtio_dev *d = &q->proxy->dev;
	eventfd_t n;

	if (eventfd_read(w->fd, &n) == 0)
		d->events->broken(d->transport, q->i);
}

static int watch(struct proxy_queue *q, struct ev_fd *w, void (*ready)(struct ev_fd *, uint32_t))
{
	int r;

	if (w->loop)
		return w->fd;
	*w = (struct ev_fd){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = ready};
	if (w->fd < 0)
		return -errno;
	r = ev_add(q->proxy->dev.host->control, w, EPOLLIN);
	if (r < 0)
		close(w->fd);
	return r < 0 ? r : w->fd;
}

static void unwatch(struct ev_fd *w)
{
	if (!w->loop)
		return;
	ev_del(w);
	close(w->fd);
}

/* The eventfd that the peer is to write: the line's own where nobody else needs to know. -1: the
 * driver wants no interrupts. */
static int call_fd(struct proxy_queue *q)
{
	const struct virtio_signal *s = &q->s.signal;

	if (s->status || s->raise)
		return watch(q, &q->relay, relay_ready);
	return s->line ? irq_fd(s->line) : -1;
}

/* ---- where a ring stands ---- */

/* Where the next peer takes it up: where the driver left it, or its predecessor. A successor pops
 * again from the used index on, unless the area tells it otherwise. False: nobody can tell. */
static bool find_place(struct proxy_queue *q, struct ring_place *ret)
{
	struct vu_peer *peer = q->proxy->peer;
	struct virtq_place used;
	int r = 0;

	*ret = q->base;
	if (!q->had)
		return true;
	if (q->used_idx)
		used = (struct virtq_place){.slot = used_index(q)};
	else
		r = vu_peer_area_used(
			peer, q->i, q->proxy->dev.host->dma, q->s.desc, q->s.size, &used);
	if (r > 0 || q->used_idx)
		*ret = (struct ring_place){used, used};
	return r >= 0;
}

/* "A vring descriptor index for packed virtqueues": avail and used, each below its wrap counter. */
static uint32_t to_base(const struct proxy_queue *q, const struct ring_place *at)
{
	if (q->used_idx)
		return at->avail.slot;
	return at->avail.slot | (uint32_t)at->avail.wrap << 15 | (uint32_t)at->used.slot << 16 |
	       (uint32_t)at->used.wrap << 31;
}

/* False: the peer talks nonsense. */
static bool from_base(const struct proxy_queue *q, uint32_t num, struct ring_place *ret)
{
	if (q->used_idx) {
		*ret = (struct ring_place){{.slot = num}, {.slot = used_index(q)}};
		return num <= UINT16_MAX;
	}
	*ret = (struct ring_place){{num & 0x7fff, num >> 15 & 1}, {num >> 16 & 0x7fff, num >> 31}};
	return ret->avail.slot < q->s.size && ret->used.slot < q->s.size;
}

/* ---- setting up ---- */

static bool is_enabled(const struct proxy_queue *q)
{
	return q->proxy->dev.type != VIRTIO_TYPE_NET || q->i / 2 < q->proxy->pairs;
}

/* The peer has the ring. It starts with a kick: one that came before, or that a predecessor has
 * taken, is repeated here. So is the interrupt that a predecessor may not have sent. */
static void on_enabled(void *arg, int result, const struct vu_msg *reply)
{
	struct proxy_queue *q = arg;

	if (result < 0 || !q->live)
		return;
	eventfd_write(q->s.kick_fd, 1);
	if (q->replay)
		virtio_signal_raise(&q->s.signal, VIRTIO_ISR_QUEUE);
	q->replay = false;
}

static void say_enable(struct proxy_queue *q)
{
	struct vu_peer_status st;
	bool on = is_enabled(q);

	vu_peer_status(q->proxy->peer, &st);
	/* Rings of a peer without protocol features are enabled from the start. */
	if (st.features & VU_F_PROTOCOL_FEATURES)
		vu_peer_say_state(
			q->proxy->peer, VU_SET_VRING_ENABLE, q->i, on, on ? on_enabled : NULL, q);
	else
		on_enabled(q, 0, NULL);
}

void vu_proxy_rings_enable(struct vu_proxy *p)
{
	for (unsigned i = 0; i < p->dev.nqueues; i++)
		if (p->queue[i].set_up)
			say_enable(&p->queue[i]);
}

/* The driver has to begin again: it is told, and the ring stays with nobody. */
static void give_up(struct proxy_queue *q)
{
	struct virtio_dev *d = &q->proxy->dev;

	if (!q->lost)
		log_line(d->host->log, LOG_ERROR, d->id,
			"queue %u: the back-end that is gone does not say how far it was; the "
			"driver is asked to reset the device",
			q->i);
	q->lost = true;
	d->events->broken(d->transport, q->i);
}

static void set_up(struct proxy_queue *q)
{
	struct vu_peer *peer = q->proxy->peer;
	int call, err;
	struct ring_place at;

	if (!find_place(q, &at)) {
		give_up(q);
		return;
	}
	call = call_fd(q);
	err = watch(q, &q->err, err_ready);
	if (call < -1)
		log_line(q->proxy->dev.host->log, LOG_ERROR, q->proxy->dev.id,
			"queue %u: no interrupts: %s", q->i, strerrordesc_np(-call));
	q->replay = q->had;
	q->set_up = q->had = true;
	vu_peer_say_state(peer, VU_SET_VRING_NUM, q->i, q->s.size, NULL, peer);
	vu_peer_say_state(peer, VU_SET_VRING_BASE, q->i, to_base(q, &at), NULL, peer);
	vu_proxy_say_addr(q);
	vu_peer_say_fd(peer, VU_SET_VRING_ERR, q->i, err);
	vu_peer_say_fd(peer, VU_SET_VRING_CALL, q->i, call);
	vu_peer_say_fd(peer, VU_SET_VRING_KICK, q->i, q->s.kick_fd);
	say_enable(q);
}

/* A queue may be started before the peer is there, or before it has made the area. */
void vu_proxy_rings_ready(struct vu_proxy *p)
{
	for (unsigned i = 0; i < p->dev.nqueues; i++) {
		struct proxy_queue *q = &p->queue[i];

		if (q->live && !q->ctrl && !q->set_up && vu_proxy_announce(p))
			set_up(q);
	}
}

void vu_proxy_handle_start(struct ev_msg *m)
{
	struct proxy_queue *q = container_of(m, struct proxy_queue, start);

	if (q->ctrl) {
		vu_proxy_ctrl_start(q);
		return;
	}
	q->live = true;
	if (vu_peer_ready(q->proxy->peer))
		vu_proxy_rings_ready(q->proxy);
}

/* ---- stopping ---- */

bool vu_proxy_all_idle(const struct vu_proxy *p)
{
	for (unsigned i = 0; i < p->dev.nqueues; i++)
		if (p->queue[i].state != RUN_IDLE)
			return false;
	return true;
}

static void end_reset(struct vu_proxy *p)
{
	vu_peer_reset(p->peer);
	p->announced = false; /* a new driver agrees to features of its own */
	p->pairs = 1;	      /* virtio 1.2 §5.1.6.5.5 */
	p->dev.events->reset_done(p->dev.transport);
}

void vu_proxy_stopped(struct proxy_queue *q, const struct ring_place *at)
{
	struct virtio_dev *d = &q->proxy->dev;
	struct virtq_pos pos = {.avail = at->avail.slot,
		.avail_wrap = at->avail.wrap,
		.used = at->used.slot,
		.used_wrap = at->used.wrap};
	bool reset;

	q->live = q->set_up = q->had = q->lost = false;
	unwatch(&q->relay);
	unwatch(&q->err);
	pthread_mutex_lock(&q->proxy->lock);
	q->state = RUN_IDLE;
	reset = q->proxy->resetting && vu_proxy_all_idle(q->proxy);
	if (reset)
		q->proxy->resetting = false;
	pthread_mutex_unlock(&q->proxy->lock);
	d->events->queue_stopped(d->transport, q->i, &pos);
	if (reset)
		end_reset(q->proxy);
}

static bool resetting(struct vu_proxy *p)
{
	LOCK_SCOPE(&p->lock);

	return p->resetting;
}

/* Without a peer. A reset does not ask where the ring stands. */
static void stop_alone(struct proxy_queue *q)
{
	struct ring_place at;

	if (!find_place(q, &at) && !resetting(q->proxy))
		give_up(q);
	vu_proxy_stopped(q, &at);
}

static void on_base(void *arg, int result, const struct vu_msg *reply)
{
	struct proxy_queue *q = arg;
	struct ring_place at;

	if (result == 0 &&
		(reply->p.state.index != q->i || !from_base(q, reply->p.state.num, &at))) {
		vu_peer_drop(q->proxy->peer, "its answer to GET_VRING_BASE makes no sense");
		result = -EPROTO;
	}
	if (result == 0 && q->relay.loop)
		relay_ready(&q->relay, EPOLLIN); /* its last call */
	if (result == 0)
		vu_proxy_stopped(q, &at);
	else
		stop_alone(q);
}

void vu_proxy_handle_stop(struct ev_msg *m)
{
	struct proxy_queue *q = container_of(m, struct proxy_queue, stop);
	struct vu_peer *peer = q->proxy->peer;

	if (q->ctrl) {
		vu_proxy_ctrl_stop(q);
		return;
	}
	q->live = false;
	if (!q->set_up || vu_peer_say_state(peer, VU_GET_VRING_BASE, q->i, 0, on_base, q) < 0)
		stop_alone(q);
}

void vu_proxy_handle_reset(struct ev_msg *m)
{
	end_reset(container_of(m, struct vu_proxy, reset));
}

/* ---- the peer goes ---- */

void vu_proxy_rings_gone(struct vu_proxy *p)
{
	p->announced = false;
	for (unsigned i = 0; i < p->dev.nqueues; i++)
		p->queue[i].set_up = false;
}
