/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/vdpa.h"

#include <errno.h>
#include <stdlib.h>
#include "offload/vhost_proxy.h"

struct vdpa {
	struct vhost vhost;
	enum virtio_type type;
};

int vdpa_open(const struct vdpa_opts *o, struct vdpa **ret_vdpa, struct err *e)
{
	(void)ret_vdpa;
	return err_set(e, ERR_UNOFFERED, -ENODEV, "%s %s: no vDPA here", o->flag, o->id);
}

void vdpa_close(struct vdpa *v)
{
	free(v);
}

enum virtio_type vdpa_type(const struct vdpa *v)
{
	return v->type;
}

int vdpa_proxy_new(struct dev_host *h, const char *id, struct vdpa *v, struct virtio_dev **ret_dev)
{
	(void)h, (void)id, (void)v, (void)ret_dev;
	return -ENODEV;
}
