/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. The format is the System V gABI's, chapters 4 and 5. */
#include "vmm/core_elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define PAGE  4096
#define CHUNK MIB /* between two looks at cancel */

struct head {
	Elf64_Ehdr e;
	Elf64_Phdr p[1 + GUEST_MEM_REGIONS + CORE_MAPS]; /* those in use are written */
};

uint8_t *core_notes_room(struct core_notes *n, size_t more)
{
	size_t cap = MAX(n->cap, (size_t)PAGE);
	uint8_t *data;

	while (cap - n->len < more)
		cap *= 2;
	if (cap != n->cap) {
		data = realloc(n->data, cap);
		if (!data)
			return NULL;
		n->data = data;
		n->cap = cap;
	}
	return n->data + n->len;
}

void core_notes_fini(struct core_notes *n)
{
	free(n->data);
	*n = (struct core_notes){0};
}

int core_pagemap(void)
{
	return open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

/* Documentation/admin-guide/mm/pagemap.rst: 64 bits a page, of which 63 is "present", 62 "swapped".
 */
#define PAGEMAP_HAS (UINT64_C(3) << 62)
#define WINDOW	    512

/* From the first to the last page that is there, among the next that has any. */
static bool next_anonymous(
	const struct mem_region *r, int pagemap, uint64_t off, uint64_t *ret_off, uint64_t *ret_end)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n, first, last;
	uint64_t has[WINDOW];

	for (; off < r->size; off += n * page) {
		uint64_t at = ((uintptr_t)r->host + off) / page * sizeof(has[0]);

		n = MIN((size_t)WINDOW, (r->size - off) / page);
		if (pread(pagemap, has, n * 8, (off_t)at) != (ssize_t)(n * 8)) {
			*ret_off = off;
			*ret_end = r->size;
			return true;
		}
		for (first = 0; first < n && !(has[first] & PAGEMAP_HAS); first++)
			;
		if (first == n)
			continue;
		for (last = n - 1; !(has[last] & PAGEMAP_HAS); last--)
			;
		*ret_off = off + first * page;
		*ret_end = off + (last + 1) * page;
		return true;
	}
	return false;
}

static bool next_memfd(
	const struct mem_region *r, uint64_t off, uint64_t *ret_off, uint64_t *ret_end)
{
	off_t data = lseek(r->fd, (off_t)(r->fd_offset + off), SEEK_DATA), hole;

	if (data < 0 && errno == ENXIO) /* no more */
		return false;
	if (data < 0)
		return true;
	hole = lseek(r->fd, data, SEEK_HOLE);
	*ret_off = (uint64_t)data - r->fd_offset;
	if (hole > data)
		*ret_end = MIN((uint64_t)hole - r->fd_offset, r->size);
	return *ret_off < r->size;
}

/* A file mapped privately is read whole: its own pages lie under those that the guest wrote. */
bool core_mem_next(
	const struct mem_region *r, int pagemap, uint64_t off, uint64_t *ret_off, uint64_t *ret_end)
{
	if (off >= r->size)
		return false;
	*ret_off = off;
	*ret_end = r->size;
	if (r->fd < 0)
		return next_anonymous(r, pagemap, off, ret_off, ret_end);
	return fcntl(r->fd, F_GET_SEALS) < 0 || next_memfd(r, off, ret_off, ret_end);
}

static int write_all(int fd, const void *buf, size_t len, uint64_t at)
{
	const uint8_t *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* Writes the runs of pages that are not all zero. */
static int write_sparse(int fd, const uint8_t *p, size_t len, uint64_t at)
{
	size_t start = 0, end;
	int r = 0;

	while (start < len && !r) {
		end = start;
		while (end < len && !is_zero(p + end, PAGE))
			end += PAGE;
		if (end > start)
			r = write_all(fd, p + start, end - start, at + start);
		start = end + PAGE; /* that one is zero, or past the end */
	}
	return r;
}

static int write_region(int fd, const struct mem_region *r, uint64_t at, const atomic_bool *cancel)
{
	cleanup_fd int pagemap = core_pagemap();
	uint64_t off = 0, end;

	for (; core_mem_next(r, pagemap, off, &off, &end); off = end)
		for (size_t len; off < end; off += len) {
			int ret;

			if (atomic_load(cancel))
				return -ECANCELED;
			len = MIN(end - off, CHUNK);
			ret = write_sparse(fd, r->host + off, len, at + off);
			if (ret < 0)
				return ret;
		}
	return 0;
}

static void ehdr(Elf64_Ehdr *e, unsigned machine, unsigned nphdr)
{
	*e = (Elf64_Ehdr){
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT,
			ELFOSABI_NONE},
		.e_type = ET_CORE,
		.e_machine = (Elf64_Half)machine,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(*e),
		.e_ehsize = sizeof(*e),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = (Elf64_Half)nphdr,
	};
}

static Elf64_Phdr load(uint64_t at, uint64_t gva, uint64_t gpa, uint64_t size)
{
	return (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_W | PF_X,
		.p_offset = at,
		.p_vaddr = gva,
		.p_paddr = gpa,
		.p_filesz = size,
		.p_memsz = size,
		/* p_align 0, "none": by anything else at a page's start crash takes the file for a
		 * netdump of 2003, in which it looks for no relocated kernel (its netdump.c). */
	};
}

/* Where gpa's byte is in the file; false when it is no RAM. */
static bool file_offset(
	const struct guest_mem *m, const uint64_t *at, const struct core_map *c, uint64_t *ret)
{
	for (unsigned i = 0; i < m->n; i++) {
		uint64_t off = c->gpa - m->region[i].gpa;
		if (off < m->region[i].size && c->size <= m->region[i].size - off) {
			*ret = at[i] + off;
			return true;
		}
	}
	return false;
}

/* Fills the headers, and at[] with where each region begins. Returns the size of the whole. */
static uint64_t layout(const struct guest_mem *m, const struct core_notes *notes,
	const struct core_maps *maps, unsigned machine, struct head *h, uint64_t *at)
{
	unsigned n = 0, nphdr = 1 + m->n + maps->n;
	uint64_t off = sizeof(h->e) + nphdr * sizeof(h->p[0]), of_map;

	h->p[n++] = (Elf64_Phdr){
		.p_type = PT_NOTE, .p_offset = off, .p_filesz = notes->len, .p_align = 4};
	off = align_up(off + notes->len, PAGE);
	for (unsigned i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->region[i];
		at[i] = off;
		h->p[n++] = load(off, r->gpa, r->gpa, r->size);
		off += r->size;
	}
	for (unsigned i = 0; i < maps->n; i++) {
		const struct core_map *c = &maps->map[i];
		if (file_offset(m, at, c, &of_map))
			h->p[n++] = load(of_map, c->gva, c->gpa, c->size);
	}
	ehdr(&h->e, machine, n);
	return off;
}

int core_elf_write(const struct guest_mem *m, const struct core_notes *notes,
	const struct core_maps *maps, unsigned machine, int fd, const atomic_bool *cancel)
{
	cleanup_free struct head *h = calloc(1, sizeof(*h));
	uint64_t at[GUEST_MEM_REGIONS], size;
	int r;

	if (!h)
		return -ENOMEM;
	size = layout(m, notes, maps, machine, h, at);
	r = write_all(fd, h, h->p[0].p_offset, 0);
	if (r == 0)
		r = write_all(fd, notes->data, notes->len, h->p[0].p_offset);
	for (unsigned i = 0; i < m->n && r == 0; i++)
		r = atomic_load(cancel) ? -ECANCELED
					: write_region(fd, &m->region[i], at[i], cancel);
	if (r == 0 && ftruncate(fd, (off_t)size) < 0) /* it may end in a hole */
		r = -errno;
	return r;
}
