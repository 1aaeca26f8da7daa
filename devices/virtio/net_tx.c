/* SPDX-License-Identifier: Apache-2.0 */
/* Transmitting: a frame goes from guest buffers to the host in one system call, without a copy. One
 * that the host refuses is lost, as on a wire; one that it cannot take now waits in the ring. Most
 * frames lie in one buffer, and are taken from the ring and given to the back-end many at a time.
 *
 * A queue that a vhost-user front-end has started but disabled "must process and discard any TX
 * packets" ("Ring states"). It does so a moment later: front-ends start a ring before they enable
 * it, and what the driver sent meanwhile need not be lost. */
#include <errno.h>
#include "devices/virtio/net_priv.h"
#include "devices/virtio/virtq_burst.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"

#define DRAIN_AFTER_NS 100000000

/* What a turn did, counted at its end. */
struct tx_turn {
	unsigned left; /* of the budget */
	bool in_order; /* negotiated */
	uint64_t frames, bytes, dropped;
};

static bool size_ok(uint32_t len)
{
	return len > NET_HDR_LEN && len <= NET_HDR_LEN + NET_FRAME_MAX;
}

static int send_chain(struct net_pair *p)
{
	struct virtq_chain *c = &p->chain;
	struct iovec *v = c->iov, *end = c->iov + c->nout;
	size_t skip = p->back->vnet_hdr ? 0 : NET_HDR_LEN;

	if (!size_ok(c->out_len))
		return -EINVAL;
	for (; skip && skip >= v->iov_len; v++)
		skip -= v->iov_len;
	v->iov_base = (uint8_t *)v->iov_base + skip;
	v->iov_len -= skip;
	return p->back->ops->send(p->back, v, end - v);
}

/* One chain of any kind: 1, 0 (the ring is empty or the host full), or the negative of virtq_pop.
 */
static int send_one(struct net_pair *p, struct virtq *q, struct tx_turn *t)
{
	int r = virtq_pop(q, &p->chain);

	if (r <= 0)
		return r;
	r = send_chain(p);
	if (r == -EAGAIN) {
		virtq_unpop(q, 1);
		p->tx_blocked = true;
		return 0;
	}
	t->left--;
	t->frames += r >= 0;
	t->dropped += r < 0;
	t->bytes += r < 0 ? 0 : p->chain.out_len - NET_HDR_LEN;
	virtq_push(q, &p->chain, 0);
	return 1;
}

/* Cuts what the back-end does not want off the frames from `from` on; stops at one that is none. */
static unsigned trim(const struct net_pair *p, struct iovec *v, unsigned from, unsigned n)
{
	size_t skip = p->back->vnet_hdr ? 0 : NET_HDR_LEN;

	for (unsigned i = from; i < n; i++) {
		if (!size_ok(v[i].iov_len))
			return i;
		v[i].iov_base = (uint8_t *)v[i].iov_base + skip;
		v[i].iov_len -= skip;
	}
	return n;
}

static void count_frames(
	const struct net_pair *p, const struct iovec *v, unsigned n, struct tx_turn *t)
{
	t->frames += n;
	for (unsigned i = 0; i < n; i++)
		t->bytes += v[i].iov_len;
	if (p->back->vnet_hdr)
		t->bytes -= n * NET_HDR_LEN;
}

/* Sends n frames as far as the host takes them; returns how many. */
static unsigned send_bufs(struct net_pair *p, struct iovec *v, unsigned n, struct tx_turn *t)
{
	unsigned done = 0, trimmed = 0;

	while (done < n) {
		int r = -EINVAL;

		if (done == trimmed)
			trimmed = trim(p, v, done, n);
		if (done < trimmed)
			r = netdev_send_many(p->back, v + done, trimmed - done);
		if (r == -EAGAIN)
			return done;
		if (r < 0) {
			t->dropped++;
			trimmed = MAX(trimmed, ++done);
		} else {
			count_frames(p, v + done, r, t);
			done += r;
		}
	}
	return n;
}

/* As send_one, with a burst of chains of one buffer; 0 says nothing of the ring here. */
static int send_burst(struct net_pair *p, struct virtq *q, struct tx_turn *t)
{
	struct virtq_burst b;
	unsigned n = virtq_pop_burst(q, &b, MIN(t->left, (unsigned)VIRTQ_BURST));
	unsigned sent = n ? send_bufs(p, b.buf, n, t) : 0;

	virtq_push_burst(q, &b, sent, t->in_order);
	t->left -= sent;
	if (sent < n) {
		virtq_unpop(q, n - sent);
		p->tx_blocked = true;
		return 0;
	}
	return n;
}

/* Sends what the ring holds: 1 when the turn is over, 0 when the ring is empty or the host full, or
 * the negative of virtq_pop. */
static int send_some(struct net_pair *p, struct virtq *q, struct tx_turn *t)
{
	while (t->left) {
		int r = send_burst(p, q, t);

		if (r == 0 && !p->tx_blocked)
			r = send_one(p, q, t);
		if (r <= 0)
			return r;
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
	struct queue_stats *s = p->stats[NET_TX];

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
	struct tx_turn t = {.left = NET_BUDGET, .in_order = p->in_order};
	unsigned i = 2 * p->i + NET_TX;
	int more = some(p, p->q[NET_TX], &t);

	count_turn(p, &t); /* before the driver can know */
	queue_run_flush(p->net->run, i);
	if (more < 0)
		queue_run_broken(p->net->run, i);
	else if (!p->tx_blocked && queue_run_rest(p->net->run, i))
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
	if (p->tx_blocked)
		return;
	virtq_disable_kick(p->q[NET_TX]);
	if (!p->disabled[NET_TX])
		turn(p, send_some);
	else if (!p->drain.loop)
		ev_timer_arm(atomic_load(&p->loop), &p->drain, ev_now_ns() + DRAIN_AFTER_NS);
}

void net_tx_ready(struct net_pair *p)
{
	p->tx_blocked = false;
	if (p->q[NET_TX] && !p->q[NET_TX]->broken)
		net_tx_process(p);
}
