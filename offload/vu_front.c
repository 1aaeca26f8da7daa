/* SPDX-License-Identifier: Apache-2.0 */
/* Front halves: what the VMM itself has to say about a device type whose queues are elsewhere.
 * Features are those of which we know that neither the transport nor the VMM has a part in them. */
#include <linux/virtio_blk.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>
#include "offload/vu_peer_priv.h"

#define BIT(b) (UINT64_C(1) << (b))
#define RINGS                                                                                      \
	(VIRTIO_BIT_INDIRECT_DESC | VIRTIO_BIT_EVENT_IDX | VIRTIO_BIT_VERSION_1 |                  \
		VIRTIO_BIT_RING_PACKED | VIRTIO_BIT_IN_ORDER)
#define TIMEOUT_MS 3000

/* Fields up to here every back-end has, QEMU's of any age too. */
#define BLK_CONFIG_LEN 60

void vu_peer_opts_blk(struct vu_peer_opts *ret)
{
	*ret = (struct vu_peer_opts){
		.fd = -1,
		.type = VIRTIO_TYPE_BLOCK,
		.queues = 1,
		.config_len = BLK_CONFIG_LEN,
		.must = VIRTIO_BIT_VERSION_1,
		.may = RINGS | BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) |
		       BIT(VIRTIO_BLK_F_GEOMETRY) | BIT(VIRTIO_BLK_F_RO) |
		       BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) |
		       BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_CONFIG_WCE) |
		       BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_DISCARD) |
		       BIT(VIRTIO_BLK_F_WRITE_ZEROES),
		.timeout_ms = TIMEOUT_MS,
	};
}

/* The address, link, MTU and number of pairs are the VMM's to say, as its configuration names them.
 */
void vu_peer_opts_net(struct vu_peer_opts *ret, const uint8_t mac[6], uint16_t mtu)
{
	struct virtio_net_config config = {
		.status = VIRTIO_NET_S_LINK_UP, .max_virtqueue_pairs = 1, .mtu = mtu};

	memcpy(config.mac, mac, sizeof(config.mac));
	*ret = (struct vu_peer_opts){
		.fd = -1,
		.type = VIRTIO_TYPE_NET,
		.queues = 2,
		.config_len = offsetof(struct virtio_net_config, speed),
		.own_config = true,
		.must = VIRTIO_BIT_VERSION_1,
		.may = RINGS | BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) |
		       BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) |
		       BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_GUEST_UFO) |
		       BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
		       BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_HOST_UFO) |
		       BIT(VIRTIO_NET_F_MRG_RXBUF),
		.own = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) |
		       (mtu ? BIT(VIRTIO_NET_F_MTU) : 0),
		.timeout_ms = TIMEOUT_MS,
	};
	memcpy(ret->config, &config, ret->config_len);
}

/* ---- what the number of queues entails ---- */

/* The driver chooses how many pairs it uses, over a control queue, which is ours. */
static void net_queues(struct vu_peer_opts *o)
{
	uint16_t pairs = o->queues / 2;

	if (!o->own_config || pairs < 2)
		return;
	o->own |= BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ);
	memcpy(o->config + offsetof(struct virtio_net_config, max_virtqueue_pairs), &pairs,
		sizeof(pairs));
}

void vu_front_queues(struct vu_peer_opts *o)
{
	if (o->type == VIRTIO_TYPE_NET)
		net_queues(o);
	if (o->type != VIRTIO_TYPE_BLOCK)
		return;
	if (o->queues > 1)
		o->must |= BIT(VIRTIO_BLK_F_MQ);
	else
		o->may &= ~BIT(VIRTIO_BLK_F_MQ);
}

/* A peer may have more queues than the device. */
void vu_front_config(const struct vu_peer_opts *o, uint8_t *config)
{
	uint16_t n = o->queues;

	if (o->type == VIRTIO_TYPE_BLOCK)
		memcpy(config + offsetof(struct virtio_blk_config, num_queues), &n, sizeof(n));
}
