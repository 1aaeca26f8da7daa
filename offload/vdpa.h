/* SPDX-License-Identifier: Apache-2.0 */
/* A device of any type behind /dev/vhost-vdpa-N: hardware that speaks virtio, or a process behind
 * VDUSE. Of the proxy's shape: struct vdpa is the peer, owned by the host's resources; the device
 * over it maps the guest's memory for it and hands it the rings. The device may own its control
 * queue; type, queues, features and config space are its own. */
#ifndef OFFLOAD_VDPA_H
#define OFFLOAD_VDPA_H

#include "devices/virtio/virtio.h"
#include "vmm/base/err.h"

struct vdpa;

struct vdpa_opts {
	const char *path; /* of the character device; or */
	int fd;		  /* taken on success; -1 */
	uint64_t may;	  /* features let through, 0 = all that we know to be harmless */
	const char *flag, *id;
};

int vdpa_open(const struct vdpa_opts *o, struct vdpa **ret_vdpa, struct err *e);
void vdpa_close(struct vdpa *v); /* its device is freed; NULL is fine */
enum virtio_type vdpa_type(const struct vdpa *v);
int vdpa_proxy_new(struct dev_host *h, const char *id, struct vdpa *v, struct virtio_dev **ret_dev);

#endif
