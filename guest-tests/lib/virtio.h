/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of virtio 1.2: one device over either transport, and rings of both kinds.
 * Functions that wait return -1 when the device does not answer in time; they never fail the case.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "pci.h"

enum { VIRTIO_NET = 1, VIRTIO_BLK = 2, VIRTIO_CONSOLE = 3, VIRTIO_RNG = 4 };
enum { VIRTIO_INPUT = 18, VIRTIO_VSOCK = 19 };
enum {
	STATUS_ACK = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8,
	STATUS_NEEDS_RESET = 64,
	STATUS_FAILED = 128,
};
#define F_INDIRECT  (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_PACKED    (1ull << 34)

struct vdev {
	bool pci;
	const struct pci_fn *fn; /* PCI */
	uint64_t common, isr, notify;
	uint32_t notify_multiplier;
	uint64_t base; /* MMIO */
	uint64_t config;
	struct irq irq; /* the line of either; not present if unknown */
	uint32_t type;
	uint64_t features; /* negotiated */
	char name[32];	   /* "blk pci 0018" or "blk mmio 00a000000" */
};

/* Devices of a type (0: all) on the transports that the command line's transport= allows. */
#define MAX_VDEVS 24
unsigned vdev_find(uint32_t type, struct vdev *ret);
const char *vdev_type_name(uint32_t type);

uint8_t vdev_status(const struct vdev *);
void vdev_set_status(const struct vdev *, uint8_t);
/* Writes 0 and waits until it reads 0 (§2.1.2, §4.2.3.1). */
int vdev_reset(struct vdev *);
uint64_t vdev_offered(const struct vdev *);
/* Reset, acknowledge, and take `wanted` of what is offered, with VERSION_1, to FEATURES_OK. */
int vdev_negotiate(struct vdev *, uint64_t wanted);
void vdev_driver_ok(const struct vdev *);
unsigned vdev_queue_max(const struct vdev *, unsigned queue);
void vdev_queue_enable(const struct vdev *, unsigned queue, unsigned size, uint64_t desc,
	uint64_t avail, uint64_t used);
void vdev_notify(const struct vdev *, unsigned queue);
/* PCI: where to write a queue's number to notify it, which need not be asked each time. */
uint64_t vdev_notify_address(const struct vdev *, unsigned queue);
uint32_t vdev_config(const struct vdev *, unsigned offset, unsigned size);
void vdev_set_config8(const struct vdev *, unsigned offset, uint8_t);
uint64_t vdev_config64(const struct vdev *, unsigned offset);
/* Reads the interrupt status and acknowledges what it read. */
uint32_t vdev_isr(const struct vdev *);
/* Sends the queue's interrupts to MSI-X vector 0. -1 if the device refuses. */
int vdev_use_msix(const struct vdev *, unsigned queue, const struct msi_msg *);

/* --- split rings, §2.7 --- */
enum {
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	DESC_INDIRECT = 4,
	AVAIL_NO_INTERRUPT = 1,
	USED_NO_NOTIFY = 1
};

struct vq_desc {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};
struct vq_avail {
	uint16_t flags, idx, ring[];
};
struct vq_used {
	uint16_t flags, idx;
	struct {
		uint32_t id, length;
	} ring[];
};

/* --- packed rings, §2.8 --- */
enum { DESC_AVAIL = 1 << 7, DESC_USED = 1 << 15 };
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESC = 2 };

struct vq_packed_desc {
	uint64_t address;
	uint32_t length;
	uint16_t id, flags;
};
struct vq_event {
	uint16_t slot, flags; /* slot: bit 15 is the wrap counter */
};
struct vq_packed {
	struct vq_packed_desc *ring, *table;
	struct vq_event *driver, *device;
	uint16_t *ndesc; /* by id */
	uint16_t next, next_used, kicked;
	uint16_t added; /* slots since the last look at whether to notify */
	bool wrap, used_wrap, kicked_wrap;
};

/* Packed: desc to used are NULL, and next_avail and last_used count chains. */
struct vq {
	struct vdev *dev;
	uint64_t notify; /* PCI */
	unsigned index, size;
	struct vq_desc *desc, *table; /* table: the indirect one, if it is used */
	struct vq_avail *avail;
	struct vq_used *used;
	uint16_t next_avail, last_used, next_desc, kicked;
	bool event_idx, is_packed;
	struct vq_packed packed;
};

struct vq_buf {
	void *p;
	uint32_t length;
	bool write; /* by the device */
};

/* Allocates and enables queue i with at most `size` entries. */
int vq_open(struct vq *, struct vdev *, unsigned i, unsigned size);
/* Whether the driver wants interrupts; without F_EVENT_IDX. */
void vq_want_interrupts(struct vq *, bool);
/* F_EVENT_IDX: the next interrupt is wanted when the n-th chain from now on is used. Packed: all
 * chains until then must be of one descriptor. */
void vq_interrupt_after(struct vq *, unsigned n);
/* F_EVENT_IDX: true if the device asks to be notified of the next chain. */
bool vq_asks_for_next(const struct vq *);
/* Puts one chain of n buffers into the ring; at most `size` descriptors may be in flight. */
uint16_t vq_add(struct vq *, const struct vq_buf *, unsigned n);
/* Split: puts a head into the available ring, with no regard to what it names. */
void vq_offer(struct vq *, uint16_t head);
/* Packed: what vq_open, vq_add, vq_kick and vq_take do there. */
void vq_packed_open(struct vq *);
uint16_t vq_packed_add(struct vq *, const struct vq_buf *, unsigned n);
bool vq_packed_must_kick(struct vq *);
bool vq_packed_take(struct vq *, uint32_t *ret_id, uint32_t *ret_length);
/* Notifies unless the device asked not to. */
void vq_kick(struct vq *);
/* Takes one used element if there is one. */
bool vq_take(struct vq *, uint32_t *ret_id, uint32_t *ret_length);
/* The same, waiting up to `ms`. */
int vq_wait(struct vq *, uint32_t *ret_length, unsigned ms);
/* Add, kick, wait (10 s). The length that the device says it wrote, or -1. */
int64_t vq_do(struct vq *, const struct vq_buf *, unsigned n);

#endif
