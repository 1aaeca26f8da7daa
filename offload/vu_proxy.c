/* SPDX-License-Identifier: Apache-2.0 */
/* The front of a device whose queues are served elsewhere. Its ops are called by vCPUs under the
 * device lock and only post; all that is said to the peer is said on control's loop.
 *
 *   vCPU, device lock:   queue_start ─post─┐   queue_stop, reset ─post─┐    config_write ─post─┐
 *   control:                  set up, or wait for a peer     GET_VRING_BASE, or        SET_CONFIG
 *                             (nothing tells the guest)      the used ring's index
 *
 * When the peer dies, nothing changes for the guest except that no request completes. A successor
 * gets the same memory and rings, and the area in which its predecessor kept what it had popped and
 * not completed (vu_peer_area.c): it does just that again, and goes on. From a back-end that keeps
 * no such area (VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) the successor gets each ring from the used
 * index on: everything that was popped and not completed is popped again. That is right when the
 * back-end completes in the order of the available ring, as network devices do. Packed rings have
 * no such index, and are not offered then. */
#include "offload/vu_proxy.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "devices/count.h"
#include "devices/virtio/virtq.h"
#include "offload/vu_proxy_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

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
	vu_proxy_rings_ready(p);
	vu_proxy_config_ready(p);
	vu_proxy_say_where(p);
	tell(p, DEV_NOTICE_RECONNECTED);
}

static void on_gone(void *arg)
{
	struct vu_proxy *p = arg;

	vu_proxy_rings_gone(p);
	tell(p, DEV_NOTICE_DISCONNECTED);
}

static void on_area(void *arg)
{
	vu_proxy_rings_ready(arg);
}

static void on_config_changed(void *arg)
{
	struct vu_proxy *p = arg;

	p->dev.events->config_changed(p->dev.transport);
}

/* ---- what transports ask ---- */

static uint64_t proxy_features(struct virtio_dev *d)
{
	return vu_peer_offers(vu_proxy_of(d)->peer);
}

static int proxy_accept(struct virtio_dev *d, uint64_t features)
{
	atomic_store(&vu_proxy_of(d)->features, features);
	vu_peer_needs(vu_proxy_of(d)->peer, features);
	return 0;
}

static int prepare(struct proxy_queue *q, const struct virtq_setup *s)
{
	struct guest_mem *mem = q->proxy->dev.host->dma;
	bool packed = s->features & VIRTIO_BIT_RING_PACKED;
	const struct virtq_pos *pos = s->pos ? s->pos : &VIRTQ_POS_FRESH;
	struct virtq vq;
	int r = virtq_init(&vq, mem, s);

	if (r < 0)
		return r;
	q->s = *s;
	q->base.avail = (struct virtq_place){pos->avail, packed && pos->avail_wrap};
	q->base.used = (struct virtq_place){pos->used, packed && pos->used_wrap};
	q->s.pos = NULL; /* borrowed for the call */
	/* Checked by virtq_init(); a ring's parts lie whole in one region. */
	uint8_t *used = guest_mem_ptr(mem, s->used, packed ? 4 : 6 + 8 * (uint64_t)s->size);
	q->used_idx = packed ? NULL : (const uint16_t *)(used + 2);
	q->addr = (struct vu_vring_addr){.index = q->i,
		.desc = (uintptr_t)guest_mem_ptr(mem, s->desc, 16),
		.avail = (uintptr_t)guest_mem_ptr(mem, s->avail, packed ? 4 : 6),
		.used = (uintptr_t)used,
		.log = s->used};
	return 0;
}

static int proxy_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	struct vu_proxy *p = vu_proxy_of(d);
	struct proxy_queue *q = &p->queue[i];
	int r;

	LOCK_SCOPE(&p->lock);
	if (q->state != RUN_IDLE || p->resetting)
		return -EBUSY;
	q->ctrl = vu_proxy_is_ctrl(p, i, s->features);
	if (!q->ctrl && i >= vu_peer_opts(p->peer)->queues)
		return -EINVAL; /* without VIRTIO_NET_F_CTRL_VQ there is none behind the others */
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
	struct vu_proxy *p = vu_proxy_of(d);

	LOCK_SCOPE(&p->lock);
	if (p->queue[i].state == RUN_IDLE)
		return -EINVAL;
	begin_stop(&p->queue[i]);
	return 0;
}

static void proxy_reset(struct virtio_dev *d)
{
	struct vu_proxy *p = vu_proxy_of(d);

	LOCK_SCOPE(&p->lock);
	if (p->resetting)
		return;
	if (vu_proxy_all_idle(p)) {
		ev_post(d->host->control, &p->reset);
		return;
	}
	p->resetting = true;
	for (unsigned i = 0; i < d->nqueues; i++)
		begin_stop(&p->queue[i]);
}

static int proxy_visit(struct virtio_dev *d, struct visitor *v)
{
	struct vu_proxy *p = vu_proxy_of(d);
	uint64_t features = atomic_load(&p->features);
	uint32_t version = 2, pairs = p->pairs;

	visit_begin(v, "vhost-user", &version);
	visit_u64(v, "features", &features);
	if (version >= 2)
		visit_u32(v, "pairs", &pairs);
	visit_end(v);
	if (visit_mode(v) != VISIT_LOAD || visit_status(v))
		return visit_status(v);
	p->pairs = pairs;
	return proxy_accept(d, features);
}

static unsigned proxy_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	struct vu_proxy *p = vu_proxy_of(d);
	struct vu_peer_status st;

	vu_peer_status(p->peer, &st);
	const struct dev_counter all[] = {
		{"reconnects", st.connects - 1},
	};
	return counters_copy(all, ARRAY_SIZE(all), ret, max);
}

static unsigned proxy_achieved(struct virtio_dev *d, struct dev_achieved *ret, unsigned max)
{
	struct vu_peer_status st;
	unsigned n = 0;

	vu_peer_status(vu_proxy_of(d)->peer, &st);
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

static void destroy(struct vu_proxy *p)
{
	cleanup_closep(&p->log_fd);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* All queues have stopped. */
static void proxy_free(struct virtio_dev *d)
{
	struct vu_proxy *p = vu_proxy_of(d);

	vu_peer_detach(p->peer);
	vu_proxy_config_end(p);
	destroy(p);
}

static const struct virtio_dev_ops proxy_ops = {
	.features = proxy_features,
	.accept = proxy_accept,
	.config_read = vu_proxy_config_read,
	.config_write = vu_proxy_config_write,
	.queue_start = proxy_queue_start,
	.queue_stop = proxy_queue_stop,
	.reset = proxy_reset,
	.visit = proxy_visit,
	.counters = proxy_counters,
	.achieved = proxy_achieved,
	.free = proxy_free,
};

static unsigned has_ctrl(const struct vu_peer_opts *o)
{
	return o->type == VIRTIO_TYPE_NET && o->own & UINT64_C(1) << VIRTIO_NET_F_CTRL_VQ;
}

static void init(struct vu_proxy *p, struct dev_host *h, const char *id)
{
	const struct vu_peer_opts *o = vu_peer_opts(p->peer);

	p->dev = (struct virtio_dev){.ops = &proxy_ops,
		.type = o->type,
		.nqueues = o->queues + has_ctrl(o),
		.config_len = o->config_len,
		.host = h};
	snprintf(p->dev.id, sizeof(p->dev.id), "%s", id);
	pthread_mutex_init(&p->lock, NULL);
	p->pairs = 1;
	p->log_fd = -1;
	p->reset.handle = vu_proxy_handle_reset;
	p->write.handle = vu_proxy_handle_write;
	for (unsigned i = 0; i < p->dev.nqueues; i++) {
		p->dev.queue_max[i] = o->queue_size;
		p->queue[i] = (struct proxy_queue){.proxy = p, .i = i};
		p->queue[i].start.handle = vu_proxy_handle_start;
		p->queue[i].stop.handle = vu_proxy_handle_stop;
	}
}

int vu_proxy_new(
	struct dev_host *h, const char *id, struct vu_peer *peer, struct virtio_dev **ret_dev)
{
	struct vu_proxy *p;
	int r;

	if (vu_peer_opts(peer)->queues + has_ctrl(vu_peer_opts(peer)) > VIRTIO_QUEUES)
		return -EINVAL;
	for (unsigned i = 0; i < h->dma->n; i++)
		if (h->dma->region[i].fd < 0)
			return -ENOTSUP;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->peer = peer;
	init(p, h, id);
	const struct vu_client c = {.ready = on_ready,
		.gone = on_gone,
		.config_changed = on_config_changed,
		.area = on_area,
		.arg = p};
	r = vu_peer_attach(peer, h->control, &c);
	if (r < 0) {
		destroy(p);
		return r;
	}
	*ret_dev = &p->dev;
	return 0;
}
