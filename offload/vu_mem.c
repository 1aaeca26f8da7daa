/* SPDX-License-Identifier: Apache-2.0 */
/* Regions are kept in the order in which they came, the newest last, so that one can be added under
 * the eyes of the workers: it is whole before the count tells of it. */
#include "offload/vu_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "vmm/base/num.h"

_Static_assert(GUEST_MEM_REGIONS >= VU_MEM_SLOTS, "a region for each slot");
_Static_assert(VU_MEM_SLOTS >= VU_REGIONS, "SET_MEM_TABLE fits");

void vu_mem_init(struct vu_mem *m)
{
	*m = (struct vu_mem){.guest.page_size = (size_t)sysconf(_SC_PAGESIZE)};
}

void vu_mem_fini(struct vu_mem *m)
{
	bool allow_unsealed = m->allow_unsealed;

	for (unsigned i = 0; i < m->guest.n; i++)
		vu_unmap(&m->extra[i].map);
	vu_mem_init(m);
	m->allow_unsealed = allow_unsealed;
}

static bool wraps(uint64_t at, uint64_t size)
{
	uint64_t end;

	return __builtin_add_overflow(at, size, &end);
}

static bool overlap(uint64_t a, uint64_t b, uint64_t a_size, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* The numbers of r by themselves, and against the regions that are there. */
static int check_region(const struct vu_mem *m, const struct vu_region *r)
{
	uint64_t page = m->guest.page_size;

	/* Addresses alike within a page, so that what the driver aligns is aligned here. A size may
	 * be any: small front-ends hand over just the bytes of a ring. */
	if (!r->size || r->gpa % page || r->uva % page || r->offset % page)
		return -EINVAL;
	if (wraps(r->gpa, r->size) || wraps(r->uva, r->size) || wraps(r->offset, r->size))
		return -EINVAL;
	for (unsigned i = 0; i < m->guest.n; i++) {
		const struct mem_region *have = &m->guest.region[i];

		if (overlap(r->gpa, have->gpa, r->size, have->size) ||
			overlap(r->uva, m->extra[i].uva, r->size, have->size))
			return -EINVAL;
	}
	return 0;
}

/* The file cannot become shorter than it is. A front-end that has left it unsealed may have left it
 * sealable: then we do it. */
static int check_sealed(int fd, bool allow_unsealed, bool huge)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (allow_unsealed || huge || (seals >= 0 && seals & F_SEAL_SHRINK))
		return 0;
	if (seals >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
		return 0;
	return -EPERM;
}

/* *ret_unit: what a mapping's offset and length must be multiples of. */
static int check_file(int fd, uint64_t end, bool allow_unsealed, uint64_t *ret_unit)
{
	struct statfs fs;
	struct stat st;
	bool huge;
	int err;

	if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return -errno;
	huge = fs.f_type == HUGETLBFS_MAGIC;
	err = check_sealed(fd, allow_unsealed, huge);
	if (err < 0)
		return err;
	/* after the seal: now it stays true */
	if (S_ISREG(st.st_mode) && fstat(fd, &st) == 0 && (uint64_t)st.st_size < end)
		return -ENXIO;
	*ret_unit = huge ? (uint64_t)fs.f_bsize : (uint64_t)sysconf(_SC_PAGESIZE);
	return is_pow2(*ret_unit) ? 0 : -EINVAL;
}

int vu_map(int fd, uint64_t offset, uint64_t size, bool allow_unsealed, struct vu_map *ret)
{
	uint64_t end, unit = 0, start, len;
	void *base;
	int err;

	if (!size || __builtin_add_overflow(offset, size, &end))
		return -EINVAL;
	err = check_file(fd, end, allow_unsealed, &unit);
	if (err < 0)
		return err;
	start = align_down(offset, unit);
	if (__builtin_add_overflow(end - start, unit - 1, &len) || len > SIZE_MAX)
		return -EINVAL;
	len = align_down(len, unit);
	base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)start);
	if (base == MAP_FAILED)
		return -errno;
	madvise(base, len, MADV_DONTDUMP); /* a guest's memory is not for our core files */
	*ret = (struct vu_map){(uint8_t *)base + (offset - start), size, base, len};
	return 0;
}

void vu_unmap(struct vu_map *m)
{
	if (m->at)
		munmap(m->base, m->len);
	*m = (struct vu_map){0};
}

int vu_mem_add(struct vu_mem *m, const struct vu_region *r, int fd)
{
	unsigned i = m->guest.n;
	int err;

	if (i == VU_MEM_SLOTS)
		return -ENOSPC;
	err = check_region(m, r);
	if (err == 0)
		err = vu_map(fd, r->offset, r->size, m->allow_unsealed, &m->extra[i].map);
	if (err < 0)
		return err;
	m->extra[i].uva = r->uva;
	m->guest.region[i] = (struct mem_region){
		.gpa = r->gpa, .size = r->size, .host = m->extra[i].map.at, .fd = -1};
	__atomic_store_n(&m->guest.n, i + 1, __ATOMIC_RELEASE);
	return 0;
}

int vu_mem_set(struct vu_mem *m, const struct vu_mem_table *t, const int *fds)
{
	struct vu_mem fresh;
	int err = 0;

	vu_mem_init(&fresh);
	fresh.allow_unsealed = m->allow_unsealed;
	if (t->n > VU_REGIONS)
		return -EINVAL;
	for (unsigned i = 0; i < t->n && err == 0; i++)
		err = vu_mem_add(&fresh, &t->region[i], fds[i]);
	if (err < 0) {
		vu_mem_fini(&fresh);
		return err;
	}
	guest_mem_log_to(&fresh.guest, m->guest.log);
	vu_mem_fini(m);
	*m = fresh;
	return 0;
}

int vu_mem_remove(struct vu_mem *m, const struct vu_region *r)
{
	for (unsigned i = 0; i < m->guest.n; i++) {
		const struct mem_region *have = &m->guest.region[i];

		if (have->gpa != r->gpa || have->size != r->size || m->extra[i].uva != r->uva)
			continue;
		vu_unmap(&m->extra[i].map);
		m->guest.n--;
		m->guest.region[i] = m->guest.region[m->guest.n];
		m->extra[i] = m->extra[m->guest.n];
		m->extra[m->guest.n].map = (struct vu_map){0};
		return 0;
	}
	return -ENOENT;
}

int vu_mem_gpa(const struct vu_mem *m, uint64_t uva, uint64_t len, uint64_t *ret_gpa)
{
	for (unsigned i = 0; i < m->guest.n; i++) {
		const struct mem_region *r = &m->guest.region[i];
		uint64_t at = uva - m->extra[i].uva; /* wraps when below */

		if (at >= r->size || len > r->size - at)
			continue;
		*ret_gpa = r->gpa + at;
		return 0;
	}
	return -EFAULT;
}
