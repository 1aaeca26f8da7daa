/* SPDX-License-Identifier: Apache-2.0 */
/* The control queue of a network device with several pairs of queues (virtio 1.2 §5.1.6.5). It is
 * the VMM's: vhost-user has no ring for it. The driver says how many pairs it uses, the peer hears
 * which rings are enabled. Requests are few; control's loop answers them. */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/eventfd.h>
#include "devices/virtio/net_ctrl.h"
#include "offload/vu_proxy_priv.h"

#define BUDGET 16 /* requests in one round: the loop has others to serve */

#define BIT(b) (UINT64_C(1) << (b))

/* §5.1.2: behind the pairs; behind the first when VIRTIO_NET_F_MQ was not accepted. */
bool vu_proxy_is_ctrl(const struct vu_proxy *p, unsigned i, uint64_t features)
{
	const struct vu_peer_opts *o = vu_peer_opts(p->peer);

	if (p->dev.type != VIRTIO_TYPE_NET || !(features & o->own & BIT(VIRTIO_NET_F_CTRL_VQ)))
		return false;
	return i == (features & BIT(VIRTIO_NET_F_MQ) ? o->queues : 2);
}

static int set_pairs(void *arg, unsigned n)
{
	struct vu_proxy *p = arg;

	p->pairs = n;
	vu_proxy_rings_enable(p);
	return 0;
}

static const struct net_ctrl_ops ops = {.pairs = set_pairs};

/* 1: there may be more; 0: none; negative: the driver broke the ring. */
static int answer(struct proxy_queue *q, struct virtq_chain *c)
{
	struct vu_proxy *p = q->proxy;
	unsigned max = q->s.features & BIT(VIRTIO_NET_F_MQ) ? vu_peer_opts(p->peer)->queues / 2 : 0;
	int r = virtq_pop(&p->ctrl, c);

	if (r > 0)
		virtq_push(&p->ctrl, c, net_ctrl_answer(c, max, &ops, p));
	return r;
}

static void kicked(struct ev_fd *w, uint32_t events)
{
	struct vu_proxy *p = container_of(w, struct vu_proxy, ctrl_kick);
	struct proxy_queue *q = NULL;
	struct virtq_chain c;
	eventfd_t n;
	int r = 1;

	for (unsigned i = 0; i < p->dev.nqueues; i++)
		if (p->queue[i].ctrl && p->queue[i].live)
			q = &p->queue[i];
	if (eventfd_read(w->fd, &n) < 0 || !q)
		return;
	for (unsigned i = 0; i < BUDGET && r > 0; i++)
		r = answer(q, &c);
	if (virtq_publish(&p->ctrl))
		virtio_signal_raise(&q->s.signal, VIRTIO_ISR_QUEUE);
	if (r < 0)
		p->dev.events->broken(p->dev.transport, q->i);
	else if (r > 0 || virtq_enable_kick(&p->ctrl))
		eventfd_write(w->fd, 1);
}

void vu_proxy_ctrl_start(struct proxy_queue *q)
{
	struct vu_proxy *p = q->proxy;
	struct virtq_pos pos = {.avail = q->base.avail.slot,
		.used = q->base.used.slot,
		.avail_wrap = q->base.avail.wrap,
		.used_wrap = q->base.used.wrap};

	q->live = true;
	q->s.pos = &pos;
	int r = virtq_init(&p->ctrl, p->dev.host->dma, &q->s);
	q->s.pos = NULL;
	p->ctrl_kick = (struct ev_fd){.fd = q->s.kick_fd, .ready = kicked};
	if (r == 0)
		r = ev_add(p->dev.host->control, &p->ctrl_kick, EPOLLIN);
	if (r < 0)
		p->dev.events->broken(p->dev.transport, q->i);
	else
		eventfd_write(q->s.kick_fd, 1); /* one that came before */
}

void vu_proxy_ctrl_stop(struct proxy_queue *q)
{
	struct vu_proxy *p = q->proxy;
	struct virtq_pos pos;

	virtq_pos_get(&p->ctrl, &pos);
	ev_del(&p->ctrl_kick);
	const struct ring_place at = {{pos.avail, pos.avail_wrap}, {pos.used, pos.used_wrap}};
	vu_proxy_stopped(q, &at);
}
