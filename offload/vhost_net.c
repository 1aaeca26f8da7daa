/* SPDX-License-Identifier: Apache-2.0 */
/* One descriptor of /dev/vhost-net serves one pair of queues, between their rings and one
 * descriptor of the tap. The kernel's worker does the rest: no frame passes this process. What it
 * leaves to us is the device's face: config space, offloads (which are the tap's), and the control
 * queue, which says how many pairs are in use.
 *
 * A ring runs from VHOST_NET_SET_BACKEND with the tap to the same with -1; in between nothing else
 * may change. All is said on control's loop: the kernel answers at once. */
#include <errno.h>
#include <linux/if_tun.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include "devices/count.h"
#include "devices/virtio/net_ctrl.h"
#include "devices/virtio/virtq.h"
#include "offload/vhost_kernel_priv.h"
#include "offload/vhost_proxy.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define BIT(b) (UINT64_C(1) << (b))

struct net_proxy {
	struct vhost_proxy p; /* first */
	struct vhost_net *v;  /* borrowed */
	bool announced;	      /* features and memory, since the last reset */
	struct ev_fd tap;     /* only errors: it was deleted */
	/* The control queue, which we serve ourselves. */
	struct virtq ctrl;
	struct ev_fd ctrl_kick;
	struct virtq_chain chain;
};

static struct net_proxy *net_of(struct virtio_dev *d)
{
	return (struct net_proxy *)d;
}

/* ---- rings ---- */

static bool has(struct net_proxy *n, unsigned bit)
{
	return atomic_load(&n->p.features) & BIT(bit);
}

/* virtio 1.2 §5.1.2: behind the last pair there may be, or, without multi-queue, behind the one. */
static unsigned ctrl_index(struct net_proxy *n)
{
	return has(n, VIRTIO_NET_F_MQ) ? 2 * n->v->pairs : 2;
}

static int share(struct net_proxy *n, struct vhost *v)
{
	union {
		struct vhost_memory m;
		uint8_t room[sizeof(struct vhost_memory) +
			     GUEST_MEM_REGIONS * sizeof(struct vhost_memory_region)];
	} u = {.m = {.nregions = n->p.dev.host->dma->n}};

	for (unsigned i = 0; i < u.m.nregions; i++) {
		const struct mem_region *r = &n->p.dev.host->dma->region[i];

		u.m.regions[i] = (struct vhost_memory_region){.guest_phys_addr = r->gpa,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)r->host};
	}
	return VHOST_CALL(v, VHOST_SET_MEM_TABLE, &u.m);
}

/* The kernel is told of the features it knows; the others are the tap's and ours. */
static int announce(struct net_proxy *n)
{
	uint64_t features = atomic_load(&n->p.features) & n->v->kernel;
	int r = 0;

	for (unsigned i = 0; i < n->v->pairs && r >= 0 && !n->announced; i++) {
		n->p.vhost = &n->v->pair[i];
		r = VHOST_CALL(n->p.vhost, VHOST_SET_FEATURES, &features);
		if (r >= 0)
			r = share(n, n->p.vhost);
	}
	n->announced = r >= 0;
	return MIN(r, 0);
}

static int set_backend(struct net_proxy *n, unsigned i, bool on)
{
	struct vhost_vring_file f = {i % 2, on ? n->v->tap[i / 2] : -1};

	return VHOST_CALL(&n->v->pair[i / 2], VHOST_NET_SET_BACKEND, &f);
}

static int data_up(struct net_proxy *n, struct vhost_ring *r)
{
	struct vhost_vring_addr a = {.desc_user_addr = (uintptr_t)r->desc,
		.avail_user_addr = (uintptr_t)r->avail,
		.used_user_addr = (uintptr_t)r->used,
		.log_guest_addr = r->s.used};
	int ret = announce(n);

	if (ret < 0)
		return ret;
	n->p.vhost = &n->v->pair[r->i / 2];
	ret = vhost_ring_up(r, n->p.vhost, r->i % 2, &a, true);
	return ret < 0 ? ret : set_backend(n, r->i, true);
}

static void data_down(struct net_proxy *n, struct vhost_ring *r)
{
	struct vhost *v = &n->v->pair[r->i / 2];
	int ret = set_backend(n, r->i, false);

	if (ret >= 0)
		ret = vhost_ring_base(r, v, r->i % 2);
	if (ret < 0)
		vhost_proxy_log(&n->p, ret, v->failed);
}

/* ---- the control queue ---- */

static int on_pairs(void *arg, unsigned pairs)
{
	return vhost_net_use_pairs(((struct net_proxy *)arg)->v, pairs);
}

static void serve_ctrl(struct net_proxy *n)
{
	static const struct net_ctrl_ops ops = {.pairs = on_pairs};
	struct virtio_dev *d = &n->p.dev;
	unsigned max = has(n, VIRTIO_NET_F_MQ) ? n->v->pairs : 0, budget = n->ctrl.size;
	int r;

	do {
		virtq_disable_kick(&n->ctrl);
		for (r = 1; budget && (r = virtq_pop(&n->ctrl, &n->chain)) > 0; budget--)
			virtq_push(&n->ctrl, &n->chain, net_ctrl_answer(&n->chain, max, &ops, n));
		virtq_flush(&n->ctrl);
	} while (r == 0 && virtq_enable_kick(&n->ctrl));
	if (r < 0)
		d->events->broken(d->transport, ctrl_index(n));
	else if (r > 0) /* the loop has others to serve, too */
		eventfd_write(n->ctrl_kick.fd, 1);
}

static void ctrl_kicked(struct ev_fd *w, uint32_t events)
{
	struct net_proxy *n = container_of(w, struct net_proxy, ctrl_kick);
	eventfd_t count;

	if (eventfd_read(w->fd, &count) == 0 && !n->ctrl.broken)
		serve_ctrl(n);
}

static int ctrl_up(struct net_proxy *n, struct vhost_ring *r)
{
	struct virtq_setup s = r->s;
	int ret;

	s.pos = &r->pos;
	n->p.vhost = &n->v->pair[0];
	n->p.vhost->failed = "the control queue";
	ret = virtq_init(&n->ctrl, n->p.dev.host->dma, &s);
	n->ctrl_kick = (struct ev_fd){.fd = s.kick_fd, .ready = ctrl_kicked};
	if (ret == 0)
		ret = ev_add(n->p.loop, &n->ctrl_kick, EPOLLIN);
	if (ret == 0)
		serve_ctrl(n);
	return ret;
}

static void ctrl_down(struct net_proxy *n, struct vhost_ring *r)
{
	ev_del(&n->ctrl_kick);
	virtq_pos_get(&n->ctrl, &r->pos);
}

/* ---- rounds ---- */

static void up(struct net_proxy *n, struct vhost_ring *r)
{
	bool ctrl = r->i == ctrl_index(n);
	int ret = ctrl ? ctrl_up(n, r) : r->i < 2 * n->v->pairs ? data_up(n, r) : -EINVAL;

	if (ret < 0)
		vhost_ring_fail(r, ret);
	r->up = ret >= 0;
	if (ret < 0)
		vhost_ring_quiet(r);
}

static void down(struct net_proxy *n, struct vhost_ring *r)
{
	if (r->i == ctrl_index(n))
		ctrl_down(n, r);
	else
		data_down(n, r);
	vhost_ring_quiet(r);
	r->up = false;
}

static void settle(struct vhost_proxy *p, bool reset)
{
	struct net_proxy *n = (struct net_proxy *)p;

	for (unsigned i = 0; i < p->dev.nqueues; i++) {
		struct vhost_ring *r = &p->ring[i];

		if (r->up && !r->want)
			down(n, r);
		else if (!r->up && r->want && !r->failed)
			up(n, r);
	}
	if (!reset)
		return;
	n->announced = false; /* a new driver agrees to features of its own */
	vhost_net_use_pairs(n->v, 1);
}

static const struct vhost_proxy_ops proxy_ops = {.settle = settle};

/* ---- what transports ask ---- */

/* virtio 1.2 §5.1.3.1: what each needs, and what the tap is told of it. */
static const struct {
	uint8_t bit, needs;
	unsigned tun;
} offload[] = {
	{VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM},
	{VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM, TUN_F_TSO4},
	{VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM, TUN_F_TSO6},
	{VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_CSUM, 0},
	{VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CSUM, 0},
	{VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM, 0},
	{VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM, 0},
	{VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_CSUM, 0},
};

static uint64_t net_features(struct virtio_dev *d)
{
	const struct vhost_net *v = net_of(d)->v;
	uint64_t f = v->kernel &
		     (VIRTIO_RING_FEATURES | VIRTIO_BIT_IN_ORDER | BIT(VIRTIO_NET_F_MRG_RXBUF));

	f |= BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS);
	if (v->config.mtu)
		f |= BIT(VIRTIO_NET_F_MTU);
	if (v->pairs > 1)
		f |= BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ);
	for (unsigned i = 0; i < ARRAY_SIZE(offload); i++)
		f |= BIT(offload[i].bit);
	return f;
}

static int net_accept(struct virtio_dev *d, uint64_t features)
{
	struct net_proxy *n = net_of(d);
	uintptr_t tun = 0;

	if (features & BIT(VIRTIO_NET_F_MQ) && !(features & BIT(VIRTIO_NET_F_CTRL_VQ)))
		return -EINVAL;
	for (unsigned i = 0; i < ARRAY_SIZE(offload); i++) {
		if (!(features & BIT(offload[i].bit)))
			continue;
		if (!(features & BIT(offload[i].needs)))
			return -EINVAL;
		tun |= offload[i].tun;
	}
	if (features & BIT(VIRTIO_NET_F_GUEST_ECN) && tun & (TUN_F_TSO4 | TUN_F_TSO6))
		tun |= TUN_F_TSO_ECN;
	atomic_store(&n->p.features, features);
	return MIN(vhost_sys_ioctl(n->v->tap[0], TUNSETOFFLOAD, (void *)tun), 0);
}

static void net_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_net_config c = net_of(d)->v->config;

	if (atomic_load(&net_of(d)->v->gone))
		c.status = 0; /* virtio 1.2 §5.1.4: no VIRTIO_NET_S_LINK_UP */
	memcpy(buf, (uint8_t *)&c + off, len);
}

static void tap_error(struct ev_fd *w, uint32_t events)
{
	struct net_proxy *n = container_of(w, struct net_proxy, tap);
	struct virtio_dev *d = &n->p.dev;

	ev_del(w);
	atomic_store(&n->v->gone, true);
	log_line(d->host->log, LOG_WARN, d->id, "tap %s was deleted: the link is down",
		n->v->tap_name);
	d->events->config_changed(d->transport);
}

static int net_queue_start(struct virtio_dev *d, unsigned i, const struct virtq_setup *s)
{
	int r = vhost_proxy_queue_start(d, i, s);

	if (r == 0)
		vhost_proxy_started(d); /* pairs start one by one */
	return r;
}

static int net_visit(struct virtio_dev *d, struct visitor *v)
{
	uint64_t features = atomic_load(&net_of(d)->p.features);
	uint32_t version = 1;

	visit_begin(v, "vhost-net", &version);
	visit_u64(v, "features", &features);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD && !visit_status(v))
		return net_accept(d, features);
	return visit_status(v);
}

/* No frame passes here: the tap has counted them, from the host's side. */
static uint64_t tap_count(const struct vhost_net *v, const char *what)
{
	char path[96];
	unsigned long long n = 0;

	snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s", v->tap_name, what);
	cleanup_file FILE *f = fopen(path, "re");
	return f && fscanf(f, "%llu", &n) == 1 ? n : 0;
}

static unsigned net_counters(struct virtio_dev *d, struct dev_counter *ret, unsigned max)
{
	const struct vhost_net *v = net_of(d)->v;
	const struct dev_counter all[] = {
		{"rx_bytes", tap_count(v, "tx_bytes")},
		{"rx_frames", tap_count(v, "tx_packets")},
		{"rx_dropped", tap_count(v, "tx_dropped")},
		{"tx_bytes", tap_count(v, "rx_bytes")},
		{"tx_frames", tap_count(v, "rx_packets")},
		{"tx_dropped", tap_count(v, "rx_dropped")},
	};

	return counters_copy(all, ARRAY_SIZE(all), ret, max);
}

static unsigned net_achieved(struct virtio_dev *d, struct dev_achieved *ret, unsigned max)
{
	unsigned n = 0;

	achieved_add(ret, max, &n, "offload", "the host's kernel, %u of %u pairs in use",
		net_of(d)->v->in_use, net_of(d)->v->pairs);
	return n;
}

static void net_free(struct virtio_dev *d)
{
	vhost_proxy_wait(vhost_proxy_of(d));
	ev_del(&net_of(d)->tap);
	vhost_proxy_fini(vhost_proxy_of(d));
	free(d);
}

static const struct virtio_dev_ops net_ops = {
	.features = net_features,
	.accept = net_accept,
	.config_read = net_config_read,
	.queue_start = net_queue_start,
	.queue_stop = vhost_proxy_queue_stop,
	.reset = vhost_proxy_reset,
	.visit = net_visit,
	.counters = net_counters,
	.achieved = net_achieved,
	.free = net_free,
};

int vhost_net_new(
	struct dev_host *h, const char *id, struct vhost_net *v, struct virtio_dev **ret_dev)
{
	struct net_proxy *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->v = v;
	n->p.dev = (struct virtio_dev){.ops = &net_ops,
		.type = VIRTIO_TYPE_NET,
		.nqueues = v->pairs > 1 ? 2 * v->pairs + 1 : 2,
		.config_len = offsetof(struct virtio_net_config, speed),
		.host = h};
	snprintf(n->p.dev.id, sizeof(n->p.dev.id), "%s", id);
	for (unsigned i = 0; i < n->p.dev.nqueues; i++)
		n->p.dev.queue_max[i] = v->queue_size;
	n->tap = (struct ev_fd){.fd = v->tap[0], .ready = tap_error};
	r = ev_add(h->control, &n->tap, 0);
	if (r < 0) {
		free(n);
		return r;
	}
	vhost_proxy_init(&n->p, &proxy_ops, &v->pair[0], h->control);
	*ret_dev = &n->p.dev;
	return 0;
}
