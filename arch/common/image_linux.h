/* SPDX-License-Identifier: Apache-2.0 */
/* Linux `Image` files of arm64 and riscv64: the same 64-byte header but for the magic number
 * (Documentation/arch/arm64/booting.rst §4, arch/riscv/boot-image-header.rst). */
#ifndef ARCH_COMMON_IMAGE_LINUX_H
#define ARCH_COMMON_IMAGE_LINUX_H

#include <stdbool.h>
#include <stdint.h>
#include "arch/boot.h"
#include "vmm/base/err.h"
#include "vmm/base/mem.h"

struct linux_image {
	uint64_t text_offset; /* from a 2 MiB boundary */
	uint64_t image_size;  /* with bss */
	uint64_t flags;	      /* bit 0: big-endian */
};

/* Loads kernel and initramfs as arch_load() promises. chip is "arm64" or "riscv64". */
int linux_image_load(struct guest_mem *m, const struct plan *p, const char *chip, int kernel_fd,
	int initrd_fd, struct boot *ret, struct err *e);

#endif
