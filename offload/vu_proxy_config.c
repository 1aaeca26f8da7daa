/* SPDX-License-Identifier: Apache-2.0 */
/* Config space: read from the peer's copy; what a driver writes is told, the last of it, when the
 * one before has been told. */
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
			"vhost-user: the back-end refused the write cache's new mode");
	if (again && result != -EPIPE)
		tell_config(p);
}

static bool has_wce(const struct vu_proxy *p)
{
	return p->dev.type == VIRTIO_TYPE_BLOCK &&
	       atomic_load(&p->features) & UINT64_C(1) << VIRTIO_BLK_F_CONFIG_WCE;
}

static void tell_config(struct vu_proxy *p)
{
	struct vu_msg m = {.request = VU_SET_CONFIG,
		.size = offsetof(struct vu_config, bytes) + 1,
		.p.config = {.offset = WCE, .size = 1}};

	vu_peer_config(p->peer, WCE, m.p.config.bytes, 1);
	p->telling = vu_peer_say(p->peer, &m, on_told, p) == 0;
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

/* virtio 1.2 §5.2.4: of a disk's fields a driver writes `writeback` only, of a network device's
 * none. */
void vu_proxy_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	struct vu_proxy *p = vu_proxy_of(d);
	uint8_t wce = *(const uint8_t *)buf & 1;

	if (!has_wce(p) || off != WCE || len != 1)
		return;
	vu_peer_config_set(p->peer, WCE, &wce, 1);
	LOCK_SCOPE(&p->lock);
	if (!p->writing)
		ev_post(d->host->control, &p->write);
	p->writing = true;
}

void vu_proxy_config_ready(struct vu_proxy *p)
{
	if (has_wce(p) && p->announced)
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
