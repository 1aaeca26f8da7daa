/* SPDX-License-Identifier: Apache-2.0 */
/* The driver-facing half that virtio-mmio and virtio-pci share: status, feature negotiation, queue
 * registers, config generation, reset. The transports only decode registers into these calls, so a
 * device behaves the same behind each. All under the transport's device lock.
 *
 *   status (virtio 1.2 §2.1):  0 ─ACK─DRIVER─FEATURES_OK─DRIVER_OK─► running
 *   any ─ write 0 ─► resetting ─ posted end ─► 0        broken ring ─► NEEDS_RESET
 *
 * Pausing stops the queues where they stand and leaves the status alone; a reset that was under way
 * ends as ever. */
#ifndef DEVICES_VIRTIO_CORE_H
#define DEVICES_VIRTIO_CORE_H

#include "devices/count.h"
#include "devices/virtio/virtio.h"

#define VIRTIO_S_ACKNOWLEDGE 1
#define VIRTIO_S_DRIVER	     2
#define VIRTIO_S_DRIVER_OK   4
#define VIRTIO_S_FEATURES_OK 8
#define VIRTIO_S_NEEDS_RESET 64
#define VIRTIO_S_FAILED	     128

struct virtio_core_queue {
	uint16_t size;		/* as the driver set it */
	bool enabled;		/* what the driver wants */
	bool running, stopping; /* what the device does; stopping ends in queue_stopped */
	bool keep_pos;		/* go on from pos, not afresh, at the next start */
	uint64_t desc, avail, used;
	uint16_t vector;      /* PCI */
	int kick_fd;	      /* eventfd, owned */
	struct virtq_pos pos; /* while stopped */
};

struct virtio_core {
	struct virtio_dev *dev; /* owned */
	pthread_mutex_t *lock;	/* the transport's device lock */
	pthread_cond_t idle;	/* reset finished */
	bool resetting;
	bool paused; /* no queue starts; kicks wait in their eventfds */
	uint8_t status;
	uint32_t feature_sel, driver_feature_sel, queue_sel;
	uint64_t driver_features;
	uint32_t generation;
	uint16_t config_vector;
	_Atomic uint32_t isr; /* bit 0 queue, bit 1 config */
	struct log_limit limit;
	dev_count kick_exits;
	struct virtio_core_queue queue[VIRTIO_QUEUES];
	/* The transport's answers: the signal for queue i and for config changes, and what else it
	 * puts back at reset (may be NULL). Lock held. */
	struct virtio_signal (*queue_signal)(struct virtio_core *c, unsigned i);
	struct virtio_signal (*config_signal)(struct virtio_core *c);
	void (*was_reset)(struct virtio_core *c);
};

#define VIRTIO_NO_VECTOR 0xffff

/* Takes dev (freed by virtio_core_fini). lock is the transport's device lock. */
int virtio_core_init(struct virtio_core *c, struct virtio_dev *dev, pthread_mutex_t *lock);
/* Control, world stopped or VM ending: stops the queues, pumping the control loop, then frees. */
void virtio_core_fini(struct virtio_core *c);

void virtio_core_status_write(struct virtio_core *c, uint8_t status);
/* While a reset is under way this is not 0 (virtio 1.2 §2.4.1); MMIO drivers do not poll, so that
 * transport calls virtio_core_wait_reset(), which releases the device lock while it waits. */
uint8_t virtio_core_status_read(struct virtio_core *c);
void virtio_core_wait_reset(struct virtio_core *c);

uint32_t virtio_core_features_read(struct virtio_core *c);	    /* by feature_sel */
void virtio_core_features_write(struct virtio_core *c, uint32_t v); /* by driver_feature_sel */
void virtio_core_queue_enable(struct virtio_core *c, bool enable);
void virtio_core_queue_size(struct virtio_core *c, uint32_t size); /* ignored unless legal */
/* The queue that queue_sel names, or NULL. */
struct virtio_core_queue *virtio_core_queue(struct virtio_core *c);
/* As virtio_core_queue, but NULL too while the driver must not change it (§2.7: enabled). */
struct virtio_core_queue *virtio_core_queue_setup(struct virtio_core *c);
void virtio_core_kick(struct virtio_core *c, unsigned queue); /* a notify that came as an exit */
/* queue_signal answers differently now: running queues are restarted where they stand. */
void virtio_core_signals_changed(struct virtio_core *c);
/* The whole reset, when the machine is reset: stopped world, control. Takes the lock itself. */
void virtio_core_power_on(struct virtio_core *c);
/* As in struct device_ops; each takes the lock itself. pause() begins to stop every queue;
 * paused() is true when none runs or stops and no reset is under way. resume() starts what the
 * driver wants to run, from its position, also when the positions were loaded, then kicks each
 * queue and raises its vector once: whichever of the two was on its way may have been lost. */
void virtio_core_pause(struct virtio_core *c);
bool virtio_core_paused(struct virtio_core *c);
void virtio_core_resume(struct virtio_core *c);
/* Config space with bounds: outside reads zero. */
void virtio_core_config_read(struct virtio_core *c, uint32_t off, void *buf, uint32_t len);
void virtio_core_config_write(struct virtio_core *c, uint32_t off, const void *buf, uint32_t len);
/* As in struct device_ops, of device and transport together; each takes the lock itself. */
unsigned virtio_core_counters(struct virtio_core *c, struct dev_counter *ret, unsigned max);
unsigned virtio_core_achieved(struct virtio_core *c, struct dev_achieved *ret, unsigned max);
/* Plain state: registers and ring positions; then the device's own. */
int virtio_core_visit(struct virtio_core *c, struct visitor *v);

#endif
