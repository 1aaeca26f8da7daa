/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/mem.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vmm/base/num.h"

#define RAM	(4 * MIB)
#define HIGH_AT (64 * MIB)

static struct guest_mem mem;

static void make(const struct mem_opts *opts)
{
	/* the first two touch each other, the third is apart */
	const struct mem_range ranges[] = {{0, RAM}, {RAM, RAM}, {HIGH_AT, RAM}};
	struct err e = {0};
	int r = guest_mem_init(&mem, ranges, ARRAY_SIZE(ranges), opts, &e);

	cr_assert_eq(r, 0, "%s", e.text);
}

static void unmake(void)
{
	guest_mem_fini(&mem);
}

Test(mem, pointers_stay_in_one_region, .fini = unmake)
{
	make(NULL);
	cr_assert_eq(guest_mem_size(&mem), 3 * RAM);
	cr_assert_not_null(guest_mem_ptr(&mem, 0, 1));
	cr_assert_eq(
		(uint8_t *)guest_mem_ptr(&mem, RAM - 1, 1) - (uint8_t *)guest_mem_ptr(&mem, 0, RAM),
		RAM - 1);
	cr_assert_null(guest_mem_ptr(&mem, RAM - 1, 2));
	cr_assert_null(guest_mem_ptr(&mem, 0, 0));
	cr_assert_null(guest_mem_ptr(&mem, 2 * RAM, 1));
	cr_assert_null(guest_mem_ptr(&mem, HIGH_AT + 1, UINT64_MAX));
	cr_assert_null(guest_mem_ptr(&mem, UINT64_MAX, 2));
}

Test(mem, copies_span_adjacent_regions, .fini = unmake)
{
	char buf[8] = "";

	make(NULL);
	cr_assert_eq(guest_mem_write(&mem, RAM - 4, "abcdefg", 8), 0);
	cr_assert_eq(guest_mem_read(&mem, RAM - 4, buf, 8), 0);
	cr_assert_str_eq(buf, "abcdefg");
	cr_assert_eq(*(char *)guest_mem_ptr(&mem, RAM, 1), 'e');
	/* all or nothing */
	cr_assert_eq(guest_mem_write(&mem, 2 * RAM - 4, "xxxxxxx", 8), -EFAULT);
	cr_assert_eq(guest_mem_read(&mem, 2 * RAM - 4, buf, 4), 0);
	cr_assert_arr_eq(buf, "\0\0\0\0", 4);
	cr_assert_eq(guest_mem_read(&mem, UINT64_MAX - 3, buf, 8), -EFAULT);
	cr_assert_eq(guest_mem_read(&mem, HIGH_AT - 1, buf, 2), -EFAULT);
	cr_assert_eq(guest_mem_read(&mem, 3 * GIB, buf, 0), 0);
}

static bool is_dirty(unsigned region, uint64_t page)
{
	return mem.region[region].dirty[page / 64] >> page % 64 & 1;
}

Test(mem, writes_are_marked, .fini = unmake)
{
	make(NULL);
	guest_mem_dirty(&mem, 0, 1); /* off: nothing happens */
	cr_assert_eq(guest_mem_log_start(&mem), 0);
	guest_mem_write(&mem, RAM - 1, "ab", 2);
	guest_mem_dirty(&mem, HIGH_AT + mem.page_size - 1, 2);
	guest_mem_dirty(&mem, 2 * RAM - 1, UINT64_MAX); /* as far as there is RAM */
	cr_assert(is_dirty(0, RAM / mem.page_size - 1) && !is_dirty(0, 0));
	cr_assert(is_dirty(1, 0) && is_dirty(1, RAM / mem.page_size - 1) && !is_dirty(1, 1));
	cr_assert(is_dirty(2, 0) && is_dirty(2, 1) && !is_dirty(2, 2));
	guest_mem_log_stop(&mem);
	cr_assert_null(mem.region[0].dirty);
}

static void discard_with(const struct mem_opts *opts)
{
	uint8_t *p;

	make(opts);
	p = guest_mem_ptr(&mem, 0, RAM);
	memset(p, 7, RAM);
	cr_assert_eq(guest_mem_discard(&mem, mem.page_size, 2 * mem.page_size), 0);
	cr_assert_eq(p[0], 7);
	cr_assert_eq(p[mem.page_size], 0);
	cr_assert_eq(p[3 * mem.page_size - 1], 0);
	cr_assert_eq(p[3 * mem.page_size], 7);
	cr_assert_eq(guest_mem_discard(&mem, 1, mem.page_size), -EINVAL);
	cr_assert_eq(guest_mem_discard(&mem, 2 * RAM, mem.page_size), -EFAULT);
}

Test(mem, discarded_pages_read_as_zero, .fini = unmake)
{
	discard_with(NULL);
}

Test(mem, discarded_anonymous_pages_read_as_zero, .fini = unmake)
{
	discard_with(&(struct mem_opts){.thp = true, .numa_node = -1});
	cr_assert_eq(mem.region[0].fd, -1);
}

Test(mem, a_backing_file_is_never_written, .fini = unmake)
{
	char path[] = "/tmp/test-mem-XXXXXX", byte = 0;
	int fd = mkstemp(path);
	const struct mem_opts opts = {.backing_file = path, .numa_node = -1};

	cr_assert_eq(ftruncate(fd, 3 * RAM), 0);
	cr_assert_eq(pwrite(fd, "F", 1, 2 * RAM), 1);
	discard_with(&opts);
	unlink(path);
	cr_assert_eq(*(char *)guest_mem_ptr(&mem, HIGH_AT, 1), 'F'); /* regions in file order */
	guest_mem_write(&mem, HIGH_AT, "G", 1);
	cr_assert_eq(pread(fd, &byte, 1, 2 * RAM), 1);
	cr_assert_eq(byte, 'F');
	close(fd);
}

Test(mem, pin_and_discard_exclude_each_other, .fini = unmake)
{
	const char *why = NULL;

	make(NULL);
	cr_assert_eq(guest_mem_pin(&mem, "vfio", &why), 0);
	cr_assert_eq(guest_mem_pin(&mem, "registered buffers", &why), 0);
	cr_assert_eq(guest_mem_discard(&mem, 0, mem.page_size), -EBUSY);
	cr_assert_eq(guest_mem_allow_discard(&mem, "balloon", &why), -EBUSY);
	cr_assert_str_eq(why, "registered buffers");
	guest_mem_unpin(&mem);
	guest_mem_unpin(&mem);
	cr_assert_eq(guest_mem_allow_discard(&mem, "balloon", &why), 0);
	cr_assert_eq(guest_mem_pin(&mem, "vfio", &why), -EBUSY);
	cr_assert_str_eq(why, "balloon");
	guest_mem_forbid_discard(&mem);
	cr_assert_eq(guest_mem_pin(&mem, "vfio", &why), 0);
}

Test(mem, the_default_is_nobody_elses, .fini = unmake)
{
	make(NULL);
	cr_assert_eq(mem.region[0].fd, -1);
}

Test(mem, shared_is_a_sealed_memfd, .fini = unmake)
{
	make(&(struct mem_opts){.shared = true, .numa_node = -1});
	cr_assert_geq(mem.region[0].fd, 0);
	cr_assert_neq(ftruncate(mem.region[0].fd, 0), 0);
	cr_assert_neq(ftruncate(mem.region[0].fd, 2 * RAM), 0);
	/* somebody who has the fd sees what we write */
	void *other = mmap(NULL, RAM, PROT_READ, MAP_SHARED, mem.region[0].fd, 0);
	guest_mem_write(&mem, 100, "hello", 6);
	cr_assert_str_eq((char *)other + 100, "hello");
	munmap(other, RAM);
}

Test(mem, more_than_the_host_has, .fini = unmake)
{
	const struct mem_range huge = {0, 8192 * GIB};
	struct err e = {0};

#ifdef __SANITIZE_THREAD__
	cr_skip("the sanitizer leaves no 8 TiB of addresses");
#endif
	cr_assert_eq(guest_mem_init(&mem, &huge, 1, NULL, &e), 0, "%s", e.text);
	cr_assert_eq(guest_mem_write(&mem, huge.size - 1, "x", 1), 0);
}

Test(mem, prefault_leaves_contents_alone, .fini = unmake)
{
	unsigned char vec[RAM / 4096];

	make(&(struct mem_opts){.prefault = true, .numa_node = -1});
	cr_assert_eq(mincore(mem.region[0].host, RAM, vec), 0);
	cr_assert(vec[0] & 1 && vec[RAM / mem.page_size - 1] & 1);
}

static void refused(struct mem_opts opts, struct mem_range range, const char *start)
{
	struct err e = {0};
	int r;

	opts.numa_node = opts.numa_node ? opts.numa_node : -1;
	r = guest_mem_init(&mem, &range, 1, &opts, &e);
	cr_assert_lt(r, 0);
	cr_assert_eq(strncmp(e.text, start, strlen(start)), 0, "%s", e.text);
	cr_assert_eq(mem.n, 0);
	guest_mem_fini(&mem);
}

Test(mem, errors_name_the_field)
{
	const struct mem_range ok = {0, RAM};

	refused((struct mem_opts){0}, (struct mem_range){0, 12345}, "--memory size: 12345");
	refused((struct mem_opts){0}, (struct mem_range){0, 0}, "--memory size: ");
	refused((struct mem_opts){0}, (struct mem_range){0 - RAM, 2 * RAM}, "--memory size: ");
	refused((struct mem_opts){0}, (struct mem_range){0, 1ull << 62}, "--memory size: ");
	refused((struct mem_opts){.mergeable = true, .shared = true}, ok, "--memory mergeable: ");
	refused((struct mem_opts){.hugepage_size = 2 * MIB}, ok, "--memory hugepage_size: ");
	refused((struct mem_opts){.hugepages = true, .hugepage_size = 3 * MIB}, ok,
		"--memory hugepage_size: ");
	refused((struct mem_opts){.hugepages = true, .thp = true}, ok, "--memory thp: ");
	refused((struct mem_opts){.backing_file = "/nonexistent"}, ok, "--memory file: ");
	refused((struct mem_opts){.backing_file = "/etc/passwd"}, ok, "--memory file: ");
	refused((struct mem_opts){.numa_node = 1023}, ok, "--memory numa_node: ");
	refused((struct mem_opts){.numa_node = 4096}, ok, "--memory numa_node: ");
}

Test(mem, fini_of_nothing)
{
	guest_mem_fini(NULL);
	guest_mem_fini(&mem);
}
