/* SPDX-License-Identifier: Apache-2.0 */
/* The map of guest memory: a handful of regions, searched in order. Where their memory comes from
 * is in mem_backing.c. */
#include "vmm/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/mem_backing.h"
#include "vmm/base/num.h"

int guest_mem_init(struct guest_mem *m, const struct mem_range *ranges, unsigned n,
	const struct mem_opts *opts, struct err *e)
{
	static const struct mem_opts none = {.numa_node = -1};
	uint64_t unit, file_offset = 0;
	int r;

	if (!opts)
		opts = &none;
	*m = (struct guest_mem){.page_size = (size_t)sysconf(_SC_PAGESIZE)};
	r = mem_check(opts, ranges, n, m->page_size, &unit, e);
	for (unsigned i = 0; r == 0 && i < n; i++) {
		r = mem_add_region(m, &ranges[i], opts, unit, file_offset, e);
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

/* A vhost-user front-end may add regions while workers look: a region is whole before n counts it.
 */
static const struct mem_region *find(const struct guest_mem *m, uint64_t gpa)
{
	unsigned n = __atomic_load_n(&m->n, __ATOMIC_ACQUIRE);

	for (unsigned i = 0; i < n; i++)
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

void mem_log_mark(const struct mem_log *l, uint64_t gpa, uint64_t len)
{
	uint64_t last = gpa + len - 1;

	if (!len || last < gpa)
		return;
	for (uint64_t p = gpa / MEM_LOG_PAGE; p <= last / MEM_LOG_PAGE && p / 8 < l->bytes; p++)
		__atomic_fetch_or(&l->bits[p / 8], 1u << p % 8, __ATOMIC_RELAXED);
}

void guest_mem_mark_log(struct guest_mem *m, uint64_t gpa, uint64_t len)
{
	const struct mem_log *log = __atomic_load_n(&m->log, __ATOMIC_ACQUIRE);

	if (log)
		mem_log_mark(log, gpa, len);
}

void guest_mem_mark(struct guest_mem *m, uint64_t gpa, uint64_t len)
{
	guest_mem_mark_log(m, gpa, len);
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

static void set_logging(struct guest_mem *m)
{
	bool on = m->log;

	for (unsigned i = 0; i < m->n; i++)
		on |= m->region[i].dirty != NULL;
	__atomic_store_n(&m->logging, on, __ATOMIC_RELAXED);
}

void guest_mem_log_to(struct guest_mem *m, const struct mem_log *l)
{
	__atomic_store_n(&m->log, l, __ATOMIC_RELEASE);
	set_logging(m);
}

int guest_mem_log_start(struct guest_mem *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct mem_region *r = &m->region[i];
		_Atomic uint64_t *bits;

		if (r->dirty)
			continue;
		bits = calloc(r->size / m->page_size / 64 + 1, sizeof(*bits));
		if (!bits) {
			guest_mem_log_stop(m);
			return -ENOMEM;
		}
		__atomic_store_n(&r->dirty, bits, __ATOMIC_RELEASE);
	}
	set_logging(m);
	return 0;
}

/* Stopped world: a writer may still hold the bitmap otherwise. */
void guest_mem_log_stop(struct guest_mem *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		free((void *)m->region[i].dirty);
		m->region[i].dirty = NULL;
	}
	set_logging(m);
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
