/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/bus.h"

#include <criterion/criterion.h>
#include <errno.h>
#include "vmm/base/num.h"

struct probe {
	struct io_region r;
	uint64_t off, value;
	unsigned size, reads, writes;
	bool was_locked;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool locked(void)
{
	if (pthread_mutex_trylock(&lock) != 0)
		return true;
	pthread_mutex_unlock(&lock);
	return false;
}

static uint64_t probe_read(void *dev, uint64_t off, unsigned size)
{
	struct probe *p = dev;

	p->off = off;
	p->size = size;
	p->reads++;
	p->was_locked = locked();
	return 0x1122334455667788;
}

static void probe_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct probe *p = dev;

	p->off = off;
	p->size = size;
	p->value = value;
	p->writes++;
	p->was_locked = locked();
}

static const struct io_ops probe_ops = {probe_read, probe_write};

static struct bus bus;

static int add(struct probe *p, uint64_t base, uint64_t size)
{
	p->r = (struct io_region){
		.base = base, .size = size, .ops = &probe_ops, .dev = p, .lock = &lock};
	return bus_add(&bus, &p->r);
}

Test(bus, regions_do_not_overlap)
{
	struct probe a = {0}, b = {0}, c = {0};

	cr_assert_eq(add(&b, 0x2000, 0x1000), 0);
	cr_assert_eq(add(&a, 0x1000, 0x1000), 0);
	cr_assert_eq(add(&c, 0x2fff, 1), -EEXIST);
	cr_assert_eq(add(&c, 0x1fff, 2), -EEXIST);
	cr_assert_eq(add(&c, 0, 0x10000), -EEXIST);
	cr_assert_eq(add(&c, 0x1000, 0x1000), -EEXIST);
	cr_assert_eq(add(&c, 0x5000, 0), -EINVAL);
	cr_assert_eq(add(&c, UINT64_MAX, 2), -EINVAL);
	cr_assert_eq(add(&c, UINT64_MAX, 1), 0); /* the last byte there is */
	cr_assert_eq(bus.n, 3);
	cr_assert(bus.region[0] == &a.r && bus.region[1] == &b.r && bus.region[2] == &c.r);
	bus_del(&bus, &b.r);
	bus_del(&bus, &b.r);
	cr_assert(bus.n == 2 && bus.region[1] == &c.r);
}

Test(bus, is_finite)
{
	static struct probe p[BUS_REGIONS + 1];

	for (unsigned i = 0; i < BUS_REGIONS; i++)
		cr_assert_eq(add(&p[i], (BUS_REGIONS - i) * 16, 16), 0);
	cr_assert_eq(add(&p[BUS_REGIONS], 0x100000, 16), -ENOSPC);
	for (unsigned i = 0, hint = 0; i < BUS_REGIONS; i++)
		cr_assert_eq(bus_find(&bus, (BUS_REGIONS - i) * 16 + 15, 1, &hint), &p[i].r);
}

Test(bus, accesses_arrive_whole_or_not_at_all)
{
	struct probe a = {0}, b = {0};
	unsigned hint = 0;
	uint64_t v;

	add(&a, 0x1000, 0x10);
	add(&b, 0x1010, 0x10);
	cr_assert(bus_read(&bus, 0x1018, 4, &v, &hint));
	cr_assert(b.reads == 1 && b.off == 8 && b.size == 4 && b.was_locked);
	cr_assert_eq(v, 0x55667788); /* no more than was asked */
	cr_assert(bus_write(&bus, 0x1008, 2, 0xaabbccdd, &hint));
	cr_assert(a.writes == 1 && a.off == 8 && a.value == 0xccdd && a.was_locked);
	cr_assert(bus_write(&bus, 0x1008, 8, UINT64_MAX, &hint));
	cr_assert_eq(a.value, UINT64_MAX);
	cr_assert(!locked());
	/* across a border, into a hole, past the end */
	cr_assert(!bus_read(&bus, 0x100c, 8, &v, &hint));
	cr_assert_eq(v, UINT64_MAX);
	cr_assert(!bus_read(&bus, 0xfff, 1, &v, &hint));
	cr_assert_eq(v, 0xff);
	cr_assert(!bus_read(&bus, 0x101e, 4, &v, &hint));
	cr_assert_eq(v, 0xffffffff);
	cr_assert(!bus_write(&bus, UINT64_MAX, 8, 0, &hint));
	cr_assert(a.reads == 0 && a.writes == 2 && b.reads == 1 && b.writes == 0);
}

Test(bus, a_stale_hint_is_harmless)
{
	struct probe a = {0}, b = {0};
	unsigned hint = 0, far = 77;

	add(&a, 0x1000, 0x10);
	add(&b, 0x2000, 0x10);
	cr_assert_eq(bus_find(&bus, 0x2000, 1, &hint), &b.r);
	cr_assert_eq(hint, 1);
	cr_assert_eq(bus_find(&bus, 0x1000, 1, &hint), &a.r);
	bus_del(&bus, &b.r);
	hint = 1;
	cr_assert_null(bus_find(&bus, 0x2000, 1, &hint));
	cr_assert_eq(bus_find(&bus, 0x1000, 1, &far), &a.r);
}

Test(bus, an_empty_bus_reads_ones)
{
	unsigned hint = 0;
	uint64_t v = 0;

	cr_assert(!bus_read(&bus, 0, 2, &v, &hint));
	cr_assert_eq(v, 0xffff);
}
