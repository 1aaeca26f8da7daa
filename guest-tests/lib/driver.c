/* SPDX-License-Identifier: Apache-2.0 */
/* See driver.h. Buffers are static: one request is in flight at a time. */
#include "driver.h"

#include "case.h"
#include "io.h"

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} blk_header __attribute__((aligned(16)));
static uint8_t blk_status;
static uint8_t data[256] __attribute__((aligned(16)));

#define NET_HEADER 12u /* §5.1.6 with VERSION_1 */

bool drv_knows(const struct vdev *d)
{
	return (d->type >= VIRTIO_NET && d->type <= VIRTIO_RNG) || d->type == VIRTIO_INPUT;
}

int drv_prepare(struct drv *drv, const struct vdev *d, uint64_t features, unsigned size)
{
	unsigned queue = d->type == VIRTIO_BLK || d->type == VIRTIO_RNG ? 0 : 1;

	drv->dev = *d;
	if (vdev_negotiate(&drv->dev, features))
		return -1;
	return vq_open(&drv->q, &drv->dev, queue, size);
}

int drv_open(struct drv *drv, const struct vdev *d, uint64_t features, unsigned size)
{
	if (drv_prepare(drv, d, features, size))
		return -1;
	vdev_driver_ok(&drv->dev);
	return 0;
}

static void blk_add(struct drv *drv, uint32_t type, uint64_t sector, void *p, uint32_t n)
{
	bool to_guest = type == BLK_IN || type == BLK_GET_ID;
	struct vq_buf b[3] = {{&blk_header, 16, false}, {p, n, to_guest}};
	unsigned count = n ? 2 : 1;

	blk_header.type = type;
	blk_header.reserved = 0;
	blk_header.sector = sector;
	blk_status = 0xee;
	b[count++] = (struct vq_buf){&blk_status, 1, true};
	vq_add(&drv->q, b, count);
}

int blk_request(struct drv *drv, uint32_t type, uint64_t sector, void *p, uint32_t n)
{
	uint32_t length;

	blk_add(drv, type, sector, p, n);
	vq_kick(&drv->q);
	if (vq_wait(&drv->q, &length, 10000) < 0)
		return -1;
	return READ_ONCE(blk_status);
}

int blk_check_writable(struct drv *drv, const char **ret_reason)
{
	if (vdev_offered(&drv->dev) & BLK_F_RO)
		*ret_reason = "the disk is read-only";
	else if (vdev_config64(&drv->dev, 0) < 64)
		*ret_reason = "the disk has less than 64 sectors";
	else
		return 0;
	return -1;
}

void drv_ping_add(struct drv *drv)
{
	/* to the broadcast address, from a locally administered one, of an experimental type */
	static const uint8_t frame[NET_HEADER + 14] = {
		[NET_HEADER] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};

	switch (drv->dev.type) {
	case VIRTIO_BLK:
		blk_add(drv, BLK_GET_ID, 0, data, 20);
		break;
	case VIRTIO_RNG:
		vq_add(&drv->q, (struct vq_buf[]){{data, 8, true}}, 1);
		break;
	case VIRTIO_INPUT: /* a light, of which it has none (§5.8.6.1) */
		memset(data, 0, 8);
		vq_add(&drv->q, (struct vq_buf[]){{data, 8, false}}, 1);
		break;
	case VIRTIO_CONSOLE:
		data[0] = '.';
		vq_add(&drv->q, (struct vq_buf[]){{data, 1, false}}, 1);
		break;
	default:
		memcpy(data, frame, sizeof(frame));
		vq_add(&drv->q, (struct vq_buf[]){{data, NET_HEADER + 60, false}}, 1);
	}
}

int drv_ping(struct drv *drv)
{
	uint32_t length;

	drv_ping_add(drv);
	vq_kick(&drv->q);
	if (vq_wait(&drv->q, &length, 10000) < 0)
		return -1;
	return drv->dev.type == VIRTIO_BLK && READ_ONCE(blk_status) != BLK_S_OK ? -1 : 0;
}
