/* SPDX-License-Identifier: Apache-2.0 */
/* The device over a vhost-vdpa one. vDPA knows one DRIVER_OK for all queues, made ready before it
 * (virtio 1.2 §3.1.1), and no stopping of a single one. So what a round wants is reached whole:
 *
 *   halted ── status, features, memory, rings, DRIVER_OK ──► running ── SUSPEND, positions, 0 ──►
 * halted
 *
 * A queue that stops halts the device, and the others start again with the next round, where they
 * stood. A device that cannot be suspended does not say where that is: there it is the used ring's
 * index, which is right for what has been completed; a disk is given time to complete the rest, or
 * it would be done twice.
 *
 * VIRTIO_F_ACCESS_PLATFORM is between the device and us: we agree whenever it is offered, and map
 * every guest-physical address as itself, so that drivers need not know.
 *
 * The ioctls may wait for a process (VDUSE), so they have a thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "devices/count.h"
#include "devices/virtio/core.h"
#include "offload/vdpa_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define DRAIN_NS 5000000000ull /* how long a disk may complete what it has, when it is stopped */

/* ---- halting ---- */

static int set_status(struct vdpa_proxy *x, uint8_t status)
{
	return MIN(VHOST_CALL(&x->v->vhost, VHOST_VDPA_SET_STATUS, &status), 0);
}

static uint16_t index_at(const uint8_t *part)
{
	return __atomic_load_n((const uint16_t *)(part + 2), __ATOMIC_ACQUIRE);
}

static bool drained(const struct vdpa_proxy *x)
{
	for (unsigned i = 0; i < x->p.dev.nqueues; i++) {
		const struct vhost_ring *r = &x->p.ring[i];

		if (r->up && !(r->s.features & VIRTIO_BIT_RING_PACKED) &&
			index_at(r->avail) != index_at(r->used))
			return false;
	}
	return true;
}

static void drain(struct vdpa_proxy *x)
{
	uint64_t end = ev_now_ns() + DRAIN_NS;

	while (!drained(x) && ev_now_ns() < end)
		usleep(500);
	if (!drained(x))
		log_line(x->p.dev.host->log, LOG_WARN, x->p.dev.id,
			"stopped with requests in flight: they will be done again");
}

static void positions(struct vdpa_proxy *x, bool suspended)
{
	for (unsigned i = 0; i < x->p.dev.nqueues; i++) {
		struct vhost_ring *r = &x->p.ring[i];
		int ret;

		if (!r->up)
			continue;
		ret = suspended ? vhost_ring_base(r, &x->v->vhost, i) : -ENOTSUP;
		if (suspended && ret < 0)
			vhost_proxy_log(&x->p, ret, x->v->vhost.failed);
		if (ret < 0 && !(r->s.features & VIRTIO_BIT_RING_PACKED))
			vhost_ring_base_used(r);
	}
}

static void suspend(struct vdpa_proxy *x)
{
	int r = -ENOTSUP;

	if (vdpa_has(x->v, VHOST_BACKEND_F_SUSPEND)) {
		r = VHOST_CALL(&x->v->vhost, VHOST_VDPA_SUSPEND, NULL);
		if (r < 0)
			vhost_proxy_log(&x->p, r, x->v->vhost.failed);
	}
	if (r < 0 && x->v->type == VIRTIO_TYPE_BLOCK)
		drain(x);
	positions(x, r >= 0);
}

static void halt(struct vdpa_proxy *x, bool reset)
{
	int r;

	if (!reset)
		suspend(x); /* after a reset nobody asks where the rings stood */
	r = set_status(x, 0);
	if (r < 0)
		vhost_proxy_log(&x->p, r, x->v->vhost.failed);
	x->stale = !vdpa_has(x->v, VHOST_BACKEND_F_IOTLB_PERSIST);
	for (unsigned i = 0; i < x->p.dev.nqueues; i++) {
		if (x->p.ring[i].up)
			vhost_ring_quiet(&x->p.ring[i]);
		x->p.ring[i].up = false;
	}
	x->running = false;
}

/* ---- starting ---- */

static int map_again(struct vdpa_proxy *x)
{
	if (!x->stale)
		return 0;
	vdpa_unmap(x->v);
	int r = vdpa_map(x->v, x->p.dev.host->dma);
	x->stale = r < 0;
	return r;
}

static int negotiate(struct vdpa_proxy *x)
{
	uint64_t f = atomic_load(&x->p.features) | (x->v->device & VIRTIO_BIT_ACCESS_PLATFORM);
	uint8_t status = 0;
	int r = set_status(x, VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER);

	if (r == 0)
		r = MIN(VHOST_CALL(&x->v->vhost, VHOST_SET_FEATURES, &f), 0);
	if (r == 0)
		r = set_status(x, VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_FEATURES_OK);
	if (r == 0)
		r = MIN(VHOST_CALL(&x->v->vhost, VHOST_VDPA_GET_STATUS, &status), 0);
	if (r == 0 && !(status & VIRTIO_S_FEATURES_OK)) {
		x->v->vhost.failed = "FEATURES_OK refused";
		r = -ENOTSUP;
	}
	return r;
}

static int ring_up(struct vdpa_proxy *x, struct vhost_ring *r)
{
	/* Addresses as the device has them. */
	struct vhost_vring_addr a = {.desc_user_addr = r->s.desc,
		.avail_user_addr = r->s.avail,
		.used_user_addr = r->s.used};
	struct vhost_vring_state enable = {r->i, 1};
	int ret = vhost_ring_up(r, &x->v->vhost, r->i, &a, false);

	r->up = true; /* has eventfds to be closed, at least */
	return ret < 0 ? ret : VHOST_CALL(&x->v->vhost, VHOST_VDPA_SET_VRING_ENABLE, &enable);
}

static int set_up(struct vdpa_proxy *x)
{
	int r = negotiate(x);

	if (r >= 0)
		r = map_again(x);
	if (r >= 0)
		r = vdpa_config_watch(x);
	for (unsigned i = 0; i < x->p.dev.nqueues && r >= 0; i++)
		if (x->p.ring[i].want)
			r = ring_up(x, &x->p.ring[i]);
	if (r >= 0)
		r = set_status(x, VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_FEATURES_OK |
					  VIRTIO_S_DRIVER_OK);
	return r;
}

static void start(struct vdpa_proxy *x)
{
	int r = set_up(x);

	x->running = r >= 0;
	for (unsigned i = 0; i < x->p.dev.nqueues; i++) {
		struct vhost_ring *q = &x->p.ring[i];

		if (r < 0 && q->want)
			vhost_ring_fail(q, r);
		else if (q->up)
			eventfd_write(q->s.kick_fd, 1); /* what came before */
	}
	if (r < 0)
		halt(x, true);
	else
		vdpa_refresh(x);
}

static void settle(struct vhost_proxy *p, bool reset)
{
	struct vdpa_proxy *x = (struct vdpa_proxy *)p;
	bool change = false, any = false;

	for (unsigned i = 0; i < p->dev.nqueues; i++) {
		bool want = p->ring[i].want && !p->ring[i].failed;

		any |= want;
		change |= want != p->ring[i].up;
	}
	if (x->running && change)
		halt(x, reset);
	if (!x->running && any)
		start(x);
}

static const struct vhost_proxy_ops proxy_ops = {.settle = settle};

/* ---- what transports ask ---- */

static uint64_t vdpa_features(struct virtio_dev *d)
{
	return vdpa_of(d)->v->offers;
}

/* The driver reads config space next; while no driver runs nobody tells us of changes. */
static int vdpa_accept(struct virtio_dev *d, uint64_t features)
{
	atomic_store(&vdpa_of(d)->p.features, features);
	vdpa_refresh(vdpa_of(d));
	return 0;
}

static int vdpa_visit(struct virtio_dev *d, struct visitor *v)
{
	uint64_t features = atomic_load(&vdpa_of(d)->p.features);
	uint32_t version = 1;

	visit_begin(v, "vdpa", &version);
	visit_u64(v, "features", &features);
	visit_end(v);
	if (visit_mode(v) == VISIT_LOAD && !visit_status(v))
		return vdpa_accept(d, features);
	return visit_status(v);
}

static unsigned vdpa_achieved(struct virtio_dev *d, struct dev_achieved *ret, unsigned max)
{
	unsigned n = 0;

	achieved_add(ret, max, &n, "offload", "%.40s", vdpa_of(d)->v->path);
	return n;
}

/* ---- life ---- */

/* The last that the thread does: afterwards the device has no memory of the guest's. */
static void handle_end(struct ev_msg *m)
{
	struct vdpa_proxy *x = container_of(m, struct vdpa_proxy, end);

	ev_del(&x->changed);
	set_status(x, 0);
	vdpa_unmap(x->v);
}

static void vdpa_free(struct virtio_dev *d)
{
	struct vdpa_proxy *x = vdpa_of(d);

	vhost_proxy_wait(&x->p);
	ev_post(x->p.loop, &x->end);
	ev_thread_free(x->thread);
	vdpa_config_wait(x);
	guest_mem_unpin(d->host->dma);
	close(x->changed.fd);
	vhost_proxy_fini(&x->p);
	free(x);
}

static const struct virtio_dev_ops vdpa_ops = {
	.features = vdpa_features,
	.accept = vdpa_accept,
	.config_read = vdpa_config_read,
	.config_write = vdpa_config_write,
	.queue_start = vhost_proxy_queue_start,
	.started = vhost_proxy_started,
	.queue_stop = vhost_proxy_queue_stop,
	.reset = vhost_proxy_reset,
	.visit = vdpa_visit,
	.achieved = vdpa_achieved,
	.free = vdpa_free,
};

/* Maps the guest's memory now: what does not fit is known before the guest runs. */
static int take_memory(struct vdpa_proxy *x, struct dev_host *h)
{
	const char *why;
	int r;

	for (unsigned i = 0; i < h->dma->n; i++)
		if (h->dma->region[i].fd < 0)
			return -ENOTSUP;
	r = guest_mem_pin(h->dma, "vDPA", &why);
	if (r < 0)
		return r;
	r = vdpa_map(x->v, h->dma);
	if (r < 0) {
		vhost_proxy_log(&x->p, r, x->v->vhost.failed);
		guest_mem_unpin(h->dma);
	}
	return r;
}

static void describe(struct vdpa_proxy *x, struct dev_host *h, const char *id)
{
	x->p.dev = (struct virtio_dev){.ops = &vdpa_ops,
		.type = x->v->type,
		.nqueues = x->v->queues,
		.config_len = x->v->config_len,
		.host = h};
	snprintf(x->p.dev.id, sizeof(x->p.dev.id), "%s", id);
	for (unsigned i = 0; i < x->v->queues; i++)
		x->p.dev.queue_max[i] = x->v->queue_size;
	x->end.handle = handle_end;
}

static int begin(struct vdpa_proxy *x, struct dev_host *h)
{
	int r = vdpa_config_init(x);

	if (r < 0)
		return r;
	r = take_memory(x, h);
	if (r < 0)
		close(x->changed.fd);
	return r;
}

int vdpa_proxy_new(struct dev_host *h, const char *id, struct vdpa *v, struct virtio_dev **ret_dev)
{
	struct vdpa_proxy *x = calloc(1, sizeof(*x));
	char name[16];
	int r;

	if (!x)
		return -ENOMEM;
	x->v = v;
	describe(x, h, id);
	snprintf(name, sizeof(name), "%.15s", id);
	r = ev_thread_new(name, &x->thread);
	if (r < 0) {
		free(x);
		return r;
	}
	vhost_proxy_init(&x->p, &proxy_ops, &v->vhost, ev_thread_loop(x->thread));
	r = begin(x, h);
	if (r < 0) {
		ev_thread_free(x->thread);
		vhost_proxy_fini(&x->p);
		free(x);
		return r;
	}
	vdpa_refresh(x);
	*ret_dev = &x->p.dev;
	return 0;
}
