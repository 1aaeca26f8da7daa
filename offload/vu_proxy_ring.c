/* SPDX-License-Identifier: Apache-2.0 */
/* The rings, as the peer is told of them, and how they stop. On control's loop. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "offload/vu_proxy_priv.h"
#include "vmm/base/num.h"

static uint16_t used_index(const struct proxy_queue *q)
{
	return __atomic_load_n(q->used_idx, __ATOMIC_ACQUIRE);
}

/* ---- setting up ---- */

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

static void announce(struct vu_proxy *p)
{
	const struct vu_peer_opts *o = vu_peer_opts(p->peer);
	struct vu_peer_status st;
	uint64_t f = atomic_load(&p->features) & o->may & ~o->own;

	if (p->announced && p->announced_features == f)
		return;
	p->announced = true;
	p->announced_features = f;
	vu_peer_status(p->peer, &st);
	vu_peer_say_u64(p->peer, VU_SET_FEATURES, f | (st.features & VU_F_PROTOCOL_FEATURES));
	vu_peer_share(p->peer, p->dev.host->dma);
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

static void set_up(struct proxy_queue *q)
{
	struct vu_peer *peer = q->proxy->peer;
	struct vu_msg addr = {
		.request = VU_SET_VRING_ADDR, .size = sizeof(q->addr), .p.addr = q->addr};
	struct vu_peer_status st;
	int call = call_fd(q), err = watch(q, &q->err, err_ready);
	uint16_t base = q->had ? used_index(q) : q->base;

	if (call < -1)
		log_line(q->proxy->dev.host->log, LOG_ERROR, q->proxy->dev.id,
			"queue %u: no interrupts: %s", q->i, strerrordesc_np(-call));
	announce(q->proxy);
	vu_peer_status(peer, &st);
	q->replay = q->had;
	q->set_up = q->had = true;
	vu_peer_say_state(peer, VU_SET_VRING_NUM, q->i, q->s.size, NULL, peer);
	vu_peer_say_state(peer, VU_SET_VRING_BASE, q->i, base, NULL, peer);
	vu_peer_say(peer, &addr, NULL, peer);
	vu_peer_say_fd(peer, VU_SET_VRING_ERR, q->i, err);
	vu_peer_say_fd(peer, VU_SET_VRING_CALL, q->i, call);
	vu_peer_say_fd(peer, VU_SET_VRING_KICK, q->i, q->s.kick_fd);
	/* Rings of a peer without protocol features are enabled from the start. */
	if (st.features & VU_F_PROTOCOL_FEATURES)
		vu_peer_say_state(peer, VU_SET_VRING_ENABLE, q->i, 1, on_enabled, q);
	else
		on_enabled(q, 0, NULL);
}

void vu_proxy_handle_start(struct ev_msg *m)
{
	struct proxy_queue *q = container_of(m, struct proxy_queue, start);

	q->live = true;
	if (vu_peer_ready(q->proxy->peer))
		set_up(q);
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
	vu_peer_needs(p->peer, 0);
	p->announced = false; /* a new driver agrees to features of its own */
	p->dev.events->reset_done(p->dev.transport);
}

/* The queue has stopped with `avail` as the next entry to be popped. */
static void stopped(struct proxy_queue *q, uint16_t avail)
{
	struct virtio_dev *d = &q->proxy->dev;
	struct virtq_pos pos = {.avail = avail, .used = used_index(q)};
	bool reset;

	q->live = q->set_up = q->had = false;
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

static void on_base(void *arg, int result, const struct vu_msg *reply)
{
	struct proxy_queue *q = arg;

	if (result == 0 && (reply->p.state.index != q->i || reply->p.state.num > UINT16_MAX)) {
		vu_peer_drop(q->proxy->peer, "its answer to GET_VRING_BASE makes no sense");
		result = -EPROTO;
	}
	if (result == 0 && q->relay.loop)
		relay_ready(&q->relay, EPOLLIN); /* its last call */
	stopped(q, result == 0 ? reply->p.state.num : used_index(q));
}

void vu_proxy_handle_stop(struct ev_msg *m)
{
	struct proxy_queue *q = container_of(m, struct proxy_queue, stop);
	struct vu_peer *peer = q->proxy->peer;

	q->live = false;
	if (!q->set_up) {
		stopped(q, q->had ? used_index(q) : q->base);
		return;
	}
	if (vu_peer_say_state(peer, VU_GET_VRING_BASE, q->i, 0, on_base, q) < 0)
		stopped(q, used_index(q));
}

void vu_proxy_handle_reset(struct ev_msg *m)
{
	end_reset(container_of(m, struct vu_proxy, reset));
}

/* ---- the peer comes and goes ---- */

void vu_proxy_rings_ready(struct vu_proxy *p)
{
	p->announced = false;
	for (unsigned i = 0; i < p->dev.nqueues; i++)
		if (p->queue[i].live)
			set_up(&p->queue[i]);
}

void vu_proxy_rings_gone(struct vu_proxy *p)
{
	p->announced = false;
	for (unsigned i = 0; i < p->dev.nqueues; i++)
		p->queue[i].set_up = false;
}
