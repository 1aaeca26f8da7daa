/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/vu_mem.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "offload/test_front.h"
#include "vmm/base/num.h"

static struct vu_mem m;
static size_t page;
static int fd;

static void begin(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	vu_mem_init(&m);
	fd = front_memfd(64 * page, true);
}

static void end(void)
{
	vu_mem_fini(&m);
	close(fd);
}

TestSuite(vu_mem, .init = begin, .fini = end, .timeout = 30);

static struct vu_region region(uint64_t at_page, uint64_t pages)
{
	return (struct vu_region){at_page * page, pages * page, FRONT_UVA + at_page * page, 0};
}

static int add(struct vu_region r)
{
	return vu_mem_add(&m, &r, fd);
}

Test(vu_mem, both_addresses)
{
	uint64_t gpa;

	cr_expect_eq(add(region(16, 4)), 0);
	cr_expect_eq(add(region(0, 4)), 0, "in any order");
	cr_expect_eq(vu_mem_gpa(&m, FRONT_UVA + 17 * page + 5, 10, &gpa), 0);
	cr_expect_eq(gpa, 17 * page + 5);
	cr_expect_eq(vu_mem_gpa(&m, FRONT_UVA + 19 * page, page, &gpa), 0);
	cr_expect_eq(vu_mem_gpa(&m, FRONT_UVA + 19 * page, page + 1, &gpa), -EFAULT);
	cr_expect_eq(vu_mem_gpa(&m, FRONT_UVA + 20 * page, 1, &gpa), -EFAULT);
	cr_expect_eq(vu_mem_gpa(&m, FRONT_UVA - 1, 1, &gpa), -EFAULT);
	cr_expect_eq(vu_mem_gpa(&m, FRONT_UVA, UINT64_MAX, &gpa), -EFAULT);
	cr_expect_eq(guest_mem_write(&m.guest, 0, "front", 6), 0);
	cr_expect_str_eq(guest_mem_ptr(&m.guest, 16 * page, 6), "front", "one file, two places");
}

Test(vu_mem, offset_into_the_file)
{
	struct vu_region r = region(0, 1), at = region(8, 1);

	at.offset = 3 * page;
	cr_expect_eq(pwrite(fd, "three", 6, 3 * page), 6);
	cr_expect_eq(add(r), 0);
	cr_expect_eq(add(at), 0);
	cr_expect_str_eq(guest_mem_ptr(&m.guest, 8 * page, 6), "three");
}

/* Small front-ends hand over no more than a ring's bytes. */
Test(vu_mem, a_size_of_no_whole_pages)
{
	struct vu_region r = region(0, 1);

	r.size = page + 100;
	cr_expect_eq(add(r), 0);
	cr_expect(guest_mem_ptr(&m.guest, page + 99, 1));
	cr_expect_null(guest_mem_ptr(&m.guest, page + 100, 1));
}

static void refused(struct vu_region r, int why)
{
	unsigned before = m.guest.n;

	cr_expect_eq(add(r), why, "%d", why);
	cr_expect_eq(m.guest.n, before);
}

Test(vu_mem, numbers_that_lie)
{
	struct vu_region good = region(16, 4), r;

	cr_expect_eq(add(good), 0);
	r = region(0, 0);
	refused(r, -EINVAL);
	r = region(0, 1);
	r.gpa = 1;
	refused(r, -EINVAL);
	r = region(0, 1);
	r.offset = 512;
	refused(r, -EINVAL);
	r = region(0, 1);
	r.uva += 8;
	refused(r, -EINVAL);
	r = region(0, 2);
	r.gpa = -page;
	refused(r, -EINVAL);
	r = region(0, 2);
	r.uva = -page;
	refused(r, -EINVAL);
	r = region(0, 2);
	r.offset = -page;
	refused(r, -EINVAL);
	r = region(19, 4);
	r.uva = FRONT_UVA;
	refused(r, -EINVAL); /* overlaps where the guest sees it */
	r = region(0, 4);
	r.uva = good.uva - page;
	refused(r, -EINVAL); /* where the front-end sees it */
	refused(good, -EINVAL);
	refused(region(0, 65), -EINVAL); /* over the one that is there */
	r = region(100, 65);
	refused(r, -ENXIO); /* the file is shorter */
	r = region(100, 4);
	r.offset = 61 * page;
	refused(r, -ENXIO);
}

Test(vu_mem, memory_that_can_be_truncated)
{
	int open_fd = memfd_create("sealable", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int never = front_memfd(4 * page, false), pipes[2];
	struct vu_region r = region(0, 4);
	FILE *file = tmpfile();

	cr_assert_eq(ftruncate(open_fd, 4 * page), 0);
	cr_expect_eq(vu_mem_add(&m, &r, open_fd), 0, "we seal it");
	cr_expect(fcntl(open_fd, F_GET_SEALS) & F_SEAL_SHRINK);
	cr_expect_lt(ftruncate(open_fd, page), 0);
	r = region(8, 4);
	cr_expect_eq(vu_mem_add(&m, &r, never), -EPERM);
	cr_assert_eq(ftruncate(fileno(file), 4 * page), 0);
	cr_expect_eq(vu_mem_add(&m, &r, fileno(file)), -EPERM);
	cr_assert_eq(pipe(pipes), 0);
	cr_expect_eq(vu_mem_add(&m, &r, pipes[0]), -EPERM);
	m.allow_unsealed = true;
	cr_expect_lt(vu_mem_add(&m, &r, pipes[0]), 0, "not even then");
	cr_expect_eq(vu_mem_add(&m, &r, never), 0);
	vu_mem_fini(&m);
	cr_expect(m.allow_unsealed, "the operator's word stays");
	close(open_fd);
	close(never);
	close(pipes[0]);
	close(pipes[1]);
	fclose(file);
}

Test(vu_mem, slots)
{
	struct vu_region r;

	for (unsigned i = 0; i < VU_MEM_SLOTS; i++)
		cr_expect_eq(add(region(2 * i, 1)), 0);
	cr_expect_eq(add(region(1000, 1)), -ENOSPC);
	r = region(10, 1);
	cr_expect_eq(vu_mem_remove(&m, &r), 0);
	cr_expect_eq(vu_mem_remove(&m, &r), -ENOENT);
	cr_expect_null(guest_mem_ptr(&m.guest, 10 * page, 1));
	cr_expect(guest_mem_ptr(&m.guest, 12 * page, 1));
	cr_expect_eq(add(region(1000, 1)), 0);
	r = region(12, 1);
	r.uva++;
	cr_expect_eq(vu_mem_remove(&m, &r), -ENOENT);
}

Test(vu_mem, a_table_replaces_all_or_nothing)
{
	struct vu_mem_table t = {.n = 2, .region = {region(0, 2), region(4, 2)}};
	int fds[] = {fd, fd};

	cr_expect_eq(add(region(100, 1)), 0);
	t.region[1].gpa = page;
	cr_expect_eq(vu_mem_set(&m, &t, fds), -EINVAL);
	cr_expect(guest_mem_ptr(&m.guest, 100 * page, 1), "as it was");
	t.region[1] = region(4, 2);
	cr_expect_eq(vu_mem_set(&m, &t, fds), 0);
	cr_expect_null(guest_mem_ptr(&m.guest, 100 * page, 1));
	cr_expect(guest_mem_ptr(&m.guest, 5 * page, page));
	t.n = 0;
	cr_expect_eq(vu_mem_set(&m, &t, fds), 0);
	cr_expect_eq(m.guest.n, 0u);
}

static _Atomic bool done;

/* A worker looks while regions come: what it finds is whole. */
static void *look(void *arg)
{
	uintptr_t bad = 0;

	while (!atomic_load(&done))
		for (unsigned i = 0; i < VU_MEM_SLOTS; i++) {
			volatile uint8_t *p = guest_mem_ptr(&m.guest, 2 * i * page, page);

			bad += p && *p != 7;
		}
	return (void *)bad;
}

Test(vu_mem, added_under_a_reader)
{
	pthread_t reader;
	void *bad;

	cr_assert_eq(pwrite(fd, "\7", 1, 0), 1);
	pthread_create(&reader, NULL, look, NULL);
	for (unsigned i = 0; i < VU_MEM_SLOTS; i++) {
		cr_expect_eq(add(region(2 * i, 1)), 0);
		usleep(500);
	}
	atomic_store(&done, true);
	pthread_join(reader, &bad);
	cr_expect_null(bad);
}
