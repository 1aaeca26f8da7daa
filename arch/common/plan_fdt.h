/* SPDX-License-Identifier: Apache-2.0 */
/* What the plans of the chips with a device tree share: one bank of RAM, the loaded tree inside it,
 * a 64-bit PCI window above it, and the checks of the shape. */
#ifndef ARCH_COMMON_PLAN_FDT_H
#define ARCH_COMMON_PLAN_FDT_H

#include "arch/plan.h"
#include "vmm/base/err.h"

/* arm64 Linux: at most 2 MiB (Documentation/arch/arm64/booting) */
#define PLAN_FDT_SIZE (2 * MIB)

/* Checks the shape against RAM at ram_base and fills the parts of *ret named above. -EINVAL with e
 * naming --memory or --cpus. */
int plan_fdt_ram(const struct vm_shape *shape, uint64_t ram_base, struct plan *ret, struct err *e);

#endif
