/* SPDX-License-Identifier: Apache-2.0 */
/* The open device: what it is, once asked, and the memory that it may reach. Guest memory is given
 * to it by messages (VHOST_IOTLB_UPDATE) that name host memory and the address at which the device
 * finds it: the guest-physical one, so that the driver's addresses are right as they are. */
#include "offload/vdpa.h"

#include <errno.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "offload/vdpa_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define BIT(b) (UINT64_C(1) << (b))
/* With these the VMM or the doorbells would have a part in it: VIRTIO_F_NOTIFY_ON_EMPTY and
 * VHOST_F_LOG_ALL, 30, ACCESS_PLATFORM (the device's affair: see vdpa_proxy.c), SR_IOV,
 * NOTIFICATION_DATA, NOTIF_CONFIG_DATA, RING_RESET, ADMIN_VQ (virtio 1.2 §6), VIRTIO_NET_F_STANDBY.
 */
#define NOT_FOR_DRIVERS                                                                            \
	(BIT(24) | BIT(26) | BIT(30) | VIRTIO_BIT_ACCESS_PLATFORM | BIT(37) | BIT(38) | BIT(39) |  \
		VIRTIO_BIT_RING_RESET | BIT(41) | BIT(62))
#define BACKEND_WANTED                                                                             \
	(BIT(VHOST_BACKEND_F_IOTLB_MSG_V2) | BIT(VHOST_BACKEND_F_IOTLB_BATCH) |                    \
		BIT(VHOST_BACKEND_F_SUSPEND) | BIT(VHOST_BACKEND_F_IOTLB_PERSIST))

bool vdpa_has(const struct vdpa *v, unsigned backend_feature)
{
	return v->backend & BIT(backend_feature);
}

/* ---- config space ---- */

/* What the ioctls take, with room for the bytes at its end. */
union config {
	uint8_t room[sizeof(struct vhost_vdpa_config) + VDPA_CONFIG_MAX];
	uint32_t aligned;
};

static struct vhost_vdpa_config *part(union config *c, uint32_t off, uint32_t len)
{
	struct vhost_vdpa_config *h = (struct vhost_vdpa_config *)c->room;

	*c = (union config){0};
	h->off = off;
	h->len = len;
	return h;
}

int vdpa_config_get(struct vdpa *v, uint8_t ret[VDPA_CONFIG_MAX])
{
	union config c;
	struct vhost_vdpa_config *h = part(&c, 0, v->config_len);
	struct vhost any = {.fd = v->vhost.fd};
	int r = v->config_len ? VHOST_CALL(&any, VHOST_VDPA_GET_CONFIG, h) : 0;

	if (r >= 0)
		memcpy(ret, h->buf, VDPA_CONFIG_MAX);
	return MIN(r, 0);
}

int vdpa_config_set(struct vdpa *v, uint32_t off, const void *buf, uint32_t len)
{
	union config c;
	struct vhost_vdpa_config *h = part(&c, off, len);

	memcpy(h->buf, buf, MIN(len, (uint32_t)VDPA_CONFIG_MAX));
	return MIN(VHOST_CALL(&v->vhost, VHOST_VDPA_SET_CONFIG, h), 0);
}

/* ---- memory ---- */

static int say(struct vdpa *v, const char *name, uint8_t type, const struct mem_region *r)
{
	struct vhost_msg_v2 m = {.type = VHOST_IOTLB_MSG_V2};
	int ret;

	m.iotlb.type = type;
	if (r) {
		m.iotlb.iova = r->gpa;
		m.iotlb.size = r->size;
		m.iotlb.uaddr = (uintptr_t)r->host;
		m.iotlb.perm = VHOST_ACCESS_RW;
	}
	ret = vhost_sys_write(v->vhost.fd, &m, sizeof(m));
	if (ret < 0)
		v->vhost.failed = name;
	return ret;
}
#define SAY(v, type, r) say(v, #type, type, r)

static int batch(struct vdpa *v, bool begin)
{
	if (!vdpa_has(v, VHOST_BACKEND_F_IOTLB_BATCH))
		return 0;
	return begin ? SAY(v, VHOST_IOTLB_BATCH_BEGIN, NULL) : SAY(v, VHOST_IOTLB_BATCH_END, NULL);
}

static bool in_range(const struct vdpa *v, const struct mem_region *r)
{
	return r->gpa >= v->iova_first && r->gpa + (r->size - 1) <= v->iova_last;
}

static int map_region(struct vdpa *v, const struct mem_region *r)
{
	v->vhost.failed = "VHOST_VDPA_GET_IOVA_RANGE: memory outside of it";
	return in_range(v, r) ? SAY(v, VHOST_IOTLB_UPDATE, r) : -ERANGE;
}

static void unmap_first(struct vdpa *v, const struct guest_mem *m, unsigned n)
{
	const char *failed = v->vhost.failed;

	for (unsigned i = 0; i < n; i++)
		SAY(v, VHOST_IOTLB_INVALIDATE, &m->region[i]);
	v->vhost.failed = failed;
}

int vdpa_map(struct vdpa *v, const struct guest_mem *m)
{
	unsigned n = 0;
	int r = batch(v, true), end;

	if (r < 0)
		return r;
	while (n < m->n && r == 0) {
		r = map_region(v, &m->region[n]);
		n += r == 0;
	}
	if (r < 0)
		unmap_first(v, m, n);
	end = batch(v, false);
	if (r == 0 && end < 0)
		unmap_first(v, m, n);
	r = r ? r : end;
	if (r == 0)
		v->mapped = m;
	return r;
}

void vdpa_unmap(struct vdpa *v)
{
	if (!v->mapped)
		return;
	batch(v, true);
	unmap_first(v, v->mapped, v->mapped->n);
	batch(v, false);
	v->mapped = NULL;
}

/* ---- opening ---- */

/* Asks one thing after the other; v->vhost.failed names the one that failed. */
static int ask(struct vdpa *v)
{
	struct vhost_vdpa_iova_range range = {0, UINT64_MAX};
	uint32_t type = 0, count = 0;
	uint16_t size = 0;
	int r = VHOST_CALL(&v->vhost, VHOST_VDPA_GET_DEVICE_ID, &type);

	if (r >= 0)
		r = VHOST_CALL(&v->vhost, VHOST_GET_FEATURES, &v->device);
	if (r >= 0)
		r = VHOST_CALL(&v->vhost, VHOST_GET_BACKEND_FEATURES, &v->backend);
	v->backend &= BACKEND_WANTED;
	if (r >= 0)
		r = VHOST_CALL(&v->vhost, VHOST_SET_BACKEND_FEATURES, &v->backend);
	if (r >= 0)
		r = VHOST_CALL(&v->vhost, VHOST_VDPA_GET_IOVA_RANGE, &range);
	if (r >= 0)
		r = VHOST_CALL(&v->vhost, VHOST_VDPA_GET_VQS_COUNT, &count);
	if (r >= 0)
		r = VHOST_CALL(&v->vhost, VHOST_VDPA_GET_VRING_NUM, &size);
	if (r >= 0)
		r = VHOST_CALL(&v->vhost, VHOST_VDPA_GET_CONFIG_SIZE, &v->config_len);
	v->type = (enum virtio_type)type;
	v->queues = count;
	v->queue_size = MIN(size, (uint16_t)VIRTIO_QUEUE_MAX);
	v->iova_first = range.first;
	v->iova_last = range.last;
	v->config_len = MIN(v->config_len, (uint32_t)VDPA_CONFIG_MAX);
	return MIN(r, 0);
}

static int check(struct vdpa *v, const struct vdpa_opts *o, struct err *e)
{
	uint64_t may = o->may ? o->may : UINT64_MAX;

	if (!v->queues || v->queues > VIRTIO_QUEUES)
		return err_set(e, ERR_HOST, -ENOTSUP, "%s %s: %s has %u queues; allowed: 1..%u",
			o->flag, o->id, v->path, v->queues, VIRTIO_QUEUES);
	if (!v->queue_size)
		return err_set(e, ERR_HOST, -ENOTSUP, "%s %s: %s has queues without room", o->flag,
			o->id, v->path);
	if (!(v->device & VIRTIO_BIT_VERSION_1))
		return err_set(e, ERR_HOST, -ENOTSUP,
			"%s %s: %s lacks the feature VIRTIO_F_VERSION_1", o->flag, o->id, v->path);
	if (!vdpa_has(v, VHOST_BACKEND_F_IOTLB_MSG_V2))
		return err_set(e, ERR_HOST, -ENOTSUP,
			"%s %s: %s lacks the backend feature IOTLB_MSG_V2", o->flag, o->id,
			v->path);
	v->offers = v->device & may & ~NOT_FOR_DRIVERS;
	/* Only a device that can be suspended tells where its packed rings stand. */
	if (!vdpa_has(v, VHOST_BACKEND_F_SUSPEND))
		v->offers &= ~VIRTIO_BIT_RING_PACKED;
	return 0;
}

static int open_device(struct vdpa *v, const struct vdpa_opts *o, struct err *e)
{
	int r = o->path ? vhost_open(&v->vhost, o->path, "vhost_vdpa", o->flag, o->id, e)
			: vhost_own(&v->vhost, o->fd, v->path, "vhost_vdpa", o->flag, o->id, e);

	if (r < 0)
		return r;
	r = ask(v);
	if (r == -ENOTTY || r == -EINVAL)
		return err_set(e, ERR_HOST, r,
			"%s %s: %s is no vhost-vdpa device (%s: %s); allowed: one of /dev/vhost-vdpa-*",
			o->flag, o->id, v->path, v->vhost.failed, strerrordesc_np(-r));
	return r < 0 ? vhost_failed(&v->vhost, r, v->path, o->flag, o->id, e) : check(v, o, e);
}

int vdpa_open(const struct vdpa_opts *o, struct vdpa **ret_vdpa, struct err *e)
{
	struct vdpa *v = calloc(1, sizeof(*v));
	char name[24];
	int r;

	if (!v)
		return -ENOMEM;
	snprintf(name, sizeof(name), "fd=%d", o->fd);
	v->vhost.fd = -1;
	v->path = strdup(o->path ? o->path : name);
	r = v->path ? open_device(v, o, e) : -ENOMEM;
	if (r < 0) {
		if (!o->path)
			v->vhost.fd = -1; /* stays the caller's */
		vdpa_close(v);
		return r;
	}
	*ret_vdpa = v;
	return 0;
}

void vdpa_close(struct vdpa *v)
{
	if (!v)
		return;
	cleanup_closep(&v->vhost.fd);
	free(v->path);
	free(v);
}

enum virtio_type vdpa_type(const struct vdpa *v)
{
	return v->type;
}
