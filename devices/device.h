/* SPDX-License-Identifier: Apache-2.0 */
/* What a device is, and the whole of what it is given. A device sees only its dev_host: guest
 * memory, buses, interrupt lines, loops, clock. It cannot name KVM, the VM, firmware tables or
 * HTTP. */
#ifndef DEVICES_DEVICE_H
#define DEVICES_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "devices/bus.h"
#include "devices/desc.h"
#include "devices/irq.h"
#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/base/mem.h"
#include "vmm/base/visit.h"

/* News for control: posted, never called back. */
enum dev_event {
	DEV_EVENT_POWEROFF, /* the guest asked to be switched off */
	DEV_EVENT_RESET,    /* the guest asked for a reboot */
	DEV_EVENT_EXIT,	    /* test-exit; value = the exit status */
	DEV_EVENT_REMAP,    /* the PCI windows changed: see pci_root_remap(); the vCPU parks */
};

/* What outside listeners may want to know of a device. */
enum dev_notice {
	DEV_NOTICE_ACTIVATED,	 /* its driver set DRIVER_OK */
	DEV_NOTICE_RESET,	 /* its driver reset it */
	DEV_NOTICE_PANIC,	 /* the guest says that it panicked */
	DEV_NOTICE_DISCONNECTED, /* who serves its queues is gone; its I/O waits */
	DEV_NOTICE_RECONNECTED,	 /* and is back */
};

/* A count for people and programs; name is static, lower_case, "read_bytes". */
struct dev_counter {
	const char *name;
	uint64_t value;
};

/* One property as it came out: {"offload_tso", "on"}; what is static. */
struct dev_achieved {
	const char *what;
	char text[64];
};

struct dev_host;

struct dev_host_ops {
	/* Posts news to control. Any thread. For POWEROFF, RESET, EXIT and REMAP from a vCPU
	 * thread, the vCPU parks after the access completes. */
	void (*event)(struct dev_host *h, enum dev_event ev, int value);
	/* A doorbell: a guest write of `size` bytes (0 = any size) at addr, with exactly `match`
	 * when has_match, makes fd readable without an exit. Stopped world or before the VM runs.
	 * -EOPNOTSUPP: none here; the access arrives as an ordinary write. */
	int (*doorbell)(struct dev_host *h, bool add, enum dev_space space, uint64_t addr,
		unsigned size, bool has_match, uint64_t match, int fd);
	/* Wall clock in ns since 1970, and its monotonic companion; devices ask here so that tests
	 * and restores can decide. */
	uint64_t (*realtime_ns)(struct dev_host *h);
	/* Tells the outside, any thread, never blocks. A guest that causes many has some dropped.
	 * May be NULL. */
	void (*notice)(struct dev_host *h, const char *id, enum dev_notice n);
};

struct dev_host {
	const struct dev_host_ops *ops;
	struct guest_mem *dma;	/* RAM as devices reach it */
	struct bus *mmio, *pio; /* pio is NULL on chips without port I/O */
	struct irq_domain *irqs;
	struct ev_loop *control; /* control's loop: post to it */
	struct log *log;
	uint64_t dma_limit; /* first address past what devices may reach */
};

/* A platform device, or anything that stands in the machine's device list. Embedded first in the
 * device's struct. Its lock guards its registers and is taken by the dispatcher. */
struct device {
	const struct device_ops *ops;
	char id[32];
	struct dev_host *host; /* not owned */
	pthread_mutex_t lock;  /* order: device; then a queue_run's, a chr's or an irq_line's */
	struct list link;      /* in the machine's list */
};

struct device_ops {
	const char *type; /* "ns16550" */
	/* Back to power-on state. Control, world stopped. May be NULL. */
	void (*reset)(struct device *d);
	/* Plain state. Control, world stopped. */
	int (*visit)(struct device *d, struct visitor *v);
	/* Fills up to max descriptions; returns how many. Control. May be NULL (PCI functions). */
	unsigned (*describe)(const struct device *d, struct dev_desc *ret, unsigned max);
	/* Stops the device's own activity (queues), so that guest memory and state hold still:
	 * begins at pause(); its end arrives as messages on the control loop, after which paused()
	 * is true. resume() goes on where it stopped. Control, vCPUs parked. May be NULL: nothing
	 * to stop. */
	void (*pause)(struct device *d);
	bool (*paused)(const struct device *d);
	void (*resume)(struct device *d);
	/* Fills up to max counts; returns how many. Control, at any time. May be NULL. */
	unsigned (*counters)(struct device *d, struct dev_counter *ret, unsigned max);
	/* How what was configured came out (offloads negotiated, queue size in use); returns how
	 * many of at most max. Control, at any time. May be NULL. */
	unsigned (*achieved)(struct device *d, struct dev_achieved *ret, unsigned max);
	void (*free)(struct device *d); /* unregisters its regions and frees itself */
};

void device_init(
	struct device *d, const struct device_ops *ops, struct dev_host *h, const char *id);
void device_fini(struct device *d); /* what device_init made; called by each ops->free */
static inline void device_free(struct device *d)
{
	if (d)
		d->ops->free(d);
}

#endif
