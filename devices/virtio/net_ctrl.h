/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of a network device's control queue (virtio 1.2 §5.1.6.5): read from a chain, judged and
 * answered, whoever serves the queue: virtio-net's worker, or a proxy whose peer has no control
 * queue. One command is known, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET (§5.1.6.5.5). */
#ifndef DEVICES_VIRTIO_NET_CTRL_H
#define DEVICES_VIRTIO_NET_CTRL_H

#include "devices/virtio/virtq.h"

struct net_ctrl_ops {
	/* So many pairs, 1 to max_pairs, are to be used from now on. 0, or a negative errno: the
	 * driver is told VIRTIO_NET_ERR. */
	int (*pairs)(void *arg, unsigned n);
};

/* Answers the chain c, a popped one of the control queue, and returns how many bytes that wrote: 1,
 * or 0 when the driver left no room for an answer. max_pairs 0: VIRTIO_NET_F_MQ was not accepted.
 */
uint32_t net_ctrl_answer(
	const struct virtq_chain *c, unsigned max_pairs, const struct net_ctrl_ops *ops, void *arg);

/* Its two halves, for who cannot answer at once: the pairs that c asks for, or -EINVAL when it is
 * malformed, unknown or out of range; and the answer, VIRTIO_NET_ERR when result is negative. */
int net_ctrl_pairs(const struct virtq_chain *c, unsigned max_pairs);
uint32_t net_ctrl_ack(const struct virtq_chain *c, int result);

#endif
