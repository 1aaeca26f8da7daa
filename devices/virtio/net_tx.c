/* SPDX-License-Identifier: Apache-2.0 */
/* Transmitting: a frame goes from guest buffers to the host in one system call, without a copy. One
 * that the host refuses is lost, as on a wire; one that it cannot take now waits in the ring.
 *
 * A queue that a vhost-user front-end has started but disabled "must process and discard any TX
 * packets" ("Ring states"). It does so a moment later: front-ends start a ring before they enable
 * it, and what the driver sent meanwhile need not be lost. */
#include <errno.h>
#include "devices/virtio/net_priv.h"
#include "vmm/base/list.h"

#define DRAIN_AFTER_NS 100000000

/* What a turn did, counted at its end. */
struct tx_turn {
	unsigned left; /* of the budget */
	uint64_t frames, bytes, dropped;
};

static int send_chain(struct net_pair *p)
{
	struct virtq_chain *c = &p->chain;
	struct iovec *v = c->iov, *end = c->iov + c->nout;
	size_t skip = p->back->vnet_hdr ? 0 : NET_HDR_LEN;

	if (c->out_len <= NET_HDR_LEN || c->out_len > NET_HDR_LEN + NET_FRAME_MAX)
		return -EINVAL;
	for (; skip && skip >= v->iov_len; v++)
		skip -= v->iov_len;
	v->iov_base = (uint8_t *)v->iov_base + skip;
	v->iov_len -= skip;
	return p->back->ops->send(p->back, v, end - v);
}

/* Sends what the ring holds: 1 when the turn is over, 0 when the ring is empty or the host full, or
 * the negative of virtq_pop. */
static int send_some(struct net_pair *p, struct virtq *q, struct tx_turn *t)
{
	for (; t->left; t->left--) {
		int r = virtq_pop(q, &p->chain);

		if (r <= 0)
			return r;
		r = send_chain(p);
		if (r == -EAGAIN) {
			virtq_unpop(q, 1);
			p->tx_blocked = true;
			return 0;
		}
		t->frames += r >= 0;
		t->dropped += r < 0;
		t->bytes += r < 0 ? 0 : p->chain.out_len - NET_HDR_LEN;
		virtq_push(q, &p->chain, 0);
	}
	return 1;
}

static int drop_some(struct net_pair *p, struct virtq *q, struct tx_turn *t)
{
	for (; t->left; t->left--) {
		int r = virtq_pop(q, &p->chain);

		if (r <= 0)
			return r;
		t->dropped++;
		virtq_push(q, &p->chain, 0);
	}
	return 1;
}

static void count_turn(struct net_pair *p, const struct tx_turn *t)
{
	struct queue_stats *s = &p->stats[NET_TX];

	count_add(&s->requests, t->frames);
	count_add(&s->writes, t->frames);
	count_add(&s->written_bytes, t->bytes);
	if (!t->dropped)
		return;
	count_add(&s->dropped, t->dropped);
	net_check_gone(p);
}

static void turn(
	struct net_pair *p, int (*some)(struct net_pair *, struct virtq *, struct tx_turn *))
{
	struct tx_turn t = {.left = NET_BUDGET};
	struct virtq *q = p->q[NET_TX];
	unsigned i = 2 * p->i + NET_TX;
	int more;

	do {
		virtq_disable_kick(q);
		more = some(p, q, &t);
		net_flush(q, &p->stats[NET_TX]);
	} while (more == 0 && !p->tx_blocked && virtq_enable_kick(q));
	count_turn(p, &t);
	if (more < 0)
		queue_run_broken(p->net->run, i);
	else if (more)
		queue_run_again(p->net->run, i);
}

void net_tx_drain(struct ev_timer *t)
{
	struct net_pair *p = container_of(t, struct net_pair, drain);

	if (p->q[NET_TX] && !p->q[NET_TX]->broken)
		turn(p, drop_some);
}

void net_tx_process(struct net_pair *p)
{
	if (p->disabled[NET_TX]) {
		if (!p->drain.loop)
			ev_timer_arm(
				atomic_load(&p->loop), &p->drain, ev_now_ns() + DRAIN_AFTER_NS);
		return;
	}
	if (!p->tx_blocked)
		turn(p, send_some);
}

void net_tx_ready(struct net_pair *p)
{
	p->tx_blocked = false;
	if (p->q[NET_TX] && !p->q[NET_TX]->broken)
		net_tx_process(p);
}
