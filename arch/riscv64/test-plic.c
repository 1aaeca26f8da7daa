/* SPDX-License-Identifier: Apache-2.0 */
/* The PLIC, driven through its registers as Linux drives it. */
#include "arch/riscv64/plic.h"

#include <criterion/criterion.h>
#include <errno.h>

#define EDGE  20 /* sources 16.. latch edges */
#define LEVEL 5

static bool line[2];

static void drive(void *arg, unsigned hart, bool level)
{
	line[hart] = level;
}

static struct plic *plic;
static struct irq_domain *domain;

static void setup(void)
{
	struct plic_opts o = {.base = 0xc000000,
		.size = 0x4000000,
		.npins = 64,
		.harts = 2,
		.edge_first = 16,
		.edge_count = 32,
		.drive = drive};

	cr_assert_eq(plic_new(&o, &plic), 0);
	domain = plic_domain(plic);
}

static void teardown(void)
{
	plic_free(plic);
}

TestSuite(plic, .init = setup, .fini = teardown);

static uint32_t get(uint64_t off)
{
	struct io_region *r = plic_region(plic);

	return (uint32_t)r->ops->read(r->dev, off, 4);
}

static void put(uint64_t off, uint32_t v)
{
	struct io_region *r = plic_region(plic);

	r->ops->write(r->dev, off, 4, v);
}

static void enable(unsigned hart, unsigned source, uint32_t priority)
{
	uint64_t reg = 0x2000 + hart * 0x80 + source / 32 * 4;

	put(source * 4, priority);
	put(reg, get(reg) | 1u << (source % 32));
}

static uint64_t claim_reg(unsigned hart)
{
	return 0x200004 + hart * 0x1000u;
}

static void set(unsigned pin, bool level)
{
	cr_assert_eq(domain->ops->wire_set(domain, pin, level), 0);
}

Test(plic, level_until_served)
{
	enable(0, LEVEL, 1);
	set(LEVEL, true);
	cr_assert(line[0]);
	cr_assert_not(line[1]);
	cr_assert_eq(get(claim_reg(0)), LEVEL);
	cr_assert_not(line[0], "the gateway is shut");
	cr_assert_eq(get(claim_reg(0)), 0);
	put(claim_reg(0), LEVEL);
	cr_assert(line[0], "the line is still up");
	cr_assert_eq(get(claim_reg(0)), LEVEL);
	set(LEVEL, false);
	put(claim_reg(0), LEVEL);
	cr_assert_not(line[0]);
}

Test(plic, level_withdrawn)
{
	enable(0, LEVEL, 1);
	set(LEVEL, true);
	set(LEVEL, false);
	cr_assert_not(line[0]);
	cr_assert_eq(get(claim_reg(0)), 0);
}

Test(plic, edges_are_not_lost)
{
	enable(1, EDGE, 1);
	set(EDGE, true);
	set(EDGE, false);
	cr_assert(line[1]);
	cr_assert_eq(get(claim_reg(1)), EDGE);
	set(EDGE, true);
	set(EDGE, false);
	cr_assert_not(line[1]);
	put(claim_reg(1), EDGE);
	cr_assert(line[1], "the edge that came meanwhile");
	cr_assert_eq(get(claim_reg(1)), EDGE);
	put(claim_reg(1), EDGE);
	cr_assert_not(line[1]);
}

Test(plic, priorities)
{
	enable(0, LEVEL, 1);
	enable(0, LEVEL + 1, 3);
	enable(0, EDGE, 3);
	set(LEVEL, true);
	set(EDGE, true);
	set(LEVEL + 1, true);
	put(0x200000, 3);
	cr_assert_not(line[0], "the threshold holds all back");
	put(0x200000, 1);
	cr_assert_eq(get(claim_reg(0)), LEVEL + 1, "equal priority: the lower number");
	cr_assert_eq(get(claim_reg(0)), EDGE);
	cr_assert_not(line[0], "priority 1 is not above threshold 1");
	put(0x200000, 0);
	cr_assert_eq(get(claim_reg(0)), LEVEL);
}

Test(plic, nonsense)
{
	struct io_region *r = plic_region(plic);

	cr_assert_lt(domain->ops->wire_set(domain, 0, true), 0);
	cr_assert_lt(domain->ops->wire_set(domain, 64, true), 0);
	put(0x2000, ~0u);
	cr_assert_eq(get(0x2000), ~1u, "source 0 does not exist");
	put(0x2008, ~0u);
	cr_assert_eq(get(0x2008), 0, "source 64 does not exist");
	put(0, 7);
	cr_assert_eq(get(0), 0);
	put(claim_reg(0), 63);
	put(claim_reg(0), 1u << 31);
	put(claim_reg(1) + 0x1000, 5); /* a hart that does not exist */
	cr_assert_eq(get(claim_reg(1) + 0x1000), 0);
	cr_assert_eq(r->ops->read(r->dev, 1, 4), 0);
	cr_assert_eq(r->ops->read(r->dev, 4, 8), 0);
	for (uint64_t off = 0; off < 0x4000000; off += 0x3fc) {
		put(off & ~3u, 0xffffffff);
		get(off & ~3u);
	}
	cr_assert_eq(domain->ops->msi_alloc(domain), -EOPNOTSUPP);
	cr_assert_not(domain->has_irqfd || domain->has_msi);
}
