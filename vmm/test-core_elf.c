/* SPDX-License-Identifier: Apache-2.0 */
/* The ELF file of a core, read back: headers, memory by address, holes, and files that are full. */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vmm/base/num.h"
#include "vmm/core_elf.h"

#define LOW  (16 * MIB)
#define HIGH (8 * MIB)

static struct guest_mem mem;
static struct core_notes notes;
static struct core_maps *maps;
static atomic_bool cancel;
static int fd;

static void setup_mem(bool shared)
{
	const struct mem_range range[] = {{0x40000000, LOW}, {0x100000000, HIGH}};
	const struct mem_opts opts = {.numa_node = -1, .shared = shared};
	struct err e = {0};

	cr_assert_eq(guest_mem_init(&mem, range, 2, &opts, &e), 0, "%s", e.text);
	fd = memfd_create("core", MFD_CLOEXEC);
	maps = calloc(1, sizeof(*maps));
	atomic_store(&cancel, false);
}

static void setup(void)
{
	setup_mem(false);
}

static void teardown(void)
{
	guest_mem_fini(&mem);
	core_notes_fini(&notes);
	free(maps);
	close(fd);
}

TestSuite(core_elf, .init = setup, .fini = teardown);

static void put(uint64_t gpa, const void *data, size_t len)
{
	cr_assert_eq(guest_mem_write(&mem, gpa, data, len), 0);
}

static void write_core(void)
{
	int r = core_elf_write(&mem, &notes, maps, EM_RISCV, fd, &cancel);

	cr_assert_eq(r, 0, "%d", r);
}

static void get(void *buf, size_t len, uint64_t at)
{
	cr_assert_eq(pread(fd, buf, len, (off_t)at), (ssize_t)len);
}

static Elf64_Phdr phdr(unsigned i)
{
	Elf64_Ehdr e;
	Elf64_Phdr p;

	get(&e, sizeof(e), 0);
	cr_assert_lt(i, e.e_phnum);
	get(&p, sizeof(p), e.e_phoff + i * sizeof(p));
	return p;
}

/* Byte of the core at that virtual address. */
static uint8_t byte_at(uint64_t vaddr)
{
	Elf64_Ehdr e;
	uint8_t b;

	get(&e, sizeof(e), 0);
	for (unsigned i = 0; i < e.e_phnum; i++) {
		Elf64_Phdr p = phdr(i);
		if (p.p_type == PT_LOAD && vaddr - p.p_vaddr < p.p_filesz) {
			get(&b, 1, p.p_offset + (vaddr - p.p_vaddr));
			return b;
		}
	}
	cr_assert(false, "%#llx is in no segment", (unsigned long long)vaddr);
	return 0;
}

Test(core_elf, headers)
{
	Elf64_Ehdr e;
	Elf64_Phdr p;
	struct stat st;
	char note[5] = "";

	memcpy(core_notes_room(&notes, 5), "notes", 5);
	notes.len = 5;
	write_core();
	get(&e, sizeof(e), 0);
	cr_assert(!memcmp(e.e_ident, ELFMAG, SELFMAG));
	cr_assert_eq(e.e_ident[EI_CLASS], ELFCLASS64);
	cr_assert_eq(e.e_ident[EI_DATA], ELFDATA2LSB);
	cr_assert_eq(e.e_type, ET_CORE);
	cr_assert_eq(e.e_machine, EM_RISCV);
	cr_assert_eq(e.e_phnum, 3);
	p = phdr(0);
	cr_assert_eq(p.p_type, PT_NOTE);
	cr_assert_eq(p.p_filesz, 5);
	get(note, 5, p.p_offset);
	cr_assert(!memcmp(note, "notes", 5));
	for (unsigned i = 0; i < 2; i++) {
		p = phdr(1 + i);
		cr_assert_eq(p.p_type, PT_LOAD);
		cr_assert_eq(p.p_paddr, mem.region[i].gpa);
		cr_assert_eq(p.p_vaddr, mem.region[i].gpa);
		cr_assert_eq(p.p_filesz, mem.region[i].size);
		cr_assert_eq(p.p_memsz, mem.region[i].size);
		cr_assert_eq(p.p_offset % 4096, 0);
		cr_assert_eq(p.p_align, 0);
	}
	fstat(fd, &st);
	cr_assert_eq((uint64_t)st.st_size, p.p_offset + p.p_filesz);
}

static void expect_sparse(void)
{
	struct stat st;
	uint8_t page[4096];

	memset(page, 0xab, sizeof(page));
	put(0x40000000, page, sizeof(page));
	put(0x40000000 + LOW - 1, "x", 1);
	put(0x100000000 + MIB - 4096, page, sizeof(page)); /* both sides of a chunk's end */
	put(0x100000000 + MIB, page, sizeof(page));
	write_core();
	cr_assert_eq(byte_at(0x40000000), 0xab);
	cr_assert_eq(byte_at(0x40001000), 0);
	cr_assert_eq(byte_at(0x40000000 + LOW - 1), 'x');
	cr_assert_eq(byte_at(0x40000000 + LOW - 2), 0);
	cr_assert_eq(byte_at(0x100000000), 0);
	cr_assert_eq(byte_at(0x100000000 + MIB - 1), 0xab);
	cr_assert_eq(byte_at(0x100000000 + MIB + 4095), 0xab);
	cr_assert_eq(byte_at(0x100000000 + HIGH - 1), 0);
	fstat(fd, &st);
	cr_assert_lt(st.st_blocks * 512, 256 * 1024, "%ld", (long)st.st_blocks);
}

Test(core_elf, zero_pages_are_holes)
{
	expect_sparse();
}

static uint64_t allocated(const struct guest_mem *m)
{
	struct stat st;
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->n; i++) {
		cr_assert_eq(fstat(m->region[i].fd, &st), 0);
		sum += (uint64_t)st.st_blocks * 512;
	}
	return sum;
}

/* Reading a hole of a memfd would allocate its page. */
Test(core_elf, memory_never_touched_stays_so)
{
	teardown();
	setup_mem(true);
	expect_sparse();
	cr_assert_leq(allocated(&mem), 64 * 1024);
}

/* A page that is there may bring a huge page's worth of neighbours, which lie in two windows. */
Test(core_elf, untouched_anonymous_memory_is_passed_over)
{
	int pagemap = core_pagemap();
	uint64_t off, end;

	cr_assert_geq(pagemap, 0);
	put(0x40000000 + LOW - 1, "x", 1);
	cr_assert(core_mem_next(&mem.region[0], pagemap, 0, &off, &end));
	cr_assert_geq(off, LOW - 4 * MIB, "%#llx", (unsigned long long)off);
	while (core_mem_next(&mem.region[0], pagemap, end, &off, &end))
		;
	cr_assert_eq(end, LOW);
	cr_assert(!core_mem_next(&mem.region[1], pagemap, 0, &off, &end));
	cr_assert(core_mem_next(&mem.region[0], -1, 0, &off, &end)); /* nobody tells */
	cr_assert(off == 0 && end == LOW);
	close(pagemap);
}

Test(core_elf, a_mapping_points_at_the_same_bytes)
{
	Elf64_Phdr p;

	maps->n = 2;
	maps->map[0] = (struct core_map){UINT64_C(0xffffffff80000000), 0x40200000, 2 * MIB};
	maps->map[1] = (struct core_map){1, UINT64_C(0x200000000), 4096}; /* no RAM: left out */
	put(0x40201234, "k", 1);
	write_core();
	cr_assert_eq(byte_at(UINT64_C(0xffffffff80001234)), 'k');
	cr_assert_eq(byte_at(0x40201234), 'k');
	p = phdr(3);
	cr_assert_eq(p.p_paddr, 0x40200000);
	cr_assert_eq(p.p_offset, phdr(1).p_offset + 0x200000);
}

Test(core_elf, as_many_mappings_as_there_can_be)
{
	maps->n = CORE_MAPS;
	for (unsigned i = 0; i < CORE_MAPS; i++)
		maps->map[i] = (struct core_map){
			UINT64_C(0xffff000000000000) + i * 8192, 0x40000000 + i * 4096, 4096};
	put(0x40000000 + 1000 * 4096, "z", 1);
	write_core();
	cr_assert_eq(byte_at(UINT64_C(0xffff000000000000) + 1000 * 8192), 'z');
}

Test(core_elf, no_room)
{
	int full = open("/dev/full", O_WRONLY);

	cr_assert_geq(full, 0);
	cr_assert_eq(core_elf_write(&mem, &notes, maps, EM_RISCV, full, &cancel), -ENOSPC);
	close(full);
}

Test(core_elf, cancelled)
{
	atomic_store(&cancel, true);
	cr_assert_eq(core_elf_write(&mem, &notes, maps, EM_RISCV, fd, &cancel), -ECANCELED);
}
