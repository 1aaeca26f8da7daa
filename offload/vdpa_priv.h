/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of vDPA: vdpa.c is the open device and its memory map, vdpa_proxy.c the virtio device. */
#ifndef OFFLOAD_VDPA_PRIV_H
#define OFFLOAD_VDPA_PRIV_H

#include "offload/vdpa.h"
#include "offload/vhost_sys.h"

#define VDPA_CONFIG_MAX 256 /* bytes of config space */

struct vdpa {
	struct vhost vhost;
	char *path;
	enum virtio_type type;
	unsigned queues;
	uint16_t queue_size;
	uint64_t device;  /* features that the device offers */
	uint64_t offers;  /* those of them that a driver may have */
	uint64_t backend; /* VHOST_BACKEND_F_*, agreed */
	uint64_t iova_first, iova_last;
	uint32_t config_len;
	const struct guest_mem *mapped; /* NULL = nothing */
};

bool vdpa_has(const struct vdpa *v, unsigned backend_feature);

/* Config space as it is now, config_len bytes. 0 or a negative errno. Any thread. */
int vdpa_config_get(struct vdpa *v, uint8_t ret[VDPA_CONFIG_MAX]);
int vdpa_config_set(struct vdpa *v, uint32_t off, const void *buf, uint32_t len);

/* Maps all of m for the device, each byte at its guest-physical address; nothing is left mapped on
 * error. m stays as it is until it is unmapped. */
int vdpa_map(struct vdpa *v, const struct guest_mem *m);
void vdpa_unmap(struct vdpa *v);

#endif
