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
