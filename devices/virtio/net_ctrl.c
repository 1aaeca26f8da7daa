/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/net_ctrl.h"

#include <errno.h>
#include <linux/virtio_net.h>

int net_ctrl_pairs(const struct virtq_chain *c, unsigned max_pairs)
{
	struct virtio_net_ctrl_hdr h;
	struct virtio_net_ctrl_mq mq;

	if (c->out_len != sizeof(h) + sizeof(mq))
		return -EINVAL;
	virtq_chain_read(c, 0, &h, sizeof(h));
	virtq_chain_read(c, sizeof(h), &mq, sizeof(mq));
	if (h.class != VIRTIO_NET_CTRL_MQ || h.cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)
		return -EINVAL;
	if (mq.virtqueue_pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || mq.virtqueue_pairs > max_pairs)
		return -EINVAL;
	return mq.virtqueue_pairs;
}

uint32_t net_ctrl_ack(const struct virtq_chain *c, int result)
{
	uint8_t ack = result < 0 ? VIRTIO_NET_ERR : VIRTIO_NET_OK;

	return virtq_chain_write(c, 0, &ack, sizeof(ack));
}

uint32_t net_ctrl_answer(
	const struct virtq_chain *c, unsigned max_pairs, const struct net_ctrl_ops *ops, void *arg)
{
	int r = net_ctrl_pairs(c, max_pairs);

	return net_ctrl_ack(c, r < 0 ? r : ops->pairs(arg, r));
}
