/* SPDX-License-Identifier: Apache-2.0 */
/* The device's side of a ring (virtio 1.2 §2.7 split; packed rings get the same face). Owned by one
 * worker while started. Guest memory is read once: a descriptor is copied, checked and only the
 * copy is believed. Marks every device-writable byte it completes, and its own ring writes, dirty.
 */
#ifndef DEVICES_VIRTIO_VIRTQ_H
#define DEVICES_VIRTIO_VIRTQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "devices/virtio/virtio.h"

#define VIRTQ_CHAIN_MAX 256 /* buffers in a chain; longer ones break the ring */

/* A chain: driver-readable buffers first, then device-writable ones (§2.7.4.2). Pointers are into
 * guest memory and live until the push. */
struct virtq_chain {
	uint16_t head;
	uint16_t nout, nin;		   /* readable, writable buffers */
	uint32_t out_len, in_len;	   /* bytes, checked not to overflow */
	struct iovec iov[VIRTQ_CHAIN_MAX]; /* nout readable, then nin writable */
};

struct virtq {
	struct guest_mem *mem;
	uint16_t size;
	bool event_idx, indirect, broken;
	uint64_t used_gpa;
	uint8_t *desc, *avail, *used;
	uint16_t avail_idx; /* next entry of the available ring to pop */
	uint16_t used_idx;  /* next used entry to write */
	uint16_t published; /* used index that the driver has been told */
	struct virtio_signal signal;
};

/* Checks addresses, alignment and size (§2.7: power of two). Returns 0, -EINVAL or -EFAULT. */
int virtq_init(struct virtq *q, struct guest_mem *mem, const struct virtq_setup *s);
void virtq_pos_get(const struct virtq *q, struct virtq_pos *ret_pos);

/* 1: a chain; 0: empty; negative: the driver broke the ring (loop, bad address, bad order, index
 * jump): the queue stays broken until it is set up again. */
int virtq_pop(struct virtq *q, struct virtq_chain *ret_chain);
/* Writes the used element; the driver does not see it before virtq_publish. `written` bytes went to
 * the writable buffers. */
void virtq_push(struct virtq *q, const struct virtq_chain *c, uint32_t written);
/* The same for a chain of which the caller kept only the head and the writable buffers. */
void virtq_push_parts(
	struct virtq *q, uint16_t head, const struct iovec *in, unsigned nin, uint32_t written);
/* Puts back the last n chains popped, which must not have been pushed. */
void virtq_unpop(struct virtq *q, unsigned n);
/* Publishes what was pushed; true: the driver wants an interrupt (§2.7.7, §2.7.10). */
bool virtq_publish(struct virtq *q);
/* virtq_publish and, if wanted, the interrupt. */
void virtq_flush(struct virtq *q);

/* Ask for kicks, or not (§2.7.10). After enabling, returns true when chains arrived meanwhile and
 * the caller must look again. */
bool virtq_enable_kick(struct virtq *q);
void virtq_disable_kick(struct virtq *q);

/* Copies between a chain's readable or writable part at byte `off` and a buffer. Returns the bytes
 * copied, short at the end of the chain. */
size_t virtq_chain_read(const struct virtq_chain *c, size_t off, void *buf, size_t len);
size_t virtq_chain_write(const struct virtq_chain *c, size_t off, const void *buf, size_t len);

#endif
