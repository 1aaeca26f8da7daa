/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/virtio.h"

void virtio_signal_raise(const struct virtio_signal *s, uint32_t status_bits)
{
	/* The status first: the driver's handler reads it (virtio 1.2 §4.1.4.5.1, §4.2.2.1). */
	if (s->status)
		atomic_fetch_or(s->status, status_bits);
	if (s->raise)
		s->raise(s->arg);
	else if (s->line)
		irq_set(s->line, true);
}

uint64_t virtio_dev_features(struct virtio_dev *d)
{
	uint64_t f = d->ops->features(d) | VIRTIO_BIT_VERSION_1;

	return d->no_packed ? f & ~VIRTIO_BIT_RING_PACKED : f;
}
