/* SPDX-License-Identifier: Apache-2.0 */
/* Parts whose interface exists before they do. */
#include <stdlib.h>
#include "devices/virtio/devs.h"
#include "vmm/vm_internal.h"

#define WEAK __attribute__((weak))

WEAK int arch_vcpu_nmi(struct arch_vcpu *c)
{
	return 0;
}
WEAK void virtio_input_power_key(struct virtio_dev *d)
{
}
WEAK int virtio_input_new(struct dev_host *h, const char *id, struct virtio_dev **ret_dev)
{
	return -EOPNOTSUPP;
}
