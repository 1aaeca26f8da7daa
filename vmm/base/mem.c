/* SPDX-License-Identifier: Apache-2.0 */
/* Backing is chosen once, here. By default a sealed memfd a region, mapped shared: it can be handed
 * to an offload process at any time, and nobody who has it can shrink it under our feet. It costs
 * about 10 us more at start than anonymous memory. Two options want private anonymous memory
 * instead: mergeable (KSM looks at nothing else) and thp without shared=on (many hosts give shmem
 * no huge pages even when asked). RAM is not reserved, so that it may exceed what the host has;
 * hugetlb is, because there the alternative is a SIGBUS in the middle of a guest's life. */
#include "vmm/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
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
	if (o->mergeable || (o->thp && !o->shared && !o->hugepages))
		return BACKING_ANON;
	return BACKING_MEMFD;
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

/* The unit that every region must be a multiple of. */
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
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char text[24];

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

static int add_region(struct guest_mem *m, const struct mem_range *range, const struct mem_opts *o,
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

int guest_mem_init(struct guest_mem *m, const struct mem_range *ranges, unsigned n,
	const struct mem_opts *opts, struct err *e)
{
	static const struct mem_opts none = {.numa_node = -1};
	uint64_t unit, file_offset = 0;
	int r;

	if (!opts)
		opts = &none;
	*m = (struct guest_mem){.page_size = (size_t)sysconf(_SC_PAGESIZE)};
	r = check_opts(opts, e);
	if (r == 0)
		r = backing_unit(opts, m->page_size, &unit, e);
	if (r == 0)
		r = check_ranges(ranges, n, unit, e);
	for (unsigned i = 0; r == 0 && i < n; i++) {
		r = add_region(m, &ranges[i], opts, unit, file_offset, e);
		file_offset += ranges[i].size;
	}
	if (r < 0)
		guest_mem_fini(m);
	return r;
}

void guest_mem_fini(struct guest_mem *m)
{
	if (!m)
		return;
	guest_mem_log_stop(m);
	for (unsigned i = 0; i < m->n; i++) {
		if (m->region[i].host)
			munmap(m->region[i].host, m->region[i].size);
		cleanup_closep(&m->region[i].fd);
	}
	*m = (struct guest_mem){0};
}

static const struct mem_region *find(const struct guest_mem *m, uint64_t gpa)
{
	for (unsigned i = 0; i < m->n; i++)
		if (gpa - m->region[i].gpa < m->region[i].size) /* wraps when below */
			return &m->region[i];
	return NULL;
}

void *guest_mem_ptr(const struct guest_mem *m, uint64_t gpa, uint64_t len)
{
	const struct mem_region *r = find(m, gpa);

	if (!r || len == 0 || len > r->size - (gpa - r->gpa))
		return NULL;
	return r->host + (gpa - r->gpa);
}

/* Bytes of [gpa, gpa+len) that lie in gpa's region; 0 when gpa is no RAM. */
static uint64_t run_length(const struct mem_region *r, uint64_t gpa, uint64_t len)
{
	return r ? MIN(len, r->size - (gpa - r->gpa)) : 0;
}

static bool all_ram(const struct guest_mem *m, uint64_t gpa, uint64_t len)
{
	uint64_t run;

	for (; len; gpa += run, len -= run) {
		run = run_length(find(m, gpa), gpa, len);
		if (!run || (run < len && gpa + run == 0)) /* nothing continues past 2^64 */
			return false;
	}
	return true;
}

int guest_mem_read(const struct guest_mem *m, uint64_t gpa, void *buf, size_t len)
{
	uint8_t *to = buf;

	if (!all_ram(m, gpa, len))
		return -EFAULT;
	while (len) {
		const struct mem_region *r = find(m, gpa);
		size_t run = run_length(r, gpa, len);

		memcpy(to, r->host + (gpa - r->gpa), run);
		to += run;
		gpa += run;
		len -= run;
	}
	return 0;
}

int guest_mem_write(struct guest_mem *m, uint64_t gpa, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	if (!all_ram(m, gpa, len))
		return -EFAULT;
	for (size_t done = 0, run; done < len; done += run) {
		const struct mem_region *r = find(m, gpa + done);

		run = run_length(r, gpa + done, len - done);
		memcpy(r->host + (gpa + done - r->gpa), from + done, run);
	}
	/* After the copy: who collects the bitmap in between sees the page again later. */
	guest_mem_dirty(m, gpa, len);
	return 0;
}

static void mark(const struct mem_region *r, size_t page, uint64_t off, uint64_t len)
{
	_Atomic uint64_t *dirty = __atomic_load_n(&r->dirty, __ATOMIC_ACQUIRE);

	if (!dirty)
		return;
	for (uint64_t p = off / page; p <= (off + len - 1) / page; p++)
		atomic_fetch_or_explicit(&dirty[p / 64], 1ULL << p % 64, memory_order_relaxed);
}

void guest_mem_dirty(struct guest_mem *m, uint64_t gpa, uint64_t len)
{
	while (len) {
		const struct mem_region *r = find(m, gpa);
		uint64_t run = run_length(r, gpa, len);

		if (!run)
			return;
		mark(r, m->page_size, gpa - r->gpa, run);
		gpa += run;
		len -= run;
	}
}

int guest_mem_log_start(struct guest_mem *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct mem_region *r = &m->region[i];
		_Atomic uint64_t *bits;

		if (r->dirty)
			continue;
		bits = calloc((r->size / m->page_size + 63) / 64, sizeof(*bits));
		if (!bits) {
			guest_mem_log_stop(m);
			return -ENOMEM;
		}
		__atomic_store_n(&r->dirty, bits, __ATOMIC_RELEASE);
	}
	return 0;
}

/* Stopped world: a writer may still hold the bitmap otherwise. */
void guest_mem_log_stop(struct guest_mem *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		free((void *)m->region[i].dirty);
		m->region[i].dirty = NULL;
	}
}

static int discard_run(const struct mem_region *r, uint64_t off, uint64_t len)
{
	uint8_t *p = r->host + off;

	if (r->fd < 0) /* anonymous */
		return madvise(p, len, MADV_DONTNEED) < 0 ? -errno : 0;
	if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		    (off_t)(r->fd_offset + off), (off_t)len) == 0)
		return 0;
	if (errno != EBADF) /* a file that we opened for reading only, mapped privately */
		return -errno;
	p = mmap(p, len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	return p == MAP_FAILED ? -errno : 0;
}

int guest_mem_discard(struct guest_mem *m, uint64_t gpa, uint64_t len)
{
	if (m->pinned)
		return -EBUSY;
	if (gpa % m->page_size || len % m->page_size)
		return -EINVAL;
	if (!all_ram(m, gpa, len))
		return -EFAULT;
	while (len) {
		const struct mem_region *r = find(m, gpa);
		uint64_t run = run_length(r, gpa, len);
		int ret = discard_run(r, gpa - r->gpa, run);

		if (ret < 0)
			return ret;
		mark(r, m->page_size, gpa - r->gpa, run); /* it reads as zero now: a change */
		gpa += run;
		len -= run;
	}
	return 0;
}

int guest_mem_pin(struct guest_mem *m, const char *reason, const char **ret_why)
{
	if (m->discardable) {
		*ret_why = m->discard_reason;
		return -EBUSY;
	}
	m->pinned++;
	m->pin_reason = reason;
	return 0;
}

void guest_mem_unpin(struct guest_mem *m)
{
	m->pinned--;
}

int guest_mem_allow_discard(struct guest_mem *m, const char *reason, const char **ret_why)
{
	if (m->pinned) {
		*ret_why = m->pin_reason;
		return -EBUSY;
	}
	m->discardable++;
	m->discard_reason = reason;
	return 0;
}

void guest_mem_forbid_discard(struct guest_mem *m)
{
	m->discardable--;
}

uint64_t guest_mem_size(const struct guest_mem *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->n; i++)
		sum += m->region[i].size;
	return sum;
}
