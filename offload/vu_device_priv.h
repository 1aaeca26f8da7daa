/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the transport share: vu_device.c is the socket and the connection's life,
 * vu_requests.c the messages, vu_ring.c the rings, vu_inflight.c what survives a kill, vu_log.c
 * what was written. All on the loop's thread.
 *
 * Nothing waits: a request that needs a ring to stop first (or a reset to end) begins that, returns
 * VU_WAIT and is run again, from its start, when the ring has stopped. Until it is done no further
 * message is read, so that the order of answers is the order of requests. */
#ifndef OFFLOAD_VU_DEVICE_PRIV_H
#define OFFLOAD_VU_DEVICE_PRIV_H

#include "devices/backend/vsock_unix.h"
#include "offload/vu_device.h"
#include "offload/vu_mem.h"
#include "offload/vu_msg.h"

#define VU_WAIT 1

/* Among the feature bits, but not the device's. */
#define VU_TRANSPORT_FEATURES (VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL)

/* Started and disabled is a state of its own only for network devices, which go on to take what the
 * driver sends and throw it away ("Ring states"); with others it is as good as stopped. */
enum vu_ring_mode { VU_RING_OFF, VU_RING_MUTED, VU_RING_ON };

struct vu_ring {
	struct vu_device *d;
	unsigned i;
	uint16_t num;		   /* 0 until set */
	struct vu_vring_addr addr; /* the front-end's addresses */
	bool has_addr, enabled;
	bool running, stopping; /* what the device does; stopping ends in queue_stopped */
	enum vu_ring_mode mode; /* while running: how */
	struct virtq_pos pos;	/* while stopped */
	bool used_known;	/* else the used index stands in the ring */
	int kick, err;		/* owned; -1 */
	/* One number for the ring's life: a new call eventfd is put there by dup3(), under the eyes
	 * of the worker, who just writes to it. d->nobody's while the front-end gave none. */
	int call;
};

enum vu_reset { VU_RESET_NONE, VU_RESET_RUNS, VU_RESET_ENDED };

struct vu_device {
	struct dev_host host;
	struct irq_domain irqs; /* none */
	struct vu_mem mem;
	struct virtio_dev *dev; /* owned */
	char id[32];
	struct log *log;
	struct log_limit limit;

	struct vsock_unix *socket; /* any listening unix socket */
	struct ev_fd listen;
	struct ev_timer listen_again;
	struct vu_conn *conn, *backend;
	struct vu_msg waiting; /* request 0: none */
	bool leaving;	       /* the front-end's things are being given back */
	bool closing;
	enum vu_reset reset;
	int nobody; /* an eventfd that nobody reads */

	uint64_t features, protocol;
	bool features_set;
	struct {
		struct vu_map map;
		uint16_t num_queues, queue_size;
	} inflight;
	struct {
		struct vu_map map;
		struct mem_log log;
	} dirty; /* logged to with VU_F_LOG_ALL */
	uint8_t status;
	struct vu_ring ring[VIRTIO_QUEUES];
	uint64_t connections, connected_ns;
};

/* vu_ring.c. ring_start_wanted() starts each ring that may run and does not: 0, or why one cannot.
 * ring_stop() begins to stop: 0 when it stands, else VU_WAIT. */
int vu_rings_init(struct vu_device *d);
void vu_rings_fini(struct vu_device *d);
int vu_rings_start_wanted(struct vu_device *d);
int vu_ring_stop(struct vu_ring *r);
/* What is to change needs the ring to stand: 0 it does, VU_WAIT, or -EBUSY: it is on. */
int vu_ring_still(struct vu_ring *r);
enum vu_ring_mode vu_ring_wanted(const struct vu_ring *r);
int vu_rings_stop(struct vu_device *d);
void vu_ring_stopped(struct vu_ring *r, const struct virtq_pos *pos);
void vu_ring_forget_kick(struct vu_ring *r);
int vu_ring_set_call(struct vu_ring *r, int fd); /* fd borrowed; -1 = none */
void vu_ring_failed(struct vu_ring *r);		 /* tells the err eventfd */
uint64_t vu_ring_used_log(const struct vu_ring *r, const struct vu_vring_addr *a);
uint32_t vu_ring_base(const struct vu_ring *r);
void vu_ring_set_base(struct vu_ring *r, uint32_t base);
/* All rings as at the start of a session; they stand. Their call descriptors stay. */
void vu_rings_clear(struct vu_device *d);
static inline bool vu_packed(const struct vu_device *d)
{
	return d->features & VIRTIO_BIT_RING_PACKED;
}

/* vu_inflight.c. The ring's area and its length: 1; 0: none is kept; -EINVAL: it does not hold that
 * ring. *ret_heir: a predecessor may have left something in it. */
int vu_inflight_of(const struct vu_ring *r, void **ret_area, uint32_t *ret_len, bool *ret_heir);
/* The ring stands, and the front-end has been told where, not sooner: from here on the area's word
 * does not count, unless chains wait in it that the device has not come to. */
void vu_inflight_told(const struct vu_ring *r);
void vu_inflight_forget(struct vu_device *d); /* the driver is reset */
void vu_inflight_fini(struct vu_device *d);

/* vu_log.c */
void vu_log_switch(struct vu_device *d); /* after a change of the features */
void vu_log_fini(struct vu_device *d);	 /* the rings stand */

/* Handlers of requests, see vu_requests.c. */
typedef int vu_handler(struct vu_device *d, struct vu_msg *m, struct vu_msg *reply);
vu_handler vu_get_inflight, vu_set_inflight, vu_set_log_base, vu_set_log_fd;

/* vu_requests.c. Judges and serves one request, and answers it. Negative ends the connection. */
int vu_request(struct vu_device *d, struct vu_msg *m);

/* vu_device.c. As vu_request's handlers return. */
int vu_device_reset(struct vu_device *d);
int vu_device_set_backend(struct vu_device *d, int fd); /* takes fd on success */

#endif
