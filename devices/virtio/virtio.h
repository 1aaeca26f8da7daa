/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device, as every transport sees it: virtio-mmio, virtio-pci and (in the offload process)
 * vhost-user drive the same object through virtio_dev_ops.
 *
 *            features, accept                 queue_start(i) … per queue
 *   reset ──────────────────► negotiated ──────────────────────────────► running
 *     ▲                                        queue_stop(i) … posted      │
 *     └───────────────────────── reset, posted ◄───────────────────────────┘
 *
 * There is no single "activate": vhost-user and VIRTIO_BIT_RING_RESET think per queue. Stop and
 * reset only begin; their end is posted to the control loop through virtio_events. */
#ifndef DEVICES_VIRTIO_VIRTIO_H
#define DEVICES_VIRTIO_VIRTIO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "devices/device.h"

#define VIRTIO_QUEUES	 17   /* queues a device may have: 8 pairs and a control queue */
#define VIRTIO_QUEUE_MAX 1024 /* largest ring we offer */

/* virtio 1.2 §5 */
enum virtio_type {
	VIRTIO_TYPE_NET = 1,
	VIRTIO_TYPE_BLOCK = 2,
	VIRTIO_TYPE_CONSOLE = 3,
	VIRTIO_TYPE_RNG = 4,
	VIRTIO_TYPE_INPUT = 18,
	VIRTIO_TYPE_VSOCK = 19,
};

/* virtio 1.2 §6: the bits that transports and rings understand, as masks (the kernel's VIRTIO_F_*
 * are bit numbers). */
#define VIRTIO_BIT_INDIRECT_DESC   (UINT64_C(1) << 28)
#define VIRTIO_BIT_EVENT_IDX	   (UINT64_C(1) << 29)
#define VIRTIO_BIT_VERSION_1	   (UINT64_C(1) << 32)
#define VIRTIO_BIT_ACCESS_PLATFORM (UINT64_C(1) << 33)
#define VIRTIO_BIT_RING_PACKED	   (UINT64_C(1) << 34)
#define VIRTIO_BIT_IN_ORDER	   (UINT64_C(1) << 35)
#define VIRTIO_BIT_RING_RESET	   (UINT64_C(1) << 40)
/* What virtq.h understands: devices that run their own queues offer all of it. */
#define VIRTIO_RING_FEATURES                                                                       \
	(VIRTIO_BIT_INDIRECT_DESC | VIRTIO_BIT_EVENT_IDX | VIRTIO_BIT_RING_PACKED)

/* How a queue tells the driver: a line, and for transports with an interrupt status register its
 * bits, set before the line is raised (virtio 1.2 §4.1.4.5, §4.2.2). */
struct virtio_signal {
	struct irq_line *line;	  /* NULL: the driver wants no interrupt (VIRTIO_MSI_NO_VECTOR) */
	_Atomic uint32_t *status; /* NULL with MSI-X */
	/* Instead of line, where the transport must see each one (INTx, which it can disable). */
	void (*raise)(void *arg);
	void *arg;
};
#define VIRTIO_ISR_QUEUE  1
#define VIRTIO_ISR_CONFIG 2
void virtio_signal_raise(const struct virtio_signal *s, uint32_t status_bits); /* any thread */

/* Where a ring stands while nobody works on it. `popped` is the ordered set of heads taken but not
 * yet published; draining keeps it empty for in-process devices. */
struct virtq_pos {
	uint16_t avail, used;
	bool avail_wrap, used_wrap; /* packed rings */
	uint16_t npopped;
	uint16_t popped[VIRTIO_QUEUE_MAX];
};
/* A ring that nobody has worked on; wrap counters begin at 1 (virtio 1.2 §2.8.1). */
#define VIRTQ_POS_FRESH ((struct virtq_pos){.avail_wrap = true, .used_wrap = true})

/* Everything a queue needs to run; plain values plus borrowed fds. */
struct virtq_setup {
	uint16_t size;
	uint64_t desc, avail, used; /* guest-physical; packed: ring, driver area, device area */
	uint64_t features;	    /* negotiated */
	int kick_fd;		    /* eventfd, borrowed: readable = the driver kicked */
	struct virtio_signal signal;
	const struct virtq_pos *pos; /* NULL = fresh ring */
	/* Net, behind vhost-user ("Ring states"): what the driver sends is taken and thrown away,
	 * nothing is given to it, until the ring is started without this. */
	bool disabled;
	/* Where the ring keeps what it has popped and not yet published, for whoever replaces a
	 * killed process: vhost-user's inflight area of this queue, inflight_len bytes. Borrowed
	 * until stopped; NULL = not kept, and then only completing in order makes a kill safe. */
	void *inflight;
	uint32_t inflight_len;
	/* In a dirty log, the used ring's place as well as its own; guest-physical, 0 = no other.
	 * Split rings. */
	uint64_t used_log;
};

struct queue_stats; /* devices/virtio/stats.h */
struct virtio_dev;

/* The transport, as the device sees it: posted news only. Called on the control loop. */
struct virtio_events {
	/* Queue i has stopped; pos is borrowed for the call. */
	void (*queue_stopped)(void *transport, unsigned i, const struct virtq_pos *pos);
	void (*reset_done)(void *transport);
	/* Config space changed: bump the generation, interrupt the driver. */
	void (*config_changed)(void *transport);
	/* The driver broke ring i: DEVICE_NEEDS_RESET (virtio 1.2 §2.1.2). */
	void (*broken)(void *transport, unsigned i);
};

struct virtio_dev_ops {
	/* Offered device-type and ring features; the transport adds VERSION_1. Pure. */
	uint64_t (*features)(struct virtio_dev *d);
	/* At FEATURES_OK: 0, or -EINVAL when the device cannot live with this subset. */
	int (*accept)(struct virtio_dev *d, uint64_t features);
	/* Config space; off+len lies within config_len. Under the transport's device lock. */
	void (*config_read)(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len);
	void (*config_write)(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len);
	int (*queue_start)(struct virtio_dev *d, unsigned i, const struct virtq_setup *s);
	/* All queues that are to run now have been started: after DRIVER_OK, a resume, a queue
	 * enabled late. For devices that start whole. May be NULL; virtio-mmio and virtio-pci. */
	void (*started)(struct virtio_dev *d);
	int (*queue_stop)(struct virtio_dev *d, unsigned i); /* begins; ends in queue_stopped */
	void (*reset)(struct virtio_dev *d);		     /* begins; ends in reset_done */
	int (*visit)(struct virtio_dev *d, struct visitor *v);
	/* As in struct device_ops; any time, while queues run too. May be NULL. */
	unsigned (*counters)(struct virtio_dev *d, struct dev_counter *ret, unsigned max);
	unsigned (*achieved)(struct virtio_dev *d, struct dev_achieved *ret, unsigned max);
	/* What queue i has done, borrowed as long as d lives; and the CPU time, in ns, of the
	 * thread that serves it (queues may share one), 0 while there is none. Any thread. May be
	 * NULL. */
	const struct queue_stats *(*stats)(struct virtio_dev *d, unsigned i);
	uint64_t (*cpu_ns)(struct virtio_dev *d, unsigned i);
	void (*free)(struct virtio_dev *d); /* all queues stopped */
};

struct virtio_dev {
	const struct virtio_dev_ops *ops;
	enum virtio_type type;
	char id[32];
	unsigned nqueues;
	uint16_t queue_max[VIRTIO_QUEUES];
	uint32_t config_len;
	bool no_packed; /* packed rings are not offered, whatever ops say */
	unsigned poll;	/* percent of a core that each worker may spend looking at rings, 0..100 */
	struct dev_host *host;		    /* not owned */
	const struct virtio_events *events; /* set by the one transport that owns the device */
	void *transport;
};

/* What a transport offers for d: the device's own features, less what d was told not to offer,
 * with VERSION_1. */
uint64_t virtio_dev_features(struct virtio_dev *d);

static inline void virtio_dev_free(struct virtio_dev *d)
{
	if (d)
		d->ops->free(d);
}

#endif
