/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net (virtio 1.2 §5.1): queue 0 receives, queue 1 transmits, both on one worker with the
 * back-end. A frame goes between guest buffers and the host in one system call, without a copy,
 * with the 12-byte virtio_net_hdr in front where the back-end has one.
 *
 * Receiving needs room for the largest frame before its size is known. Chains are taken ahead into
 * `ahead`, a queue of buffers in ring order; a frame uses as many from its front as it fills
 * (VIRTIO_NET_F_MRG_RXBUF), the rest stay for the next, and go back to the ring when the queue
 * stops. With no chain at all the back-end is not listened to until the driver kicks. */
#include <assert.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "devices/backend/netdev.h"
#include "devices/count.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/queue_run.h"
#include "vmm/base/num.h"

#define RX		0
#define TX		1
#define HDR_LEN		sizeof(struct virtio_net_hdr_v1)
#define NUM_BUFFERS_OFF offsetof(struct virtio_net_hdr_v1, num_buffers)
#define FRAME_MAX	65550 /* 64 KiB of payload and an Ethernet header */
#define RX_WANT		(HDR_LEN + FRAME_MAX)
#define AHEAD_CHAINS	64
#define AHEAD_IOV	512
#define BUDGET		256 /* frames before the worker looks at its other fds */

#define BIT(n) (UINT64_C(1) << (n))

struct rx_chain {
	uint16_t head, niov;
	uint32_t len;
};

struct rx_ahead {
	struct rx_chain chain[AHEAD_CHAINS];
	struct iovec iov[AHEAD_IOV];
	unsigned first, n;	  /* chains */
	unsigned first_iov, niov; /* their buffers */
	uint32_t len;		  /* and bytes */
};

struct virtio_net {
	struct virtio_dev dev; /* first */
	struct queue_run *run;
	struct netdev *net; /* borrowed */
	struct virtio_net_config config;
	_Atomic uint64_t features; /* accepted */
	dev_count rx_bytes, rx_frames, rx_dropped, tx_bytes, tx_frames, tx_dropped;

	/* The worker's. */
	unsigned bound; /* queues that are attached */
	struct virtq *q[2];
	struct rx_ahead ahead;
	struct virtq_chain chain; /* the one being looked at */
	uint8_t spill[FRAME_MAX]; /* what a frame has too much: its length tells that it must go */
	bool listening;
	bool tx_blocked; /* the back-end will say when it takes more */
};

static struct virtio_net *of_dev(struct virtio_dev *d)
{
	return (struct virtio_net *)d;
}

static bool has(const struct virtio_net *n, unsigned feature)
{
	return atomic_load_explicit(&n->features, memory_order_relaxed) & BIT(feature);
}

/* Moves what is left to the front when the end of the arrays comes near. */
static void compact(struct rx_ahead *a)
{
	if (a->first + a->n < AHEAD_CHAINS && a->first_iov + a->niov + VIRTQ_CHAIN_MAX <= AHEAD_IOV)
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
static int fill_ahead(struct virtio_net *n)
{
	struct rx_ahead *a = &n->ahead;
	bool merge = has(n, VIRTIO_NET_F_MRG_RXBUF);

	while (merge ? a->len < RX_WANT : a->n == 0) {
		int r;

		compact(a);
		if (a->n == AHEAD_CHAINS || a->niov + VIRTQ_CHAIN_MAX > AHEAD_IOV)
			return 0;
		r = virtq_pop(n->q[RX], &n->chain);
		if (r <= 0)
			return r;
		add_ahead(a, &n->chain);
	}
	return 0;
}

/* The front chain, filled with `written` bytes, goes to the driver. */
static void push_front(struct virtio_net *n, uint32_t written)
{
	struct rx_ahead *a = &n->ahead;
	const struct rx_chain *c = &a->chain[a->first];

	virtq_push_parts(n->q[RX], c->head, a->iov + a->first_iov, c->niov, written);
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
static void deliver(struct virtio_net *n, uint32_t total)
{
	struct rx_ahead *a = &n->ahead;
	uint32_t room = 0, have = has(n, VIRTIO_NET_F_MRG_RXBUF) ? a->len : a->chain[a->first].len;
	uint16_t chains = 0;

	if (total > have) {
		count_add(&n->rx_dropped, 1);
		return;
	}
	count_add(&n->rx_frames, 1);
	count_add(&n->rx_bytes, total - HDR_LEN);
	while (room < total)
		room += a->chain[a->first + chains++].len;
	write_front(a, NUM_BUFFERS_OFF, &chains, sizeof(chains));
	while (total) {
		uint32_t part = MIN(total, a->chain[a->first].len);

		push_front(n, part);
		total -= part;
	}
}

static void listen_to_net(struct virtio_net *n, bool on)
{
	if (n->listening == on)
		return;
	n->listening = on;
	n->net->ops->want_read(n->net, on);
}

/* One frame. 1: done; 0: nothing to receive, or no buffers; negative: the ring is broken. */
static int receive_one(struct virtio_net *n)
{
	static const struct virtio_net_hdr_v1 no_offload;
	struct iovec iov[AHEAD_IOV + 1];
	size_t skip = n->net->vnet_hdr ? 0 : HDR_LEN;
	int r = fill_ahead(n);
	unsigned count;

	if (r < 0)
		return r;
	if (!n->ahead.n) {
		listen_to_net(n, false);
		return 0;
	}
	count = rx_iov(&n->ahead, has(n, VIRTIO_NET_F_MRG_RXBUF), skip, iov);
	if (!count) { /* buffers too small even for the header: give them back unused */
		push_front(n, 0);
		return 1;
	}
	iov[count++] = (struct iovec){n->spill, sizeof(n->spill)};
	r = n->net->ops->recv(n->net, iov, count);
	if (r <= 0)
		return 0;
	if (skip)
		write_front(&n->ahead, 0, &no_offload, HDR_LEN);
	deliver(n, r + skip);
	return 1;
}

static void receive(struct virtio_net *n)
{
	unsigned budget = BUDGET;
	int r = 1;

	if (!n->q[RX] || n->q[RX]->broken)
		return;
	while (r > 0 && budget--)
		r = receive_one(n);
	virtq_flush(n->q[RX]);
	if (r < 0)
		queue_run_broken(n->run, RX);
	else if (r > 0 || (!n->listening && virtq_enable_kick(n->q[RX])))
		queue_run_again(n->run, RX);
}

/* The driver has given receive buffers. */
static void process_rx(struct virtio_net *n, struct virtq *q)
{
	virtq_disable_kick(q);
	listen_to_net(n, true);
	receive(n);
}

static int send_chain(struct virtio_net *n)
{
	struct virtq_chain *c = &n->chain;
	struct iovec *v = c->iov, *end = c->iov + c->nout;
	size_t skip = n->net->vnet_hdr ? 0 : HDR_LEN;

	if (c->out_len <= HDR_LEN || c->out_len > HDR_LEN + FRAME_MAX)
		return -EINVAL;
	for (; skip && skip >= v->iov_len; v++)
		skip -= v->iov_len;
	v->iov_base = (uint8_t *)v->iov_base + skip;
	v->iov_len -= skip;
	return n->net->ops->send(n->net, v, end - v);
}

static void count_sent(struct virtio_net *n, int r)
{
	if (r < 0) {
		count_add(&n->tx_dropped, 1);
		return;
	}
	count_add(&n->tx_frames, 1);
	count_add(&n->tx_bytes, n->chain.out_len - HDR_LEN);
}

/* Sends what the ring holds, at most *budget frames: 1 when that is used up. A frame that the host
 * refuses is lost, as on a wire. */
static int send_some(struct virtio_net *n, struct virtq *q, unsigned *budget)
{
	for (; *budget; --*budget) {
		int r = virtq_pop(q, &n->chain);

		if (r <= 0)
			return r;
		r = send_chain(n);
		if (r == -EAGAIN) {
			virtq_unpop(q, 1);
			n->tx_blocked = true;
			return 0;
		}
		count_sent(n, r);
		virtq_push(q, &n->chain, 0);
	}
	return 1;
}

static void process_tx(struct virtio_net *n, struct virtq *q)
{
	unsigned budget = BUDGET;
	int more;

	if (n->tx_blocked)
		return;
	do {
		virtq_disable_kick(q);
		more = send_some(n, q, &budget);
		virtq_flush(q);
	} while (more == 0 && !n->tx_blocked && virtq_enable_kick(q));
	if (more < 0)
		queue_run_broken(n->run, TX);
	else if (more)
		queue_run_again(n->run, TX);
}

static void net_process(struct virtio_dev *d, unsigned i, struct virtq *q)
{
	if (i == RX)
		process_rx(of_dev(d), q);
	else
		process_tx(of_dev(d), q);
}

/* The back-end's news, on the worker. */
static void readable(void *arg)
{
	receive(arg);
}

static void writable(void *arg)
{
	struct virtio_net *n = arg;

	n->tx_blocked = false;
	if (n->q[TX] && !n->q[TX]->broken)
		process_tx(n, n->q[TX]);
}

static int net_attach(struct virtio_dev *d, unsigned i, struct virtq *q, struct ev_loop *loop)
{
	struct virtio_net *n = of_dev(d);
	int r = n->bound ? 0 : n->net->ops->bind(n->net, loop, readable, writable, n);

	if (r < 0)
		return r;
	if (!n->bound++) {
		n->listening = true;
		n->tx_blocked = false;
		listen_to_net(n, false); /* until there is a receive queue */
	}
	n->q[i] = q;
	return 0;
}

static void net_detach(struct virtio_dev *d, unsigned i)
{
	struct virtio_net *n = of_dev(d);

	if (i == RX) {
		virtq_unpop(n->q[RX], n->ahead.n);
		memset(&n->ahead, 0, sizeof(n->ahead));
		listen_to_net(n, false);
	}
	n->q[i] = NULL;
	if (!--n->bound)
		n->net->ops->unbind(n->net);
}

static const struct queue_worker_ops net_worker = {
	.process = net_process,
	.attach = net_attach,
	.detach = net_detach,
};

static const struct {
	uint8_t guest, needs; /* virtio 1.2 §5.1.3.1 */
	unsigned tun;
} offload[] = {
	{VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM},
	{VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM, TUN_F_TSO4},
	{VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM, TUN_F_TSO6},
	{VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM, 0},
	{VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM, 0},
	{VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_CSUM, 0},
};

static uint64_t net_features(struct virtio_dev *d)
{
	const struct virtio_net *n = of_dev(d);
	uint64_t f = VIRTIO_RING_FEATURES | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) |
		     BIT(VIRTIO_NET_F_MRG_RXBUF);

	if (n->config.mtu)
		f |= BIT(VIRTIO_NET_F_MTU);
	if (n->net->vnet_hdr)
		f |= BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) |
		     BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) |
		     BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_HOST_TSO4) |
		     BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN);
	return f;
}

static int net_accept(struct virtio_dev *d, uint64_t features)
{
	struct virtio_net *n = of_dev(d);
	unsigned tun = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(offload); i++) {
		if (!(features & BIT(offload[i].guest)))
			continue;
		if (!(features & BIT(offload[i].needs)))
			return -EINVAL;
		tun |= offload[i].tun;
	}
	if (features & BIT(VIRTIO_NET_F_GUEST_ECN) && tun & (TUN_F_TSO4 | TUN_F_TSO6))
		tun |= TUN_F_TSO_ECN;
	atomic_store(&n->features, features);
	return n->net->vnet_hdr ? n->net->ops->set_offload(n->net, tun) : 0;
}

static void net_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, (uint8_t *)&of_dev(d)->config + off, len);
}

static int net_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	return queue_run_start(of_dev(d)->run, i, s);
}

static int net_queue_stop(struct virtio_dev *d, unsigned i)
{
	return queue_run_stop(of_dev(d)->run, i);
}

static void net_reset(struct virtio_dev *d)
{
	queue_run_reset(of_dev(d)->run);
}

static int net_visit(struct virtio_dev *d, struct visitor *v)
{
	struct virtio_net *n = of_dev(d);
	uint64_t features = atomic_load(&n->features);
	uint32_t version = 1;

	visit_begin(v, "net", &version);
	visit_bytes(v, "mac", n->config.mac, sizeof(n->config.mac));
	visit_u64(v, "features", &features);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD && !visit_status(v) && net_accept(d, features) < 0)
		visit_fail(v, -EINVAL);
	return visit_status(v);
}

static unsigned net_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	const struct virtio_net *n = of_dev(d);
	const struct dev_counter all[] = {
		{"rx_bytes", count_get(&n->rx_bytes)},
		{"rx_frames", count_get(&n->rx_frames)},
		{"rx_dropped", count_get(&n->rx_dropped)},
		{"tx_bytes", count_get(&n->tx_bytes)},
		{"tx_frames", count_get(&n->tx_frames)},
		{"tx_dropped", count_get(&n->tx_dropped)},
	};

	return counters_copy(all, ARRAY_SIZE(all), ret, max);
}

/* An offload has two directions, each with the features that the driver may accept for it. */
static const struct {
	const char *what;
	uint64_t to_guest, from_guest;
} offload_names[] = {
	{"offload_csum", BIT(VIRTIO_NET_F_GUEST_CSUM), BIT(VIRTIO_NET_F_CSUM)},
	{"offload_tso", BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6),
		BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6)},
	{"offload_ufo", BIT(VIRTIO_NET_F_GUEST_UFO), BIT(VIRTIO_NET_F_HOST_UFO)},
};

static const char *offload_state(struct virtio_net *n, uint64_t to, uint64_t from)
{
	uint64_t have = atomic_load(&n->features), all = net_features(&n->dev);

	if (!(all & (to | from)))
		return "off: not offered";
	if (!(have & VIRTIO_BIT_VERSION_1))
		return "none yet";
	if (have & to && have & from)
		return "on";
	return have & to     ? "on: to the guest only"
	       : have & from ? "on: from the guest only"
			     : "off: the driver did not accept it";
}

static unsigned net_achieved(struct virtio_dev *d, struct dev_achieved *ret, unsigned max)
{
	struct virtio_net *n = of_dev(d);
	unsigned count = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(offload_names); i++) {
		const char *what = offload_names[i].what;

		if (n->net->vnet_hdr)
			achieved_add(ret, max, &count, what, "%s",
				offload_state(
					n, offload_names[i].to_guest, offload_names[i].from_guest));
		else
			achieved_add(ret, max, &count, what, "off: the %s has no vnet header",
				n->net->ops->name);
	}
	return count;
}

static void net_free(struct virtio_dev *d)
{
	queue_run_free(of_dev(d)->run);
	free(d);
}

static const struct virtio_dev_ops net_ops = {
	.features = net_features,
	.accept = net_accept,
	.config_read = net_config_read,
	.queue_start = net_queue_start,
	.queue_stop = net_queue_stop,
	.reset = net_reset,
	.visit = net_visit,
	.counters = net_counters,
	.achieved = net_achieved,
	.free = net_free,
};

int virtio_net_new(struct dev_host *h, const char *id, struct netdev *const *net,
	const struct virtio_net_opts *o, struct virtio_dev **ret_dev)
{
	uint16_t size = o->queue_size ? o->queue_size : 256;
	struct virtio_net *n;
	const char *names[1];
	char name[48];
	int r;

	if (!is_pow2(size) || size < 2 || size > VIRTIO_QUEUE_MAX)
		return -EINVAL;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->dev = (struct virtio_dev){.ops = &net_ops,
		.type = VIRTIO_TYPE_NET,
		.nqueues = 2,
		.queue_max = {size, size},
		.config_len = offsetof(struct virtio_net_config, speed),
		.host = h};
	snprintf(n->dev.id, sizeof(n->dev.id), "%s", id);
	snprintf(name, sizeof(name), "%s_q0", n->dev.id);
	names[0] = name;
	n->net = net[0];
	memcpy(n->config.mac, o->mac, sizeof(o->mac));
	n->config.status = VIRTIO_NET_S_LINK_UP;
	n->config.max_virtqueue_pairs = 1;
	n->config.mtu = o->mtu;
	r = queue_run_new(&n->dev, &net_worker, (unsigned[]){0, 0}, names, &n->run);
	if (r < 0) {
		free(n);
		return r;
	}
	*ret_dev = &n->dev;
	return 0;
}
