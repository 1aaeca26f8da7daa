/* SPDX-License-Identifier: Apache-2.0 */
/* Config space: read from a copy that is refreshed when the device says that it has changed,
 * written to the copy and then, by the thread, to the device. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include "devices/virtio/core.h"
#include "offload/vdpa_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

void vdpa_refresh(struct vdpa_proxy *x)
{
	uint8_t now[VDPA_CONFIG_MAX] = {0};
	int r = vdpa_config_get(x->v, now);

	if (r < 0) {
		vhost_proxy_log(&x->p, r, "VHOST_VDPA_GET_CONFIG");
		return;
	}
	LOCK_SCOPE(&x->p.lock);
	if (x->from >= x->to) /* or what the driver wrote is not told yet */
		memcpy(x->config, now, sizeof(now));
}

static void handle_tell(struct ev_msg *m)
{
	struct vdpa_proxy *x = container_of(m, struct vdpa_proxy, tell);
	struct virtio_dev *d = &x->p.dev;
	bool broken;

	pthread_mutex_lock(&x->p.lock);
	x->telling = false;
	broken = x->needs_reset;
	x->needs_reset = false;
	pthread_mutex_unlock(&x->p.lock);
	if (broken)
		d->events->broken(d->transport, 0);
	else
		d->events->config_changed(d->transport);
}

static void config_changed(struct ev_fd *w, uint32_t events)
{
	struct vdpa_proxy *x = container_of(w, struct vdpa_proxy, changed);
	uint8_t status = 0;
	eventfd_t n;

	if (eventfd_read(w->fd, &n) < 0)
		return;
	vdpa_refresh(x);
	if (VHOST_CALL(&x->v->vhost, VHOST_VDPA_GET_STATUS, &status) < 0)
		status = 0;
	LOCK_SCOPE(&x->p.lock);
	x->needs_reset |= status & VIRTIO_S_NEEDS_RESET;
	if (!x->telling)
		ev_post(x->p.dev.host->control, &x->tell);
	x->telling = true;
}

static void handle_write(struct ev_msg *m)
{
	struct vdpa_proxy *x = container_of(m, struct vdpa_proxy, write);
	uint8_t bytes[VDPA_CONFIG_MAX];
	uint32_t from, len;
	int r;

	pthread_mutex_lock(&x->p.lock);
	from = x->from;
	len = x->to - x->from;
	memcpy(bytes, x->config + from, len);
	x->from = x->to = 0;
	x->writing = false;
	pthread_mutex_unlock(&x->p.lock);
	r = vdpa_config_set(x->v, from, bytes, len);
	if (r < 0)
		vhost_proxy_log(&x->p, r, x->v->vhost.failed);
}

void vdpa_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	struct vdpa_proxy *x = vdpa_of(d);

	LOCK_SCOPE(&x->p.lock);
	memcpy(buf, x->config + off, len);
}

void vdpa_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	struct vdpa_proxy *x = vdpa_of(d);

	LOCK_SCOPE(&x->p.lock);
	memcpy(x->config + off, buf, len);
	x->from = x->writing ? MIN(x->from, off) : off;
	x->to = x->writing ? MAX(x->to, off + len) : off + len;
	if (!x->writing)
		ev_post(x->p.loop, &x->write);
	x->writing = true;
}

int vdpa_config_watch(struct vdpa_proxy *x)
{
	int r = x->changed.loop ? 0 : ev_add(x->p.loop, &x->changed, EPOLLIN);

	x->v->vhost.failed = "epoll_ctl";
	return r < 0 ? r : VHOST_CALL(&x->v->vhost, VHOST_VDPA_SET_CONFIG_CALL, &x->changed.fd);
}

int vdpa_config_init(struct vdpa_proxy *x)
{
	x->write.handle = handle_write;
	x->tell.handle = handle_tell;
	x->changed = (struct ev_fd){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = config_changed};
	return x->changed.fd < 0 ? -errno : 0;
}

static bool telling(struct vdpa_proxy *x)
{
	LOCK_SCOPE(&x->p.lock);
	return x->telling;
}

void vdpa_config_wait(struct vdpa_proxy *x)
{
	while (telling(x))
		ev_run_once(x->p.dev.host->control, 0);
}
