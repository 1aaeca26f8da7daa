/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net (virtio 1.2 §5.1): pairs of queues, each with its back-end on a worker of its own, and
 * with more than one pair a control queue. A frame goes between guest buffers and the host in one
 * system call, without a copy, with the 12-byte virtio_net_hdr in front where the back-end has one.
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "devices/virtio/net_priv.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"

/* ---- on the workers ---- */

static struct net_pair *pair_of(struct virtio_net *n, unsigned i)
{
	return &n->pair[i / 2];
}

static void net_process(struct virtio_dev *d, unsigned i, struct virtq *q)
{
	struct virtio_net *n = net_of(d);

	if (net_is_ctrl(n, i))
		net_ctrlq_process(n);
	else if (i % 2 == NET_RX)
		net_rx_process(pair_of(n, i));
	else
		net_tx_process(pair_of(n, i));
}

static unsigned net_in_flight(struct virtio_dev *d, unsigned i)
{
	struct virtio_net *n = net_of(d);

	return net_is_ctrl(n, i) ? n->ctrl.waiting : 0;
}

static void readable(void *arg)
{
	net_rx_ready(arg);
}

static void writable(void *arg)
{
	net_tx_ready(arg);
}

int net_pair_update(struct net_pair *p)
{
	bool on = p->i == 0 || (p->q[NET_RX] && net_rx_on(p));
	int r;

	if (on == p->host_on || !p->back->ops->enable || p->back->gone)
		return 0;
	r = p->back->ops->enable(p->back, on);
	if (r == 0)
		p->host_on = on;
	return r;
}

/* The message is handled before the queue's end is told, so the device still lives then. */
void net_check_gone(struct net_pair *p)
{
	struct virtio_net *n = p->net;

	if (!p->back->gone)
		return;
	if (p->tx_blocked && p->q[NET_TX]) { /* nobody else says any more that it may go on */
		p->tx_blocked = false;
		queue_run_again(n->run, 2 * p->i + NET_TX);
	}
	if (atomic_exchange(&n->link_down, true))
		return;
	log_line(n->dev.host->log, LOG_WARN, n->dev.id, "the %s behind it is gone: link down",
		p->back->ops->name);
	ev_post(n->dev.host->control, &n->link_msg);
}

static int bind_pair(struct net_pair *p, struct ev_loop *loop)
{
	int r = p->bound ? 0 : p->back->ops->bind(p->back, loop, readable, writable, p);

	if (r < 0)
		return r;
	if (!p->bound++) {
		p->listening = true;
		p->tx_blocked = false;
		net_rx_listen(p, false); /* until there is a receive queue */
	}
	return 0;
}

static int net_attach(struct virtio_dev *d, unsigned i, struct virtq *q, struct ev_loop *loop)
{
	struct virtio_net *n = net_of(d);
	struct net_pair *p = pair_of(n, i);
	int r;

	if (net_is_ctrl(n, i)) {
		net_ctrlq_attach(n, i, q, loop);
		return 0;
	}
	r = bind_pair(p, loop);
	if (r < 0)
		return r;
	p->q[i % 2] = q;
	p->in_order = atomic_load(&n->features) & VIRTIO_BIT_IN_ORDER;
	atomic_store(&p->loop, loop); /* then looks at active: see net_ctrlq.c */
	r = net_pair_update(p);
	if (r < 0)
		log_line(d->host->log, LOG_WARN, d->id, "pair %u cannot receive: %s", p->i,
			strerrordesc_np(-r));
	if (p->i == 0)
		net_rarp_send(n);
	return 0;
}

static void net_detach(struct virtio_dev *d, unsigned i)
{
	struct virtio_net *n = net_of(d);
	struct net_pair *p = pair_of(n, i);

	if (net_is_ctrl(n, i))
		return;
	if (i % 2 == NET_RX)
		net_rx_stop(p);
	else
		ev_timer_cancel(&p->drain);
	p->q[i % 2] = NULL;
	if (!--p->bound)
		p->back->ops->unbind(p->back);
}

static const struct queue_worker_ops net_worker = {
	.process = net_process,
	.in_flight = net_in_flight,
	.attach = net_attach,
	.detach = net_detach,
};

/* ---- what is agreed on with the driver ---- */

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
	const struct virtio_net *n = net_of(d);
	uint64_t f = VIRTIO_RING_FEATURES | VIRTIO_BIT_IN_ORDER | NET_BIT(VIRTIO_NET_F_MAC) |
		     NET_BIT(VIRTIO_NET_F_STATUS) | NET_BIT(VIRTIO_NET_F_MRG_RXBUF);

	if (n->config.mtu)
		f |= NET_BIT(VIRTIO_NET_F_MTU);
	if (n->npairs > 1)
		f |= NET_BIT(VIRTIO_NET_F_CTRL_VQ) | NET_BIT(VIRTIO_NET_F_MQ);
	if (n->pair[0].back->vnet_hdr)
		f |= NET_BIT(VIRTIO_NET_F_CSUM) | NET_BIT(VIRTIO_NET_F_GUEST_CSUM) |
		     NET_BIT(VIRTIO_NET_F_GUEST_TSO4) | NET_BIT(VIRTIO_NET_F_GUEST_TSO6) |
		     NET_BIT(VIRTIO_NET_F_GUEST_ECN) | NET_BIT(VIRTIO_NET_F_HOST_TSO4) |
		     NET_BIT(VIRTIO_NET_F_HOST_TSO6) | NET_BIT(VIRTIO_NET_F_HOST_ECN);
	return f;
}

void net_set_active(struct virtio_net *n, unsigned pairs)
{
	atomic_store(&n->active, pairs);
	for (unsigned i = 0; i < n->npairs; i++) {
		n->pair[i].disabled[NET_RX] = n->pair[i].disabled[NET_TX] = false;
		net_pair_update(&n->pair[i]);
	}
}

static int net_accept(struct virtio_dev *d, uint64_t features)
{
	struct virtio_net *n = net_of(d);
	struct netdev *back = n->pair[0].back; /* one tap has one set of offloads */
	bool mq = features & NET_BIT(VIRTIO_NET_F_MQ),
	     ctrl = features & NET_BIT(VIRTIO_NET_F_CTRL_VQ);
	unsigned tun = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(offload); i++) {
		if (!(features & NET_BIT(offload[i].guest)))
			continue;
		if (!(features & NET_BIT(offload[i].needs)))
			return -EINVAL;
		tun |= offload[i].tun;
	}
	if (features & NET_BIT(VIRTIO_NET_F_GUEST_ECN) && tun & (TUN_F_TSO4 | TUN_F_TSO6))
		tun |= TUN_F_TSO_ECN;
	atomic_store(&n->features, features);
	/* §5.1.6.5.5: one pair at first. A vhost-user front-end keeps the control queue for itself
	 * and enables rings. */
	net_set_active(n, mq && !ctrl ? n->npairs : 1);
	return back->vnet_hdr && !back->gone ? back->ops->set_offload(back, tun) : 0;
}

static void net_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_net_config c = net_of(d)->config;

	c.status = atomic_load(&net_of(d)->link_down) ? 0 : VIRTIO_NET_S_LINK_UP;
	memcpy(buf, (uint8_t *)&c + off, len);
}

static int net_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	struct virtio_net *n = net_of(d);

	if (i < 2 * n->npairs) /* its worker has nothing of it before the start below */
		pair_of(n, i)->disabled[i % 2] = s->disabled;
	else if (!net_is_ctrl(n, i)) /* not there without VIRTIO_NET_F_CTRL_VQ and _MQ */
		return -EINVAL;
	return queue_run_start(n->run, i, s);
}

static int net_queue_stop(struct virtio_dev *d, unsigned i)
{
	return queue_run_stop(net_of(d)->run, i);
}

static void net_reset(struct virtio_dev *d)
{
	queue_run_reset(net_of(d)->run);
}

static void handle_link(struct ev_msg *m)
{
	struct virtio_net *n = container_of(m, struct virtio_net, link_msg);

	n->dev.events->config_changed(n->dev.transport);
}

/* ---- state and figures ---- */

static int net_visit(struct virtio_dev *d, struct visitor *v)
{
	struct virtio_net *n = net_of(d);
	uint64_t features = atomic_load(&n->features);
	uint16_t active = atomic_load(&n->active);
	uint32_t version = 2;

	visit_begin(v, "net", &version);
	visit_bytes(v, "mac", n->config.mac, sizeof(n->config.mac));
	visit_u64(v, "features", &features);
	if (version >= 2)
		visit_u16(v, "pairs", &active);
	visit_end(v);
	if (visit_mode(v) != VISIT_LOAD || visit_status(v))
		return visit_status(v);
	if (!active || active > n->npairs || net_accept(d, features) < 0)
		return visit_fail(v, -EINVAL);
	net_set_active(n, active);
	return 0;
}

/* Over all pairs: `what` is a count's place in struct queue_stats. */
static uint64_t sum(const struct virtio_net *n, unsigned dir, size_t what)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < n->npairs; i++)
		total += count_get((dev_count *)((uint8_t *)n->pair[i].stats[dir] + what));
	return total;
}

static unsigned net_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	const struct virtio_net *n = net_of(d);
	const struct dev_counter all[] = {
		{"rx_bytes", sum(n, NET_RX, offsetof(struct queue_stats, read_bytes))},
		{"rx_frames", sum(n, NET_RX, offsetof(struct queue_stats, reads))},
		{"rx_dropped", sum(n, NET_RX, offsetof(struct queue_stats, dropped))},
		{"tx_bytes", sum(n, NET_TX, offsetof(struct queue_stats, written_bytes))},
		{"tx_frames", sum(n, NET_TX, offsetof(struct queue_stats, writes))},
		{"tx_dropped", sum(n, NET_TX, offsetof(struct queue_stats, dropped))},
		{"link_down", atomic_load(&n->link_down)},
	};

	return counters_copy(all, ARRAY_SIZE(all), ret, max);
}

static const struct queue_stats *net_stats(struct virtio_dev *d, unsigned i)
{
	return queue_run_stats(net_of(d)->run, i);
}

static uint64_t net_cpu_ns(struct virtio_dev *d, unsigned i)
{
	return queue_run_cpu_ns(net_of(d)->run, i);
}

/* An offload has two directions, each with the features that the driver may accept for it. */
static const struct {
	const char *what;
	uint64_t to_guest, from_guest;
} offload_names[] = {
	{"offload_csum", NET_BIT(VIRTIO_NET_F_GUEST_CSUM), NET_BIT(VIRTIO_NET_F_CSUM)},
	{"offload_tso", NET_BIT(VIRTIO_NET_F_GUEST_TSO4) | NET_BIT(VIRTIO_NET_F_GUEST_TSO6),
		NET_BIT(VIRTIO_NET_F_HOST_TSO4) | NET_BIT(VIRTIO_NET_F_HOST_TSO6)},
	{"offload_ufo", NET_BIT(VIRTIO_NET_F_GUEST_UFO), NET_BIT(VIRTIO_NET_F_HOST_UFO)},
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
	struct virtio_net *n = net_of(d);
	const struct netdev *back = n->pair[0].back;
	unsigned count = 0;

	achieved_add(ret, max, &count, "link", "%s",
		atomic_load(&n->link_down) ? "down: what was behind it is gone" : "up");
	if (n->npairs > 1)
		achieved_add(ret, max, &count, "queue_pairs", "%u of %u", atomic_load(&n->active),
			n->npairs);
	for (unsigned i = 0; i < ARRAY_SIZE(offload_names); i++) {
		const char *what = offload_names[i].what;

		if (back->vnet_hdr)
			achieved_add(ret, max, &count, what, "%s",
				offload_state(
					n, offload_names[i].to_guest, offload_names[i].from_guest));
		else
			achieved_add(ret, max, &count, what, "off: the %s has no vnet header",
				back->ops->name);
	}
	return count;
}

static void net_free(struct virtio_dev *d)
{
	queue_run_free(net_of(d)->run);
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
	.stats = net_stats,
	.cpu_ns = net_cpu_ns,
	.free = net_free,
};

/* A worker a pair; the control queue, always idle, shares the first's. */
static int make_run(struct virtio_net *n)
{
	char text[NET_PAIRS][48];
	const char *names[NET_PAIRS];
	unsigned thread_of[VIRTIO_QUEUES] = {0};

	for (unsigned i = 0; i < n->npairs; i++) {
		snprintf(text[i], sizeof(text[i]), "%s_q%u", n->dev.id, i);
		names[i] = text[i];
		thread_of[2 * i] = thread_of[2 * i + 1] = i;
	}
	return queue_run_new(&n->dev, &net_worker, thread_of, names, &n->run);
}

static void init_pair(struct virtio_net *n, unsigned i, struct netdev *back)
{
	struct net_pair *p = &n->pair[i];

	p->net = n;
	p->i = i;
	p->back = back;
	p->host_on = true;
	p->drain.fire = net_tx_drain;
	if (back->gone) /* before a reboot */
		atomic_store(&n->link_down, true);
}

static void init_dev(struct virtio_net *n, struct dev_host *h, const char *id,
	const struct virtio_net_opts *o, uint16_t size)
{
	n->dev = (struct virtio_dev){
		.ops = &net_ops,
		.type = VIRTIO_TYPE_NET,
		.nqueues = n->npairs > 1 ? 2 * n->npairs + 1 : 2,
		.config_len = offsetof(struct virtio_net_config, speed),
		.poll = o->poll,
		.host = h,
	};
	for (unsigned i = 0; i < n->dev.nqueues; i++)
		n->dev.queue_max[i] = size;
	snprintf(n->dev.id, sizeof(n->dev.id), "%s", id);
	memcpy(n->config.mac, o->mac, sizeof(o->mac));
	n->config.max_virtqueue_pairs = n->npairs;
	n->config.mtu = o->mtu;
}

int virtio_net_new(struct dev_host *h, const char *id, struct netdev *const *net,
	const struct virtio_net_opts *o, struct virtio_dev **ret_dev)
{
	uint16_t size = o->queue_size ? o->queue_size : 256;
	unsigned pairs = o->pairs ? o->pairs : 1;
	struct virtio_net *n;
	int r;

	if (!is_pow2(size) || size < 2 || size > VIRTIO_QUEUE_MAX || pairs > NET_PAIRS)
		return -EINVAL;
	n = calloc(1, sizeof(*n) + pairs * sizeof(n->pair[0]));
	if (!n)
		return -ENOMEM;
	n->npairs = pairs;
	init_dev(n, h, id, o, size);
	for (unsigned i = 0; i < pairs; i++)
		init_pair(n, i, net[i]);
	n->link_msg.handle = handle_link;
	net_ctrlq_init(n);
	net_rarp_init(n);
	net_set_active(n, 1);
	r = make_run(n);
	if (r < 0) {
		free(n);
		return r;
	}
	for (unsigned i = 0; i < 2 * pairs; i++)
		pair_of(n, i)->stats[i % 2] = queue_run_stats(n->run, i);
	*ret_dev = &n->dev;
	return 0;
}
