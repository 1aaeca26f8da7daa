/* SPDX-License-Identifier: Apache-2.0 */
/* Receiving needs room for the largest frame before its size is known. Chains are taken ahead into
 * `ahead`, a queue of buffers in ring order; a frame uses as many from its front as it fills
 * (VIRTIO_NET_F_MRG_RXBUF), the rest stay for the next, and go back to the ring when the queue
 * stops. With no chain at all the back-end is not listened to until the driver kicks. */
#include <string.h>
#include "devices/virtio/net_priv.h"
#include "vmm/base/num.h"

#define NUM_BUFFERS_OFF offsetof(struct virtio_net_hdr_v1, num_buffers)
#define RX_WANT		(NET_HDR_LEN + NET_FRAME_MAX)

bool net_rx_on(const struct net_pair *p)
{
	return p->i < atomic_load(&p->net->active) && !p->disabled[NET_RX];
}

/* Moves what is left to the front when the end of the arrays comes near. */
static void compact(struct rx_ahead *a)
{
	if (a->first + a->n < RX_AHEAD_CHAINS &&
		a->first_iov + a->niov + VIRTQ_CHAIN_MAX <= RX_AHEAD_IOV)
		return;
	memmove(a->chain, a->chain + a->first, a->n * sizeof(a->chain[0]));
	memmove(a->iov, a->iov + a->first_iov, a->niov * sizeof(a->iov[0]));
	a->first = a->first_iov = 0;
}

static void add_ahead(struct rx_ahead *a, const struct virtq_chain *c)
{
	a->chain[a->first + a->n++] = (struct rx_chain){c->head, c->nin, c->in_len};
	memcpy(a->iov + a->first_iov + a->niov, c->iov + c->nout, c->nin * sizeof(c->iov[0]));
	a->niov += c->nin;
	a->len += c->in_len;
}

/* Takes chains until a frame of any size fits (or, without merging, there is one). 0, or the
 * negative of virtq_pop. */
static int fill_ahead(struct net_pair *p)
{
	struct rx_ahead *a = &p->ahead;
	bool merge = net_has(p->net, VIRTIO_NET_F_MRG_RXBUF);

	while (merge ? a->len < RX_WANT : a->n == 0) {
		int r;

		compact(a);
		if (a->n == RX_AHEAD_CHAINS || a->niov + VIRTQ_CHAIN_MAX > RX_AHEAD_IOV)
			return 0;
		r = virtq_pop(p->q[NET_RX], &p->chain);
		if (r <= 0)
			return r;
		add_ahead(a, &p->chain);
	}
	return 0;
}

/* The front chain, filled with `written` bytes, goes to the driver. */
static void push_front(struct net_pair *p, uint32_t written)
{
	struct rx_ahead *a = &p->ahead;
	const struct rx_chain *c = &a->chain[a->first];

	virtq_push_parts(p->q[NET_RX], c->head, a->iov + a->first_iov, c->niov, written);
	a->first++;
	a->n--;
	a->first_iov += c->niov;
	a->niov -= c->niov;
	a->len -= c->len;
}

/* Writes into the front buffers at byte `off`, wherever the driver has split them. */
static void write_front(struct rx_ahead *a, size_t off, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	for (unsigned i = a->first_iov; len && i < a->first_iov + a->niov; i++) {
		size_t part;

		if (off >= a->iov[i].iov_len) {
			off -= a->iov[i].iov_len;
			continue;
		}
		part = MIN(a->iov[i].iov_len - off, len);
		memcpy((uint8_t *)a->iov[i].iov_base + off, p, part);
		p += part;
		len -= part;
		off = 0;
	}
}

/* The receive buffers from byte `skip` on. They lie in a local array: skipping changes one. */
static unsigned rx_iov(const struct rx_ahead *a, bool merge, size_t skip, struct iovec *ret)
{
	unsigned n = 0, end = a->first_iov + (merge ? a->niov : a->chain[a->first].niov);

	for (unsigned i = a->first_iov; i < end; i++) {
		size_t off = MIN(skip, a->iov[i].iov_len);

		skip -= off;
		if (off < a->iov[i].iov_len)
			ret[n++] = (struct iovec){
				(uint8_t *)a->iov[i].iov_base + off, a->iov[i].iov_len - off};
	}
	return n;
}

/* Hands `total` bytes, header included, to the driver. A frame that had no room is lost. */
static void deliver(struct net_pair *p, uint32_t total)
{
	struct queue_stats *s = p->stats[NET_RX];
	struct rx_ahead *a = &p->ahead;
	bool merge = net_has(p->net, VIRTIO_NET_F_MRG_RXBUF);
	uint32_t room = 0, have = merge ? a->len : a->chain[a->first].len;
	uint16_t chains = 0;

	if (total > have) {
		count_add(&s->dropped, 1);
		return;
	}
	count_add(&s->requests, 1);
	count_add(&s->reads, 1);
	count_add(&s->read_bytes, total - NET_HDR_LEN);
	while (room < total)
		room += a->chain[a->first + chains++].len;
	write_front(a, NUM_BUFFERS_OFF, &chains, sizeof(chains));
	while (total) {
		uint32_t part = MIN(total, a->chain[a->first].len);

		push_front(p, part);
		total -= part;
	}
}

void net_rx_listen(struct net_pair *p, bool on)
{
	if (p->listening == on)
		return;
	p->listening = on;
	p->back->ops->want_read(p->back, on);
}

/* One frame. 1: done; 0: nothing to receive, or no buffers; negative: the ring is broken. */
static int receive_one(struct net_pair *p)
{
	static const struct virtio_net_hdr_v1 no_offload;
	struct iovec iov[RX_AHEAD_IOV + 1];
	size_t skip = p->back->vnet_hdr ? 0 : NET_HDR_LEN;
	int r = fill_ahead(p);
	unsigned count;

	if (r < 0)
		return r;
	if (!p->ahead.n) {
		net_rx_listen(p, false);
		return 0;
	}
	count = rx_iov(&p->ahead, net_has(p->net, VIRTIO_NET_F_MRG_RXBUF), skip, iov);
	if (!count) { /* buffers too small even for the header: give them back unused */
		push_front(p, 0);
		return 1;
	}
	iov[count++] = (struct iovec){p->spill, sizeof(p->spill)};
	r = p->back->ops->recv(p->back, iov, count);
	if (r <= 0) {
		net_check_gone(p);
		return 0;
	}
	if (skip)
		write_front(&p->ahead, 0, &no_offload, NET_HDR_LEN);
	deliver(p, r + skip);
	return 1;
}

void net_rx_ready(struct net_pair *p)
{
	struct virtq *q = p->q[NET_RX];
	unsigned budget = NET_BUDGET, i = 2 * p->i + NET_RX;
	int r = 1;

	net_check_gone(p);
	if (!q || q->broken || !net_rx_on(p))
		return;
	while (r > 0 && budget--)
		r = receive_one(p);
	queue_run_flush(p->net->run, i);
	if (r < 0)
		queue_run_broken(p->net->run, i);
	else if (r > 0 || (!p->listening && queue_run_rest(p->net->run, i)))
		queue_run_again(p->net->run, i);
}

void net_rx_process(struct net_pair *p)
{
	if (!net_rx_on(p)) {
		net_rx_listen(p, false);
		return;
	}
	virtq_disable_kick(p->q[NET_RX]);
	net_rx_listen(p, true);
	net_rx_ready(p);
}

void net_rx_stop(struct net_pair *p)
{
	virtq_unpop(p->q[NET_RX], p->ahead.n);
	memset(&p->ahead, 0, sizeof(p->ahead));
	net_rx_listen(p, false);
}
