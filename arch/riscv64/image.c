/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel: a Linux Image, plain or gzip'd, entered at its first byte. */
#include "arch/arch.h"

#include "arch/common/image_linux.h"

int arch_load(struct guest_mem *m, const struct plan *p, int kernel_fd, int initrd_fd,
	struct boot *ret, struct err *e)
{
	return linux_image_load(m, p, "riscv64", kernel_fd, initrd_fd, ret, e);
}
