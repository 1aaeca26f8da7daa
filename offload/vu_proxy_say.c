/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of the device as a whole: what its driver agreed to, the guest's memory, the area of
 * what is in flight, where writes are logged. On control's loop. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>
#include "offload/vu_proxy_priv.h"
#include "vmm/base/cleanup.h"

#define CONFIG(field) offsetof(struct virtio_net_config, field)

static uint64_t peers_features(const struct vu_proxy *p)
{
	struct vu_peer_status st;

	vu_peer_status(p->peer, &st);
	return st.features;
}

static bool peer_speaks(const struct vu_proxy *p, uint64_t protocol)
{
	struct vu_peer_status st;

	vu_peer_status(p->peer, &st);
	return st.protocol & protocol;
}

/* ---- the log ---- */

static void say_log(struct vu_proxy *p)
{
	struct vu_msg m = {.request = VU_SET_LOG_BASE,
		.size = sizeof(m.p.log),
		.p.log.size = p->log_size,
		.fds = {p->log_fd},
		.nfds = 1};

	vu_peer_say(p->peer, &m, NULL, p->peer);
}

static bool can_log(const struct vu_proxy *p)
{
	return peers_features(p) & VU_F_LOG_ALL && peer_speaks(p, VU_PF(LOG_SHMFD));
}

void vu_proxy_say_addr(struct proxy_queue *q)
{
	struct vu_msg m = {
		.request = VU_SET_VRING_ADDR, .size = sizeof(q->addr), .p.addr = q->addr};

	m.p.addr.flags = q->proxy->log_fd >= 0 && can_log(q->proxy) ? VU_VRING_LOG : 0;
	vu_peer_say(q->proxy->peer, &m, NULL, q->proxy->peer);
}

/* "To start/stop logging of data/used ring writes, the front-end may send messages SET_FEATURES
 * with VHOST_F_LOG_ALL and SET_VRING_ADDR with VHOST_VRING_F_LOG." */
static void log_changed(struct vu_proxy *p)
{
	if (!p->announced)
		return; /* said with the rest */
	p->announced = false;
	vu_proxy_announce(p);
	for (unsigned i = 0; i < p->dev.nqueues; i++)
		if (p->queue[i].set_up)
			vu_proxy_say_addr(&p->queue[i]);
}

int vu_proxy_log(struct virtio_dev *d, int fd, uint64_t size)
{
	struct vu_proxy *p = vu_proxy_of(d);
	int own = -1;

	if (fd >= 0 && !can_log(p))
		return -ENOTSUP;
	if (fd >= 0)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && own < 0)
		return -errno;
	cleanup_closep(&p->log_fd);
	p->log_fd = own;
	p->log_size = size;
	log_changed(p);
	return 0;
}

/* ---- the driver's session ---- */

/* Of what the driver agreed to, the peer hears what it offered. */
static uint64_t for_peer(const struct vu_proxy *p)
{
	const struct vu_peer_opts *o = vu_peer_opts(p->peer);
	uint64_t has = peers_features(p);
	uint64_t f = atomic_load(&p->features) & has & (o->may | o->own);

	if (p->log_fd >= 0 && can_log(p))
		f |= VU_F_LOG_ALL;
	return f | (has & VU_F_PROTOCOL_FEATURES);
}

static void on_mtu(void *arg, int result, const struct vu_msg *reply)
{
	struct vu_proxy *p = arg;

	if (result == -EINVAL)
		log_line(p->dev.host->log, LOG_WARN, p->dev.id,
			"vhost-user: the back-end does not take frames as long as the mtu allows");
}

static void say_mtu(struct vu_proxy *p)
{
	struct vu_msg m = {.request = VU_NET_SET_MTU, .size = 8};
	uint16_t mtu;

	if (p->dev.type != VIRTIO_TYPE_NET || !peer_speaks(p, VU_PF(MTU)) ||
		!(atomic_load(&p->features) & UINT64_C(1) << VIRTIO_NET_F_MTU))
		return;
	vu_peer_config(p->peer, CONFIG(mtu), &mtu, sizeof(mtu));
	m.p.u64 = mtu;
	vu_peer_say(p->peer, &m, on_mtu, p);
}

bool vu_proxy_announce(struct vu_proxy *p)
{
	uint64_t f = for_peer(p);

	if (!p->announced || p->announced_features != f) {
		if (f & VU_F_LOG_ALL)
			say_log(p);
		vu_peer_say_u64(p->peer, VU_SET_FEATURES, f);
		say_mtu(p);
		vu_peer_share(p->peer, p->dev.host->dma);
	}
	p->announced = true;
	p->announced_features = f;
	return vu_peer_area(p->peer);
}

void vu_proxy_say_where(struct vu_proxy *p)
{
	struct vu_msg m = {.request = VU_SEND_RARP, .size = 8};

	if (p->dev.type != VIRTIO_TYPE_NET || !peer_speaks(p, VU_PF(RARP)) || !p->announced)
		return;
	vu_peer_config(p->peer, CONFIG(mac), &m.p.u64, 6);
	vu_peer_say(p->peer, &m, NULL, p->peer);
}
