/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's side of a virtio device, for tests: registers through a transport's ops, rings and
 * descriptors written into guest memory as a driver writes them. One script runs on MMIO and PCI
 * alike, with split and with packed rings, and notes what it saw in a transcript: equal scripts
 * must give equal transcripts. Rings are packed where the device offers it and the test wants it,
 * unless the environment says GUEST_RINGS=split: device tests run both ways.
 *
 * The test's thread plays the vCPU; control's loop is pumped by a thread of the driver's, because a
 * register write may wait for control, as on a real vCPU. */
#ifndef DEVICES_TESTING_GUEST_DRIVER_H
#define DEVICES_TESTING_GUEST_DRIVER_H

#include "devices/pci/pci.h"
#include "devices/testing/fake_host.h"
#include "devices/virtio/virtio.h"

struct guest_driver;

/* What differs between transports: where the registers are. */
struct guest_transport {
	const char *name;
	int (*probe)(struct guest_driver *g); /* finds the device; negative when it is not there */
	uint8_t (*status)(struct guest_driver *g);
	void (*set_status)(struct guest_driver *g, uint8_t status);
	uint64_t (*features)(struct guest_driver *g);
	void (*set_features)(struct guest_driver *g, uint64_t features);
	/* Selects queue i and returns its largest size, 0 when there is none. */
	uint16_t (*select)(struct guest_driver *g, unsigned i);
	void (*queue_setup)(struct guest_driver *g, unsigned i, uint16_t size, uint64_t desc,
		uint64_t avail, uint64_t used);
	void (*kick)(struct guest_driver *g, unsigned i);
	uint32_t (*config)(struct guest_driver *g, uint32_t off, unsigned size);
	/* Queue interrupts seen since the last call, acknowledged as the transport wants it. */
	bool (*interrupted)(struct guest_driver *g, unsigned i);
};
extern const struct guest_transport guest_mmio;
extern const struct guest_transport guest_pci_msix;
extern const struct guest_transport guest_pci_intx;

#define GUEST_QUEUES 9
#define GUEST_RING   64

/* How far the driver has looked at what the device gave back. */
struct guest_seen {
	uint16_t chains; /* split: the used index */
	uint16_t slot;	 /* packed: the next used descriptor, and its lap's wrap counter */
	bool wrap;
	bool batch;	      /* with VIRTIO_F_IN_ORDER: the chains up to that of `id` are back */
	uint32_t id, written; /* of the used element read last */
};

struct guest_queue {
	uint16_t size, next_desc, avail_idx;
	uint64_t desc, avail, used;
	bool packed, in_order;
	bool avail_wrap;		  /* packed: of next_desc; avail_idx counts chains */
	uint16_t ndesc[VIRTIO_QUEUE_MAX]; /* packed: by buffer id; 0: free */
	uint16_t order[VIRTIO_QUEUE_MAX]; /* ids as made available, by avail_idx */
	struct guest_seen next;
	uint16_t seen; /* next.chains */
};

struct guest_driver {
	struct fake_host *f;
	const struct guest_transport *t;
	uint64_t base;	       /* MMIO registers, or the PCI function's configuration space */
	uint32_t pin;	       /* MMIO, and INTx */
	struct pci_root *root; /* PCI: remapped when the BAR was enabled, as control would */
	uint64_t bar, common, isr, config, notify; /* PCI: found through the capabilities */
	unsigned msi_data, seen_irqs[GUEST_QUEUES + 1];
	uint64_t heap;	/* next free guest address */
	uint64_t never; /* features that this driver does not know */
	uint64_t negotiated;
	struct guest_queue q[GUEST_QUEUES];
	pthread_t pump;
	_Atomic bool stop_pump;
	char text[8192]; /* the transcript */
	size_t ntext;
};

struct guest_buf {
	uint64_t gpa;
	uint32_t len;
	bool write; /* by the device */
};

/* Starts the pump. base: of the MMIO registers, or of the function's ECAM page. */
void guest_driver_init(struct guest_driver *g, struct fake_host *f, const struct guest_transport *t,
	uint64_t base, uint32_t pin);
void guest_driver_fini(struct guest_driver *g); /* ends the pump; free the device after it */

uint64_t guest_alloc(struct guest_driver *g, uint64_t bytes, uint64_t align);
void *guest_ptr(struct guest_driver *g, uint64_t gpa, uint64_t len);

/* Reset, ACKNOWLEDGE … FEATURES_OK with `want` of what is offered. Returns the status. */
uint8_t guest_negotiate(struct guest_driver *g, uint64_t want);
void guest_queue_init(struct guest_driver *g, unsigned i, uint16_t size);
void guest_driver_ok(struct guest_driver *g);
bool guest_reset(struct guest_driver *g); /* writes 0 and polls until it reads 0 */

/* Writes a chain, makes it available; returns its head (packed: its id, which is the first slot if
 * that is free). Does not kick. No more than `size` descriptors from the oldest in flight on. */
uint16_t guest_add(struct guest_driver *g, unsigned i, const struct guest_buf *b, unsigned n);
uint16_t guest_add_indirect(
	struct guest_driver *g, unsigned i, const struct guest_buf *b, unsigned n);
/* What no driver may do: the device asks for a reset when it pops next. */
void guest_break_ring(struct guest_driver *g, unsigned q);
/* Raw access for hostile tests. A packed descriptor has an id where `next` is, and its flags say
 * whether it is available; making a head available offers one descriptor of that id. */
void guest_set_desc(struct guest_driver *g, unsigned q, uint16_t i, uint64_t addr, uint32_t len,
	uint16_t flags, uint16_t next);
void guest_make_avail(struct guest_driver *g, unsigned q, uint16_t head);
void guest_set_avail_idx(struct guest_driver *g, unsigned q, uint16_t idx); /* packed: slot, wrap */

/* Waits up to 5 s for a used element; false when none came. */
bool guest_wait_used(struct guest_driver *g, unsigned i, uint32_t *ret_id, uint32_t *ret_len);
bool guest_take_used(
	struct guest_driver *g, unsigned i, uint32_t *ret_id, uint32_t *ret_len); /* now */
/* How many chains came back so far, modulo 2^16, looked at or not. */
uint16_t guest_used_idx(struct guest_driver *g, unsigned i);
#define GUEST_WAIT_NS 5000000000ull
void guest_sleep_little(void); /* between two looks */
/* Waits up to 5 s. */
bool guest_wait_status(struct guest_driver *g, uint8_t bit);
bool guest_wait_interrupt(struct guest_driver *g, unsigned i);

/* A machine around one device: host, transport, driver. */
struct guest_rig {
	struct fake_host f;
	struct pci_root *root;
	struct device *device;
	struct guest_driver g;
};
/* First the host, for which the test makes its device; then the device behind t (taken), probed.
 * Both end the test when they fail. */
void guest_rig_init(struct guest_rig *r, uint64_t ram_bytes);
void guest_rig_attach(struct guest_rig *r, const struct guest_transport *t, struct virtio_dev *dev);
void guest_rig_fini(struct guest_rig *r); /* frees the device as the machine would */
/* What control does around a stopped world. pause() ends the test when the device is not paused
 * after 5 s. */
void guest_rig_pause(struct guest_rig *r);
void guest_rig_resume(struct guest_rig *r);
/* The device's counter, UINT64_MAX when it has none of that name; and what was achieved, or "". */
uint64_t guest_rig_counter(struct guest_rig *r, const char *name);
const char *guest_rig_achieved(struct guest_rig *r, const char *what, char buf[64]);

/* One line of the transcript. */
void guest_note(struct guest_driver *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A disk request of len bytes, and what came of it. */
void guest_note_request(struct guest_driver *g, uint32_t type, uint64_t sector, uint32_t len);
/* The script that every transport must answer alike; the disk has 1 MiB. */
void guest_disk_script(struct guest_driver *g);

#endif
