/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "devices/backend/netdev.h"
#include "offload/vhost_kernel_priv.h"
#include "vmm/base/cleanup.h"

#define DEVICE	   "/dev/vhost-net"
#define QUEUE_SIZE 256

int vhost_net_use_pairs(struct vhost_net *v, unsigned n)
{
	for (unsigned i = 1; i < v->pairs; i++) {
		struct ifreq req = {.ifr_flags = i < n ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};
		int r;

		if ((i < n) == (i < v->in_use))
			continue;
		r = vhost_sys_ioctl(v->tap[i], TUNSETQUEUE, &req);
		if (r < 0)
			return r;
	}
	v->in_use = n;
	return 0;
}

static int open_pair(struct vhost_net *v, unsigned i, const struct vhost_net_opts *o, struct err *e)
{
	uint64_t features = 0;
	int r = vhost_open(&v->pair[i], v->path, "vhost_net", o->flag, o->id, e);

	if (r < 0)
		return r;
	r = VHOST_CALL(&v->pair[i], VHOST_GET_FEATURES, &features);
	if (r < 0)
		return vhost_failed(&v->pair[i], r, v->path, o->flag, o->id, e);
	if (!(features & VIRTIO_BIT_VERSION_1))
		return err_set(e, ERR_HOST, -ENOTSUP,
			"%s %s: %s lacks the feature VIRTIO_F_VERSION_1", o->flag, o->id, v->path);
	v->kernel = i ? v->kernel & features : features;
	return 0;
}

/* Given descriptors are taken only when nothing can fail any more. */
static int open_tap(struct vhost_net *v, const struct vhost_net_opts *o, struct err *e)
{
	struct ifreq req = {0};
	int r = 0, first;

	if (!o->tap_fd)
		r = netdev_tap_fds(o->tap, v->pairs, o->flag, o->id, v->tap, e);
	for (unsigned i = 0; o->tap_fd && i < v->pairs && r == 0; i++)
		r = netdev_tap_check(o->tap_fd[i], o->flag, o->id, e);
	if (r < 0)
		return r;
	first = o->tap_fd ? o->tap_fd[0] : v->tap[0];
	if (vhost_sys_ioctl(first, TUNGETIFF, &req) == 0)
		memcpy(v->tap_name, req.ifr_name, sizeof(v->tap_name) - 1);
	if (o->tap_fd)
		memcpy(v->tap, o->tap_fd, v->pairs * sizeof(v->tap[0]));
	return 0;
}

static int open_all(struct vhost_net *v, const struct vhost_net_opts *o, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < v->pairs && r == 0; i++)
		r = open_pair(v, i, o, e);
	if (r == 0)
		r = open_tap(v, o, e);
	if (r < 0)
		return r;
	v->in_use = v->pairs;
	r = vhost_net_use_pairs(v, 1);
	if (r < 0)
		err_set(e, ERR_HOST, r, "%s %s: tap %s: TUNSETQUEUE: %s", o->flag, o->id,
			v->tap_name, strerrordesc_np(-r));
	for (unsigned i = 0; r < 0 && o->tap_fd && i < v->pairs; i++)
		v->tap[i] = -1;
	return r;
}

int vhost_net_open(const struct vhost_net_opts *o, struct vhost_net **ret_net, struct err *e)
{
	unsigned pairs = o->pairs ? o->pairs : 1;
	struct vhost_net *v;
	int r;

	if (pairs > VHOST_NET_PAIRS)
		return err_set(e, ERR_USAGE, -EINVAL, "%s %s: %u pairs of queues; allowed: 1..%u",
			o->flag, o->id, pairs, VHOST_NET_PAIRS);
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (unsigned i = 0; i < VHOST_NET_PAIRS; i++)
		v->pair[i].fd = v->tap[i] = -1;
	v->pairs = pairs;
	v->queue_size = o->queue_size ? o->queue_size : QUEUE_SIZE;
	v->config = (struct virtio_net_config){.status = VIRTIO_NET_S_LINK_UP,
		.max_virtqueue_pairs = (uint16_t)pairs,
		.mtu = o->mtu};
	memcpy(v->config.mac, o->mac, sizeof(o->mac));
	v->path = strdup(o->device ? o->device : DEVICE);
	r = v->path ? open_all(v, o, e) : -ENOMEM;
	if (r < 0) {
		vhost_net_close(v);
		return r;
	}
	*ret_net = v;
	return 0;
}

void vhost_net_close(struct vhost_net *v)
{
	if (!v)
		return;
	/* The kernel's half first: it holds the tap. */
	for (unsigned i = 0; i < VHOST_NET_PAIRS; i++)
		cleanup_closep(&v->pair[i].fd);
	for (unsigned i = 0; i < VHOST_NET_PAIRS; i++)
		cleanup_closep(&v->tap[i]);
	free(v->path);
	free(v);
}
