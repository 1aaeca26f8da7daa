/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user, the third virtio transport: drives the same struct virtio_dev that virtio-mmio and
 * virtio-pci drive, by messages of a front-end. One listening socket, one front-end at a time; when
 * it leaves, everything of it is given back and the socket listens again.
 *
 *   listening ──connect──► connected ──features, memory, vrings──► rings run
 *       ▲                      │ peer gone, or broke a rule: queues stop, memory unmapped │
 *       └──────────────────────┴─────────────────────────────────────────────────────────┘ */
#ifndef OFFLOAD_VU_DEVICE_H
#define OFFLOAD_VU_DEVICE_H

#include "devices/virtio/virtio.h"
#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

struct vu_device;

struct vu_device_opts {
	const char *id;
	const char *socket; /* path to listen on, or "fd=N" listening */
	struct log *log;
	bool allow_unsealed;
	/* Makes the device; its back-end is the caller's. Called once. */
	int (*make)(struct dev_host *h, const char *id, void *arg, struct virtio_dev **ret_dev);
	void *arg;
};

/* Loop thread. e names --socket. */
int vu_device_new(struct ev_loop *loop, const struct vu_device_opts *o,
	struct vu_device **ret_device, struct err *e);
/* Stops the queues (pumping the loop), unlinks the socket, frees the device. Not in a handler. */
void vu_device_free(struct vu_device *d);
/* Config space changed (a resize): tells the front-end over its back-end channel. Loop thread. */
void vu_device_config_changed(struct vu_device *d);

struct vu_device_status {
	bool connected;
	bool broken;	       /* the driver broke a ring, and has not reset the device since */
	uint64_t connections;  /* since the start */
	uint64_t connected_ns; /* since when, CLOCK_MONOTONIC */
	uint64_t features;     /* acknowledged, VIRTIO_F_* and the device's own */
	uint64_t protocol;     /* likewise, VHOST_USER_PROTOCOL_F_* */
	unsigned regions;      /* of the front-end's memory that are mapped */
	uint64_t memory;       /* bytes of them */
	unsigned running;      /* queues */
	struct {
		bool running, enabled;
		uint16_t size; /* 0 until the front-end has set it */
	} queue[VIRTIO_QUEUES];
};
/* Loop thread. */
void vu_device_status(const struct vu_device *d, struct vu_device_status *ret);
struct virtio_dev *vu_device_virtio(struct vu_device *d);

#endif
