/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory: a few regions of host memory at guest-physical addresses. The layout is built by
 * control and frozen while vCPUs run; reading the map needs no lock. Nobody keeps a host pointer
 * across a stopped world. Everything that writes guest memory either goes through guest_mem_write()
 * or marks what it wrote with guest_mem_dirty(). */
#ifndef VMM_BASE_MEM_H
#define VMM_BASE_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "vmm/base/err.h"

/* How RAM is backed; every field has a default of 0 meaning "no". */
struct mem_opts {
	bool shared;		  /* sealed memfd, MAP_SHARED: other processes may map it */
	bool hugepages;		  /* hugetlb */
	uint64_t hugepage_size;	  /* bytes, 0 = the host's default */
	bool thp;		  /* madvise(MADV_HUGEPAGE) */
	bool mergeable;		  /* madvise(MADV_MERGEABLE) */
	bool prefault;		  /* populate at start */
	int numa_node;		  /* bind to host node; -1 = none */
	const char *backing_file; /* private mapping of this file; NULL = none. Not owned */
};

struct mem_region {
	uint64_t gpa, size; /* bytes, page aligned */
	uint8_t *host;
	int fd; /* -1 for anonymous memory */
	uint64_t fd_offset;
	_Atomic uint64_t *dirty; /* one bit a page, NULL while dirty logging is off */
};

/* A machine has two or three; a vhost-user front-end may hand over many. */
#define GUEST_MEM_REGIONS 32

/* A dirty log that somebody else reads: a bit for each 4 KiB from guest-physical 0 on, whatever the
 * host's page. What lies past its end is not logged. */
#define MEM_LOG_PAGE 4096
struct mem_log {
	uint8_t *bits;
	uint64_t bytes;
};
/* Any thread. */
void mem_log_mark(const struct mem_log *l, uint64_t gpa, uint64_t len);

struct guest_mem {
	struct mem_region region[GUEST_MEM_REGIONS]; /* disjoint */
	unsigned n;   /* published last when a region is added under readers; see find() */
	bool logging; /* either log is on */
	const struct mem_log *log; /* guest_mem_log_to() */
	size_t page_size;
	/* Exclude each other, with a reason (guest_mem_pin): VFIO, vdpa and registered buffers pin;
	 * balloon and lazy restore discard. */
	unsigned pinned, discardable;
	const char *pin_reason, *discard_reason;
};

struct mem_range {
	uint64_t gpa, size;
};

/* Allocates backing for the n ranges. Returns 0 or a negative errno with e naming --memory. */
int guest_mem_init(struct guest_mem *m, const struct mem_range *ranges, unsigned n,
	const struct mem_opts *opts, struct err *e);
void guest_mem_fini(struct guest_mem *m); /* NULL and zeroed are fine */

/* Host pointer to [gpa, gpa+len), or NULL unless it lies whole in one region. len 0 gives NULL. */
void *guest_mem_ptr(const struct guest_mem *m, uint64_t gpa, uint64_t len);

/* Copies; the range may span adjacent regions. Returns 0 or -EFAULT, nothing written then. */
int guest_mem_read(const struct guest_mem *m, uint64_t gpa, void *buf, size_t len);
int guest_mem_write(struct guest_mem *m, uint64_t gpa, const void *buf, size_t len);

/* Is anything that is written to be marked? Any thread. */
static inline bool guest_mem_logging(const struct guest_mem *m)
{
	return __atomic_load_n(&m->logging, __ATOMIC_RELAXED);
}
/* Marks pages dirty. Any thread. */
void guest_mem_mark(struct guest_mem *m, uint64_t gpa, uint64_t len);
static inline void guest_mem_dirty(struct guest_mem *m, uint64_t gpa, uint64_t len)
{
	if (guest_mem_logging(m))
		guest_mem_mark(m, gpa, len);
}
/* Marks in the log that somebody else reads only, also what is no memory. */
void guest_mem_mark_log(struct guest_mem *m, uint64_t gpa, uint64_t len);
int guest_mem_log_start(struct guest_mem *m);
void guest_mem_log_stop(struct guest_mem *m);
/* Marks in l, too, from now on; NULL = no longer. Borrowed, and while others write guest memory
 * one of them may still mark in what was set before. */
void guest_mem_log_to(struct guest_mem *m, const struct mem_log *l);

/* Gives the pages back to the host; they read as zero later. -EBUSY while pinned. Page aligned. */
int guest_mem_discard(struct guest_mem *m, uint64_t gpa, uint64_t len);

/* Pin against discard or the reverse. Returns 0 or -EBUSY, and *ret_why names who excludes it. */
int guest_mem_pin(struct guest_mem *m, const char *reason, const char **ret_why);
void guest_mem_unpin(struct guest_mem *m);
int guest_mem_allow_discard(struct guest_mem *m, const char *reason, const char **ret_why);
void guest_mem_forbid_discard(struct guest_mem *m);

uint64_t guest_mem_size(const struct guest_mem *m); /* bytes over all regions */

#endif
