/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of vDPA: vdpa.c is the open device and its memory map, vdpa_proxy.c the virtio device over
 * it, vdpa_config.c that one's config space. */
#ifndef OFFLOAD_VDPA_PRIV_H
#define OFFLOAD_VDPA_PRIV_H

#include "offload/vdpa.h"
#include "offload/vhost_proxy.h"
#include "offload/vhost_sys.h"

/* Newer than Debian 12's headers. */
#ifndef VHOST_BACKEND_F_IOTLB_PERSIST
#define VHOST_BACKEND_F_IOTLB_PERSIST 0x8
#endif

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

struct vdpa_proxy {
	struct vhost_proxy p; /* first */
	struct vdpa *v;	      /* borrowed */
	struct ev_thread *thread;

	/* The thread's. */
	bool running;
	bool stale;	      /* a reset may have taken the memory map away */
	struct ev_fd changed; /* config interrupts */
	struct ev_msg write, end;

	/* Under p.lock. */
	uint8_t config[VDPA_CONFIG_MAX];
	uint32_t from, to; /* written by the driver and not told */
	bool writing;	   /* `write` is posted */
	bool telling, needs_reset;
	struct ev_msg tell; /* control: config space has changed */
};

static inline struct vdpa_proxy *vdpa_of(struct virtio_dev *d)
{
	return (struct vdpa_proxy *)d;
}

/* vdpa_config.c: the copy that drivers read, and what they write. */
void vdpa_refresh(struct vdpa_proxy *x); /* any thread */
void vdpa_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len);
void vdpa_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len);
int vdpa_config_init(struct vdpa_proxy *x);  /* makes the eventfd x->changed.fd */
int vdpa_config_watch(struct vdpa_proxy *x); /* the thread: asks for config interrupts */
void vdpa_config_wait(struct vdpa_proxy *x); /* control, the thread has ended: for what is posted */

#endif
