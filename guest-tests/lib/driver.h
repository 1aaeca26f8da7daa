/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small drivers: one request at a time on one queue. A "ping" is the most harmless request of each
 * device type; cases use it to see that a device is alive and to make it interrupt.
 */
#ifndef GUEST_DRIVER_H
#define GUEST_DRIVER_H

#include "virtio.h"

enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_GET_ID = 8, BLK_DISCARD = 11 };
enum { BLK_WRITE_ZEROES = 13, BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2 };
#define BLK_F_RO	   (1ull << 5)
#define BLK_F_BLK_SIZE	   (1ull << 6)
#define BLK_F_FLUSH	   (1ull << 9)
#define BLK_F_DISCARD	   (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)
#define NET_F_MAC	   (1ull << 5)
#define NET_F_STATUS	   (1ull << 16)

struct drv {
	struct vdev dev;
	struct vq q; /* the queue that pings use: 0, or the one that the driver talks through */
};

/* True if drv_ping() knows the device's type. */
bool drv_knows(const struct vdev *);
/* Resets and starts the device with the ping queue (and no other) of `size` entries. */
int drv_open(struct drv *, const struct vdev *, uint64_t features, unsigned size);
/* The same, stopping before DRIVER_OK. */
int drv_prepare(struct drv *, const struct vdev *, uint64_t features, unsigned size);
/* One request, polled. 0, or -1 if it did not complete well. */
int drv_ping(struct drv *);
/* Puts the request into the ring without notifying; complete it with vq_wait(). */
void drv_ping_add(struct drv *);

/* One block request: a header, n bytes of data, a status. Returns the status, or -1: no answer. */
int blk_request(struct drv *, uint32_t type, uint64_t sector, void *data, uint32_t n);

/* A disk big and writable enough for tests: 0, or -1 with a reason. */
int blk_check_writable(struct drv *, const char **ret_reason);

#endif
