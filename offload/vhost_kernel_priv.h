/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of vhost-net: vhost_kernel.c is the peer, that is the kernel's descriptors and the tap's,
 * vhost_net.c the virtio device over it. */
#ifndef OFFLOAD_VHOST_KERNEL_PRIV_H
#define OFFLOAD_VHOST_KERNEL_PRIV_H

#include <linux/virtio_net.h>
#include <net/if.h>
#include "offload/vhost_kernel.h"
#include "offload/vhost_sys.h"

#define VHOST_NET_PAIRS ((VIRTIO_QUEUES - 1) / 2)

struct vhost_net {
	struct vhost pair[VHOST_NET_PAIRS];
	int tap[VHOST_NET_PAIRS];
	unsigned pairs, in_use; /* the tap gives frames to so many */
	char tap_name[IFNAMSIZ];
	uint64_t kernel; /* features of the kernel's half */
	struct virtio_net_config config;
	_Atomic bool gone; /* the tap was deleted */
	uint16_t queue_size;
	char *path;
};

/* The tap hands frames to the first n pairs only. 0 or a negative errno. Control. */
int vhost_net_use_pairs(struct vhost_net *v, unsigned n);

#endif
