/* SPDX-License-Identifier: Apache-2.0 */
/* A network device whose rings the host's kernel serves: vhost-net between the guest and a tap. Of
 * the proxy's shape: struct vhost_net is the peer, owned by the host's resources, so that a reboot
 * keeps it; the device over it tells it by ioctl where the rings are. The kernel answers at once
 * and does not die, so there is nothing to await and no reconnecting. */
#ifndef OFFLOAD_VHOST_KERNEL_H
#define OFFLOAD_VHOST_KERNEL_H

#include "devices/virtio/virtio.h"
#include "vmm/base/err.h"

struct vhost_net;

struct vhost_net_opts {
	const char *tap;    /* name, or NULL: the kernel picks one; or */
	const int *tap_fd;  /* `pairs` descriptors of one tap, taken on success; NULL */
	const char *device; /* NULL = /dev/vhost-net */
	unsigned pairs;	    /* 0 = 1 */
	uint8_t mac[6];
	uint16_t mtu, queue_size; /* 0 = not offered; 0 = 256 */
	const char *flag, *id;	  /* for messages: "--net", "_net0" */
};

/* e says what is missing: /dev/vhost-net (no module, no permission), the tap, a feature. */
int vhost_net_open(const struct vhost_net_opts *o, struct vhost_net **ret_net, struct err *e);
void vhost_net_close(struct vhost_net *v); /* its device is freed; NULL is fine */
int vhost_net_new(
	struct dev_host *h, const char *id, struct vhost_net *v, struct virtio_dev **ret_dev);

#endif
