/* SPDX-License-Identifier: Apache-2.0 */
/* The front of a device whose queues are served elsewhere. Its ops are called by vCPUs under the
 * device lock and only post; all that is said to the peer is said on control's loop.
 *
 *   vCPU, device lock:   queue_start ─post─┐   queue_stop, reset ─post─┐    config_write ─post─┐
 *   control:                  set up, or wait for a peer     GET_VRING_BASE, or        SET_CONFIG
 *                             (nothing tells the guest)      the used ring's index
 *
 * When the peer dies, nothing changes for the guest except that no request completes. A successor
 * gets the same memory and rings, each from the used ring's index: everything that was popped and
 * not completed is popped again. That is right when the back-end completes in the order of the
 * available ring (network devices do; a disk does when it serves one request at a time): then the
 * used index says exactly which ones are done. A back-end that completes out of order needs the
 * inflight region to be agreed (VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD), which says which. */
#include "offload/vu_proxy.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "devices/count.h"
#include "devices/virtio/virtq.h"
#include "offload/vu_peer.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

enum run_state { RUN_IDLE, RUN_RUNNING, RUN_STOPPING };

struct vu_proxy;

struct proxy_queue {
	struct vu_proxy *proxy;
	unsigned i;
	enum run_state state; /* proxy->lock */
	struct ev_msg start, stop;

	/* Written by queue_start; control's from start to stopped. */
	struct virtq_setup s;
	uint16_t base;
	const uint16_t *used_idx; /* in guest memory */
	struct vu_vring_addr addr;

	/* Control's. */
	bool live;	    /* the driver wants it served */
	bool set_up;	    /* the peer has been told on this connection */
	bool had;	    /* some peer has had it since the start */
	bool replay;	    /* a successor's set-up is under way */
	struct ev_fd relay; /* the peer's calls, where the transport must see them */
	struct ev_fd err;   /* the peer says that the driver broke the ring */
};

struct vu_proxy {
	struct virtio_dev dev; /* first */
	struct vu_peer *peer;  /* borrowed */
	_Atomic uint64_t features;
	bool announced; /* control: on this connection, these features */
	uint64_t announced_features;
	pthread_mutex_t lock;
	bool resetting;	     /* lock */
	struct ev_msg reset; /* one that found nothing running */

	/* Writes to config space: the byte a driver may write, told when the last is told. */
	struct ev_msg write;
	bool writing; /* lock: posted */
	bool telling; /* control: said, or never to be said again */
	bool again;   /* control: it has changed meanwhile */

	_Atomic uint64_t lost;
	struct proxy_queue queue[VIRTIO_QUEUES];
};

static struct vu_proxy *of_dev(struct virtio_dev *d)
{
	return (struct vu_proxy *)d;
}

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

static void handle_start(struct ev_msg *m)
{
	struct proxy_queue *q = container_of(m, struct proxy_queue, start);

	q->live = true;
	if (vu_peer_ready(q->proxy->peer))
		set_up(q);
}

/* ---- stopping ---- */

static bool all_idle(const struct vu_proxy *p)
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
	reset = q->proxy->resetting && all_idle(q->proxy);
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

static void handle_stop(struct ev_msg *m)
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

static void handle_reset(struct ev_msg *m)
{
	end_reset(container_of(m, struct vu_proxy, reset));
}

/* ---- config space ---- */

#define WCE offsetof(struct virtio_blk_config, wce)

static void tell_config(struct vu_proxy *p);

static void on_told(void *arg, int result, const struct vu_msg *reply)
{
	struct vu_proxy *p = arg;
	bool again = p->again;

	p->telling = p->again = false;
	if (result == -EINVAL)
		log_line(p->dev.host->log, LOG_WARN, p->dev.id,
			"vhost-user: the back-end refused the write cache's new mode");
	if (again && result != -EPIPE)
		tell_config(p);
}

static bool has_wce(const struct vu_proxy *p)
{
	return p->dev.type == VIRTIO_TYPE_BLOCK &&
	       atomic_load(&p->features) & UINT64_C(1) << VIRTIO_BLK_F_CONFIG_WCE;
}

static void tell_config(struct vu_proxy *p)
{
	struct vu_msg m = {.request = VU_SET_CONFIG,
		.size = offsetof(struct vu_config, bytes) + 1,
		.p.config = {.offset = WCE, .size = 1}};

	vu_peer_config(p->peer, WCE, m.p.config.bytes, 1);
	p->telling = vu_peer_say(p->peer, &m, on_told, p) == 0;
}

static void handle_write(struct ev_msg *m)
{
	struct vu_proxy *p = container_of(m, struct vu_proxy, write);

	pthread_mutex_lock(&p->lock);
	p->writing = false;
	pthread_mutex_unlock(&p->lock);
	if (p->telling)
		p->again = true;
	else
		tell_config(p);
}

static void proxy_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	vu_peer_config(of_dev(d)->peer, off, buf, len);
}

/* virtio 1.2 §5.2.4: of a disk's fields a driver writes `writeback` only, of a network device's
 * none. */
static void proxy_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	struct vu_proxy *p = of_dev(d);
	uint8_t wce = *(const uint8_t *)buf & 1;

	if (!has_wce(p) || off != WCE || len != 1)
		return;
	vu_peer_config_set(p->peer, WCE, &wce, 1);
	LOCK_SCOPE(&p->lock);
	if (!p->writing)
		ev_post(d->host->control, &p->write);
	p->writing = true;
}

/* ---- the peer's news ---- */

static void tell(struct vu_proxy *p, enum dev_notice n)
{
	struct dev_host *h = p->dev.host;

	if (h->ops->notice)
		h->ops->notice(h, p->dev.id, n);
}

static void on_ready(void *arg)
{
	struct vu_proxy *p = arg;

	p->announced = false;
	for (unsigned i = 0; i < p->dev.nqueues; i++)
		if (p->queue[i].live)
			set_up(&p->queue[i]);
	if (has_wce(p) && p->announced)
		tell_config(p);
	tell(p, DEV_NOTICE_RECONNECTED);
}

static void on_gone(void *arg)
{
	struct vu_proxy *p = arg;

	p->announced = false;
	for (unsigned i = 0; i < p->dev.nqueues; i++)
		p->queue[i].set_up = false;
	atomic_fetch_add(&p->lost, 1);
	tell(p, DEV_NOTICE_DISCONNECTED);
}

static void on_config_changed(void *arg)
{
	struct vu_proxy *p = arg;

	p->dev.events->config_changed(p->dev.transport);
}

/* ---- what transports ask ---- */

static uint64_t proxy_features(struct virtio_dev *d)
{
	return vu_peer_offers(of_dev(d)->peer);
}

static int proxy_accept(struct virtio_dev *d, uint64_t features)
{
	atomic_store(&of_dev(d)->features, features);
	vu_peer_needs(of_dev(d)->peer, features);
	return 0;
}

static int prepare(struct proxy_queue *q, const struct virtq_setup *s)
{
	struct guest_mem *mem = q->proxy->dev.host->dma;
	struct virtq vq;
	int r = virtq_init(&vq, mem, s);

	if (r < 0)
		return r;
	q->s = *s;
	q->base = s->pos ? s->pos->avail : 0;
	q->s.pos = NULL; /* borrowed for the call */
	/* Checked by virtq_init(); a ring's parts lie whole in one region. */
	uint8_t *used = guest_mem_ptr(mem, s->used, 6 + 8 * (uint64_t)s->size);
	q->used_idx = (const uint16_t *)(used + 2);
	q->addr = (struct vu_vring_addr){.index = q->i,
		.desc = (uintptr_t)guest_mem_ptr(mem, s->desc, 16),
		.avail = (uintptr_t)guest_mem_ptr(mem, s->avail, 6),
		.used = (uintptr_t)used,
		.log = s->used};
	return 0;
}

static int proxy_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	struct vu_proxy *p = of_dev(d);
	struct proxy_queue *q = &p->queue[i];
	int r;

	LOCK_SCOPE(&p->lock);
	if (q->state != RUN_IDLE || p->resetting)
		return -EBUSY;
	r = prepare(q, s);
	if (r < 0)
		return r;
	q->state = RUN_RUNNING;
	ev_post(d->host->control, &q->start);
	return 0;
}

/* Locked. */
static void begin_stop(struct proxy_queue *q)
{
	if (q->state != RUN_RUNNING)
		return;
	q->state = RUN_STOPPING;
	ev_post(q->proxy->dev.host->control, &q->stop);
}

static int proxy_queue_stop(struct virtio_dev *d, unsigned i)
{
	struct vu_proxy *p = of_dev(d);

	LOCK_SCOPE(&p->lock);
	if (p->queue[i].state == RUN_IDLE)
		return -EINVAL;
	begin_stop(&p->queue[i]);
	return 0;
}

static void proxy_reset(struct virtio_dev *d)
{
	struct vu_proxy *p = of_dev(d);

	LOCK_SCOPE(&p->lock);
	if (p->resetting)
		return;
	if (all_idle(p)) {
		ev_post(d->host->control, &p->reset);
		return;
	}
	p->resetting = true;
	for (unsigned i = 0; i < d->nqueues; i++)
		begin_stop(&p->queue[i]);
}

static int proxy_visit(struct virtio_dev *d, struct visitor *v)
{
	uint64_t features = atomic_load(&of_dev(d)->features);
	uint32_t version = 1;

	visit_begin(v, "vhost-user", &version);
	visit_u64(v, "features", &features);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD && !visit_status(v))
		return proxy_accept(d, features);
	return visit_status(v);
}

static unsigned proxy_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	struct vu_proxy *p = of_dev(d);
	struct vu_peer_status st;

	vu_peer_status(p->peer, &st);
	const struct dev_counter all[] = {
		{"reconnects", st.connects - 1},
		{"disconnects", atomic_load(&p->lost)},
	};
	return counters_copy(all, ARRAY_SIZE(all), ret, max);
}

static unsigned proxy_achieved(struct virtio_dev *d, struct dev_achieved *ret, unsigned max)
{
	struct vu_peer_status st;
	unsigned n = 0;

	vu_peer_status(of_dev(d)->peer, &st);
	uint64_t s = (ev_now_ns() - st.since_ns) / 1000000000;
	if (!st.connected)
		achieved_add(ret, max, &n, "offload", "away for %llu s", (unsigned long long)s);
	else if (st.connects > 1)
		achieved_add(ret, max, &n, "offload", "connected for %llu s, reconnects: %llu",
			(unsigned long long)s, (unsigned long long)st.connects - 1);
	else
		achieved_add(
			ret, max, &n, "offload", "connected for %llu s", (unsigned long long)s);
	return n;
}

/* All queues have stopped. A write to config space may still be on its way here. */
static void proxy_free(struct virtio_dev *d)
{
	struct vu_proxy *p = of_dev(d);
	bool posted = true;

	vu_peer_detach(p->peer);
	p->telling = true;
	while (posted) {
		pthread_mutex_lock(&p->lock);
		posted = p->writing;
		pthread_mutex_unlock(&p->lock);
		if (posted)
			ev_run_once(d->host->control, 0);
	}
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static const struct virtio_dev_ops proxy_ops = {
	.features = proxy_features,
	.accept = proxy_accept,
	.config_read = proxy_config_read,
	.config_write = proxy_config_write,
	.queue_start = proxy_queue_start,
	.queue_stop = proxy_queue_stop,
	.reset = proxy_reset,
	.visit = proxy_visit,
	.counters = proxy_counters,
	.achieved = proxy_achieved,
	.free = proxy_free,
};

static void init(struct vu_proxy *p, struct dev_host *h, const char *id)
{
	const struct vu_peer_opts *o = vu_peer_opts(p->peer);

	p->dev = (struct virtio_dev){.ops = &proxy_ops,
		.type = o->type,
		.nqueues = o->queues,
		.config_len = o->config_len,
		.host = h};
	snprintf(p->dev.id, sizeof(p->dev.id), "%s", id);
	pthread_mutex_init(&p->lock, NULL);
	p->reset.handle = handle_reset;
	p->write.handle = handle_write;
	for (unsigned i = 0; i < o->queues; i++) {
		p->dev.queue_max[i] = o->queue_size;
		p->queue[i] = (struct proxy_queue){.proxy = p, .i = i};
		p->queue[i].start.handle = handle_start;
		p->queue[i].stop.handle = handle_stop;
	}
}

int vu_proxy_new(
	struct dev_host *h, const char *id, struct vu_peer *peer, struct virtio_dev **ret_dev)
{
	struct vu_proxy *p;
	int r;

	if (vu_peer_opts(peer)->queues > VIRTIO_QUEUES)
		return -EINVAL;
	for (unsigned i = 0; i < h->dma->n; i++)
		if (h->dma->region[i].fd < 0)
			return -ENOTSUP;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->peer = peer;
	init(p, h, id);
	const struct vu_client c = {
		.ready = on_ready, .gone = on_gone, .config_changed = on_config_changed, .arg = p};
	r = vu_peer_attach(peer, h->control, &c);
	if (r < 0) {
		pthread_mutex_destroy(&p->lock);
		free(p);
		return r;
	}
	*ret_dev = &p->dev;
	return 0;
}
