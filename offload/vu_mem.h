/* SPDX-License-Identifier: Apache-2.0 */
/* A front-end's memory in a back-end: regions that came as file descriptors, mapped, and kept both
 * as guest-physical (what descriptors hold) and by the front-end's own addresses (what ring
 * addresses are given in). A region is mapped only if its file cannot shrink under us: a memfd
 * sealed with F_SEAL_SHRINK, or hugetlbfs; a truncated file would be a SIGBUS in our hands. Regions
 * may be added while rings run; replacing or removing needs them stopped. */
#ifndef OFFLOAD_VU_MEM_H
#define OFFLOAD_VU_MEM_H

#include "offload/vhost_user.h"
#include "vmm/base/mem.h"

/* A part of a file that came from the front-end. */
struct vu_map {
	uint8_t *at; /* its first byte; NULL: none */
	uint64_t size;
	void *base; /* the whole mapping, from the page that holds the first byte */
	size_t len;
};
/* fd is borrowed. 0, or as vu_mem_add, *ret untouched. */
int vu_map(int fd, uint64_t offset, uint64_t size, bool allow_unsealed, struct vu_map *ret);
void vu_unmap(struct vu_map *m); /* m is empty then; an empty one is fine */

struct vu_mem {
	struct guest_mem guest; /* dev_host.dma */
	struct {
		uint64_t uva;
		struct vu_map map;
	} extra[VU_MEM_SLOTS];
	bool allow_unsealed; /* the operator said so; set after vu_mem_init */
};

void vu_mem_init(struct vu_mem *m);
void vu_mem_fini(struct vu_mem *m); /* unmaps; m is as after vu_mem_init, allow_unsealed kept */
/* A dirty log that was set stays. fds are borrowed. 0, or with m untouched: -EINVAL sizes,
 * alignment, overlap, wrap-around; -ENXIO the file is shorter than the region; -EPERM not sealed;
 * -ENOSPC; mmap's. */
int vu_mem_set(struct vu_mem *m, const struct vu_mem_table *t, const int *fds);
int vu_mem_add(struct vu_mem *m, const struct vu_region *r, int fd);
/* By address and size, as the specification has it. -ENOENT. */
int vu_mem_remove(struct vu_mem *m, const struct vu_region *r);
/* Guest-physical address of [uva, uva+len), or -EFAULT. */
int vu_mem_gpa(const struct vu_mem *m, uint64_t uva, uint64_t len, uint64_t *ret_gpa);

#endif
