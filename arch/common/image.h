/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel and initramfs files: reading them straight into guest memory, unpacking gzip on the way.
 * A file is never held in host memory as a whole, and what an archive unpacks to is bounded by the
 * guest memory it goes into. */
#ifndef ARCH_COMMON_IMAGE_H
#define ARCH_COMMON_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "arch/boot.h"
#include "vmm/base/err.h"
#include "vmm/base/mem.h"

/* A file that is being read from its start; embedded. */
struct image_file {
	int fd;		  /* borrowed */
	const char *flag; /* "--kernel": for messages */
	void *gz;	  /* zlib's reader when the file is packed, else NULL */
	uint64_t pos;	  /* of the (unpacked) bytes */
	uint64_t size;	  /* of the file as it lies on disk */
};

/* fd is borrowed and must be a regular file. Returns 0 or a negative errno with e naming flag. */
int image_open(struct image_file *f, int fd, const char *flag, struct err *e);
void image_close(struct image_file *f);

/* Reads up to len (unpacked) bytes, fewer only at the end of the file. Returns the count or a
 * negative errno with e naming the flag: a read error, or a damaged or truncated archive. */
ssize_t image_read(struct image_file *f, void *buf, size_t len, struct err *e);

/* Reads the rest of f to gpa, at most max bytes of RAM. Returns the count (ssize_t: RAM is below
 * 2^63), or -E2BIG with e saying that it does not fit in --memory, or as image_read. */
ssize_t image_read_rest(
	struct image_file *f, struct guest_mem *m, uint64_t gpa, uint64_t max, struct err *e);

/* Reads the initramfs to the highest 64 KiB-aligned place inside [floor, ceiling) and fills
 * boot->initrd and initrd_size. -ENOSPC and e when it does not fit there. fd is borrowed. */
int image_load_initrd(struct guest_mem *m, int fd, uint64_t floor, uint64_t ceiling,
	struct boot *boot, struct err *e);

#endif
