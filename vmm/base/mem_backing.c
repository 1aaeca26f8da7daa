/* SPDX-License-Identifier: Apache-2.0 */
/* Backing is chosen once, here. What other processes must map (shared=on) and huge pages are a
 * sealed memfd a region, mapped shared: nobody who has it can shrink it under our feet. Everything
 * else is private anonymous memory, because its page faults cost less than shmem's: a Debian guest
 * on an arm64 host boots in 5.9 s of virtual time instead of 8.1 s. KSM (mergeable) looks at
 * nothing else, and many hosts give shmem no huge pages even when asked. RAM is not reserved, so
 * that it may exceed what the host has; hugetlb is, because there the alternative is a SIGBUS in
 * the middle of a guest's life. */
#include "vmm/base/mem_backing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/fd_arg.h"
#include "vmm/base/num.h"

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum backing { BACKING_MEMFD, BACKING_ANON, BACKING_FILE };

static enum backing backing_of(const struct mem_opts *o)
{
	if (o->backing_file)
		return BACKING_FILE;
	return o->shared || o->hugepages ? BACKING_MEMFD : BACKING_ANON;
}

static int check_opts(const struct mem_opts *o, struct err *e)
{
	if (o->mergeable && (o->shared || o->hugepages))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory mergeable: cannot be on together with %s=on; the host merges only private, ordinary pages",
			o->shared ? "shared" : "hugepages");
	if (o->backing_file && (o->shared || o->hugepages))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory file: is mapped privately; %s=on is not possible with it",
			o->shared ? "shared" : "hugepages");
	if (o->hugepage_size && !o->hugepages)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory hugepage_size: only together with hugepages=on");
	if (o->hugepage_size && !is_pow2(o->hugepage_size))
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory hugepage_size: must be a power of two, such as 2M or 1G");
	if (o->hugepages && o->thp)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory thp: cannot be on together with hugepages=on; choose one");
	return 0;
}

/* The host's default, from the line "Hugepagesize:    2048 kB"; 0 when it has no hugetlb. */
static uint64_t default_hugepage_size(void)
{
	cleanup_file FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	unsigned long kib;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Hugepagesize: %lu kB", &kib) == 1)
			return (uint64_t)kib * KIB;
	return 0;
}

static int backing_unit(const struct mem_opts *o, size_t page, uint64_t *ret_unit, struct err *e)
{
	*ret_unit = page;
	if (!o->hugepages)
		return 0;
	*ret_unit = o->hugepage_size ? o->hugepage_size : default_hugepage_size();
	if (*ret_unit < page)
		return err_set(e, ERR_HOST, -ENOTSUP,
			"--memory hugepages: this host has no huge pages%s; leave hugepages=off",
			o->hugepage_size ? " of that hugepage_size" : "");
	return 0;
}

static int check_ranges(const struct mem_range *r, unsigned n, uint64_t unit, struct err *e)
{
	char size[24], want[24];
	uint64_t end = 0, last;

	if (n == 0 || n > GUEST_MEM_REGIONS)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory size: needs 1 to %d regions, not %u", GUEST_MEM_REGIONS, n);
	for (unsigned i = 0; i < n; i++) {
		if (r[i].size == 0 || r[i].gpa % unit || r[i].size % unit)
			return err_set(e, ERR_USAGE, -EINVAL,
				"--memory size: %s of RAM is not a multiple of the page size, %s",
				num_format_size(r[i].size, size), num_format_size(unit, want));
		if (__builtin_add_overflow(r[i].gpa, r[i].size - 1, &last) || r[i].gpa < end)
			return err_set(e, ERR_USAGE, -EINVAL,
				"--memory size: %s of RAM does not fit the address space",
				num_format_size(r[i].size, size));
		end = last + 1;
	}
	return 0;
}

int mem_check(const struct mem_opts *o, const struct mem_range *ranges, unsigned n, size_t page,
	uint64_t *ret_unit, struct err *e)
{
	uint64_t unit;
	int r = check_opts(o, e);

	if (r == 0)
		r = backing_unit(o, page, &unit, e);
	if (r == 0)
		r = check_ranges(ranges, n, unit, e);
	if (r == 0)
		*ret_unit = unit;
	return r;
}

static int new_memfd(const struct mem_opts *o, uint64_t unit, uint64_t size, struct err *e)
{
	cleanup_fd int fd = -1;
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	char text[24];

	if (o->hugepages)
		flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(unit) << MFD_HUGE_SHIFT;
	fd = memfd_create("guest-ram", flags);
	if (fd < 0 && o->hugepages)
		return err_set(e, ERR_HOST, -errno,
			"--memory hugepage_size: this host has no huge pages of %s",
			num_format_size(unit, text));
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return err_set(e, ERR_HOST, -errno, "--memory size: cannot make a memfd of %s: %s",
			num_format_size(size, text), strerror(errno));
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return err_set(e, ERR_HOST, -errno, "--memory size: cannot seal the memfd: %s",
			strerror(errno));
	return steal_fd(&fd);
}

static int open_file(const char *path, uint64_t need, struct err *e)
{
	cleanup_fd int fd = fd_arg("--memory file", path, O_RDONLY, e);
	struct stat st;
	char text[24];

	if (fd == -ENOENT)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	else if (fd < 0)
		return fd;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, ERR_HOST, -errno, "--memory file: cannot open %s: %s", path,
			strerror(errno));
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < need)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory file: %s is not a file of at least %s", path,
			num_format_size(need, text));
	return steal_fd(&fd);
}

static int map_region(struct mem_region *r, const struct mem_opts *o, struct err *e)
{
	enum backing b = backing_of(o);
	int flags = (b == BACKING_MEMFD ? MAP_SHARED : MAP_PRIVATE) |
		    (b == BACKING_ANON ? MAP_ANONYMOUS : 0) | (o->hugepages ? 0 : MAP_NORESERVE);
	void *p = mmap(NULL, r->size, PROT_READ | PROT_WRITE, flags, r->fd, (off_t)r->fd_offset);
	char text[24];

	if (p == MAP_FAILED && o->hugepages)
		return err_set(e, ERR_HOST, -errno,
			"--memory hugepages: the host has not enough free huge pages for %s (see /proc/sys/vm/nr_hugepages)",
			num_format_size(r->size, text));
	if (p == MAP_FAILED)
		return err_set(e, ERR_HOST, -errno, "--memory size: cannot map %s of RAM: %s",
			num_format_size(r->size, text), strerror(errno));
	r->host = p;
	return 0;
}

static int bind_node(const struct mem_region *r, int node, struct err *e)
{
	unsigned long mask[16] = {0}; /* 1024 nodes, the kernel's largest */
	const unsigned bits = 8 * sizeof(mask[0]);

	if ((size_t)node < 8 * sizeof(mask)) {
		mask[(unsigned)node / bits] = 1UL << (unsigned)node % bits;
		if (syscall(SYS_mbind, r->host, r->size, MPOL_BIND, mask, 8 * sizeof(mask) + 1,
			    0) == 0)
			return 0;
	}
	return err_set(e, ERR_HOST, -EINVAL,
		"--memory numa_node: this host has no node %d that we may use", node);
}

/* By touching, where the kernel cannot populate. Nobody else uses the memory yet. */
static void touch_pages(const struct mem_region *r, size_t page)
{
	for (uint64_t at = 0; at < r->size; at += page) {
		volatile uint8_t *p = r->host + at;
		*p = *p;
	}
}

static int prefault(const struct mem_region *r, size_t page, struct err *e)
{
	char text[24];

	if (madvise(r->host, r->size, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno == EINVAL || errno == ENOSYS) {
		touch_pages(r, page);
		return 0;
	}
	return err_set(e, ERR_HOST, -errno, "--memory prefault: the host cannot provide %s now: %s",
		num_format_size(r->size, text), strerror(errno));
}

/* Policies before the first page is touched. */
static int apply_opts(
	const struct mem_region *r, const struct mem_opts *o, size_t page, struct err *e)
{
	int ret = 0;

	if (o->thp && madvise(r->host, r->size, MADV_HUGEPAGE) < 0)
		return err_set(e, ERR_HOST, -errno,
			"--memory thp: this kernel has no transparent huge pages; leave thp=off");
	if (o->mergeable && madvise(r->host, r->size, MADV_MERGEABLE) < 0)
		return err_set(e, ERR_HOST, -errno,
			"--memory mergeable: this kernel cannot merge pages (KSM); leave mergeable=off");
	if (o->numa_node >= 0)
		ret = bind_node(r, o->numa_node, e);
	if (ret == 0 && o->prefault)
		ret = prefault(r, page, e);
	if (ret == 0)
		madvise(r->host, r->size,
			MADV_DONTDUMP); /* a core file is about us, not the guest */
	return ret;
}

int mem_add_region(struct guest_mem *m, const struct mem_range *range, const struct mem_opts *o,
	uint64_t unit, uint64_t file_offset, struct err *e)
{
	struct mem_region *r = &m->region[m->n];
	int ret = 0;

	*r = (struct mem_region){.gpa = range->gpa, .size = range->size, .fd = -1};
	if (backing_of(o) == BACKING_MEMFD)
		ret = r->fd = new_memfd(o, unit, range->size, e);
	else if (backing_of(o) == BACKING_FILE)
		ret = r->fd = open_file(o->backing_file, file_offset + range->size, e);
	if (ret < 0)
		return ret;
	if (backing_of(o) == BACKING_FILE)
		r->fd_offset = file_offset;
	m->n++; /* from here guest_mem_fini() knows it */
	ret = map_region(r, o, e);
	return ret < 0 ? ret : apply_opts(r, o, m->page_size, e);
}
