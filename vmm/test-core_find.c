/* SPDX-License-Identifier: Apache-2.0 */
/* What is looked for in a stopped machine: linear mappings, in an address space made of a few
 * ranges, and Linux's description of itself. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"
#include "vmm/core_find.h"

#define RAM   0x40000000u
#define SIZE  (256 * MIB)
#define RAM2  UINT64_C(0x100000000)
#define SIZE2 (64 * MIB)
#define IMAGE UINT64_C(0xffffffff81000000)
#define ALL   UINT64_C(0xffff888000000000)

struct range {
	uint64_t gva, gpa, size;
};

static struct guest_mem mem;
static struct core_maps *maps;
static const struct range *ranges;
static atomic_bool cancel;

static void setup(void)
{
	const struct mem_range range[] = {{RAM, SIZE}, {RAM2, SIZE2}};
	const struct mem_opts opts = {.numa_node = -1};
	struct err e = {0};

	cr_assert_eq(guest_mem_init(&mem, range, 2, &opts, &e), 0, "%s", e.text);
	maps = calloc(1, sizeof(*maps));
	atomic_store(&cancel, false);
}

static void teardown(void)
{
	guest_mem_fini(&mem);
	free(maps);
}

TestSuite(core_find, .init = setup, .fini = teardown);

static int translate(void *arg, uint64_t gva, uint64_t *ret_gpa)
{
	(void)arg;
	for (const struct range *r = ranges; r->size; r++)
		if (gva - r->gva < r->size) {
			*ret_gpa = r->gpa + (gva - r->gva);
			return 0;
		}
	return -EFAULT;
}

static void find(uint64_t gva)
{
	const struct core_space s = {.translate = translate};

	core_find_map(&mem, &s, gva, maps);
}

static void expect(unsigned i, uint64_t gva, uint64_t gpa, uint64_t size)
{
	const struct core_map *m = &maps->map[i];

	cr_assert_lt(i, maps->n);
	cr_assert(m->gva == gva && m->gpa == gpa && m->size == size, "%#llx to %#llx, %#llx",
		(unsigned long long)m->gva, (unsigned long long)m->gpa,
		(unsigned long long)m->size);
}

/* An image of 21 MiB with a hole in it, other mappings on both sides. */
Test(core_find, image)
{
	static const struct range r[] = {
		{IMAGE, RAM + 0x1200000, 8 * MIB},
		{IMAGE + 11 * MIB, RAM + 0x1200000 + 11 * MIB, 10 * MIB + 0x3000},
		{IMAGE - 0x3000, RAM + 0x100000, 0x3000},
		{IMAGE + 22 * MIB, RAM + 0x200000, MIB},
		{0},
	};

	ranges = r;
	find(IMAGE + 15 * MIB + 0x123);
	cr_assert_eq(maps->n, 1);
	expect(0, IMAGE, RAM + 0x1200000, 21 * MIB + 0x3000);
	find(IMAGE + 5); /* has it already */
	cr_assert_eq(maps->n, 1);
	find(IMAGE + 22 * MIB);
	expect(1, IMAGE + 22 * MIB, RAM + 0x200000, MIB);
}

/* Edges that are no multiple of anything but a page. */
Test(core_find, edges)
{
	static const struct range r[] = {{IMAGE + 0x5000, RAM + 0x1205000, 0x9000}, {0}};

	ranges = r;
	for (uint64_t at = 0x5000; at < 0xe000; at += 0x1000) {
		maps->n = 0;
		find(IMAGE + at);
		cr_assert_eq(maps->n, 1);
		expect(0, IMAGE + 0x5000, RAM + 0x1205000, 0x9000);
	}
}

Test(core_find, all_of_ram)
{
	static const struct range r[] = {{ALL, 0, UINT64_C(0x200000000)}, {0}};

	ranges = r;
	find(ALL + RAM2 + 0x1234567);
	cr_assert_eq(maps->n, 2);
	expect(0, ALL + RAM, RAM, SIZE);
	expect(1, ALL + RAM2, RAM2, SIZE2);
}

/* Pages that lie somewhere each. */
Test(core_find, stack)
{
	static const struct range r[] = {
		{UINT64_C(0xffffc90000004000), RAM + 0x7000, 0x1000},
		{UINT64_C(0xffffc90000005000), RAM + 0x3000, 0x1000},
		{0},
	};

	ranges = r;
	find(UINT64_C(0xffffc90000004ff8));
	find(UINT64_C(0xffffc90000005ff8));
	find(UINT64_C(0xffffc90000006ff8));
	cr_assert_eq(maps->n, 2);
	expect(0, r[0].gva, r[0].gpa, 0x1000);
	expect(1, r[1].gva, r[1].gpa, 0x1000);
}

Test(core_find, nothing)
{
	static const struct range r[] = {
		{0x400000, RAM, MIB},				 /* a program's */
		{UINT64_C(0xffffffffff000000), 0xfee00000, MIB}, /* a device */
		{UINT64_MAX - 0xfff, RAM, 0x1000},
		{0},
	};

	ranges = r;
	find(0x400000);
	find(UINT64_C(0xffffffffff000000));
	find(0);
	find(IMAGE);
	cr_assert_eq(maps->n, 0);
	find(UINT64_MAX); /* the last page there is */
	cr_assert_eq(maps->n, 1);
}

Test(core_find, no_more_than_fit)
{
	struct range *r = calloc(CORE_MAPS + 11, sizeof(*r));

	for (unsigned i = 0; i < CORE_MAPS + 10; i++)
		r[i] = (struct range){
			UINT64_C(0xffffc90000000000) + i * 0x4000u, RAM + i * 0x2000u, 0x1000};
	ranges = r;
	for (unsigned i = 0; i < CORE_MAPS + 10; i++)
		find(r[i].gva);
	cr_assert_eq(maps->n, CORE_MAPS);
	free(r);
}

/* ---- VMCOREINFO ---- */

static const char info[] = "OSRELEASE=6.12.0\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff82000000\n"
			   "SYMBOL(_stext)=ffffffff81000000\n";

static void put_note(uint64_t gpa, uint32_t len, uint32_t claimed)
{
	uint8_t head[24] = {11, 0, 0, 0};

	store_le(head + 4, 4, claimed);
	memcpy(head + 12, "VMCOREINFO", 11);
	cr_assert_eq(guest_mem_write(&mem, gpa, head, sizeof(head)), 0);
	cr_assert_eq(guest_mem_write(&mem, gpa + sizeof(head), info, len), 0);
}

static uint64_t find_info(size_t want)
{
	struct core_notes notes = {0};
	uint64_t stext = 1;

	cr_assert_eq(core_find_vmcoreinfo(&mem, &notes, &stext, &cancel), 0);
	cr_assert_eq(notes.len, want, "%zu", notes.len);
	if (want) {
		cr_assert_str_eq((const char *)notes.data + 12, "VMCOREINFO");
		cr_assert(!memcmp(notes.data + 24, "OSRELEASE=6.12.0", 16));
	}
	core_notes_fini(&notes);
	return stext;
}

Test(core_find, vmcoreinfo)
{
	size_t len = strlen(info);

	cr_assert_eq(find_info(0), 0);
	put_note(RAM + 0x10800, len, len); /* not at a page's start */
	cr_assert_eq(find_info(0), 0);
	put_note(RAM2 + 0x345000, len, len);
	cr_assert_eq(find_info(24 + align_up(len, 4)), IMAGE);
}

Test(core_find, vmcoreinfo_that_lies)
{
	put_note(RAM, strlen(info), UINT32_MAX);
	put_note(RAM + 0x1000, strlen(info), 64 * KIB + 1);
	put_note(RAM + 0x2000, strlen(info), 0);
	put_note(RAM + SIZE - 0x1000, strlen(info), 8192); /* past the end of RAM */
	cr_assert_eq(find_info(0), 0);
	put_note(RAM + 0x3000, strlen(info), 64 * KIB);
	find_info(24 + 64 * KIB);
	put_note(RAM + 0x2000, 16, 16); /* no _stext */
	cr_assert_eq(find_info(24 + 16), 0);
}

Test(core_find, cancelled)
{
	struct core_notes notes = {0};
	uint64_t stext;

	put_note(RAM, strlen(info), 0); /* memory that is there, to be looked at */
	atomic_store(&cancel, true);
	cr_assert_eq(core_find_vmcoreinfo(&mem, &notes, &stext, &cancel), -ECANCELED);
}
