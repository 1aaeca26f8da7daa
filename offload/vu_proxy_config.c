/* SPDX-License-Identifier: Apache-2.0 */
/* Config space: read from the peer's copy. What a driver writes goes into the copy and is told, the
 * last of it, when what came before has been told; to a successor all of it is told again. */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stddef.h>
#include "offload/vu_proxy_priv.h"
#include "vmm/base/cleanup.h"

#define WCE offsetof(struct virtio_blk_config, wce)

static void tell_config(struct vu_proxy *p);

static void on_told(void *arg, int result, const struct vu_msg *reply)
{
	struct vu_proxy *p = arg;
	bool again = p->again;

	p->telling = p->again = false;
	if (result == -EINVAL)
		log_line(p->dev.host->log, LOG_WARN, p->dev.id,
			"vhost-user: the back-end refused what the driver wrote to its config "
			"space");
	if (again && result != -EPIPE)
		tell_config(p);
}

static void tell_config(struct vu_proxy *p)
{
	struct vu_msg m = {.request = VU_SET_CONFIG};

	vu_peer_config_wrote(p->peer, &m.p.config);
	m.size = offsetof(struct vu_config, bytes) + m.p.config.size;
	p->telling = m.p.config.size && vu_peer_say(p->peer, &m, on_told, p) == 0;
}

void vu_proxy_handle_write(struct ev_msg *m)
{
	struct vu_proxy *p = container_of(m, struct vu_proxy, write);

	pthread_mutex_lock(&p->lock);
	p->writing = false;
	pthread_mutex_unlock(&p->lock);
	if (p->telling)
		p->again = true;
	else
		tell_config(p);
}

void vu_proxy_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	vu_peer_config(vu_proxy_of(d)->peer, off, buf, len);
}

/* virtio 1.2 §5.2.4: of a disk's fields a driver writes `writeback` only, §5.1.4: of a network
 * device's none. Of others the peer judges. */
static bool may_write(const struct vu_proxy *p, uint32_t off, uint32_t len)
{
	switch (p->dev.type) {
	case VIRTIO_TYPE_BLOCK:
		return off == WCE && len == 1 &&
		       atomic_load(&p->features) & UINT64_C(1) << VIRTIO_BLK_F_CONFIG_WCE;
	case VIRTIO_TYPE_NET:
		return false;
	default:
		return true;
	}
}

void vu_proxy_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	struct vu_proxy *p = vu_proxy_of(d);
	uint8_t wce = *(const uint8_t *)buf & 1;

	if (!may_write(p, off, len))
		return;
	vu_peer_config_set(p->peer, off, d->type == VIRTIO_TYPE_BLOCK ? &wce : buf, len);
	LOCK_SCOPE(&p->lock);
	if (!p->writing)
		ev_post(d->host->control, &p->write);
	p->writing = true;
}

void vu_proxy_config_ready(struct vu_proxy *p)
{
	if (p->announced)
		tell_config(p);
}

void vu_proxy_config_end(struct vu_proxy *p)
{
	bool posted = true;

	p->telling = true;
	while (posted) {
		pthread_mutex_lock(&p->lock);
		posted = p->writing;
		pthread_mutex_unlock(&p->lock);
		if (posted)
			ev_run_once(p->dev.host->control, 0);
	}
}
