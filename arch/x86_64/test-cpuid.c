/* SPDX-License-Identifier: Apache-2.0 */
/* The host's table here is of a vendor that does not exist, with the leaves of both that do. */
#include "arch/x86_64/cpuid.h"

#include <criterion/criterion.h>
#include <string.h>

static struct cpuid_table host(void)
{
	struct cpuid_table t = {0};
	const struct cpuid_leaf leaf[] = {
		{.leaf = 0, .reg = {0x1f, 0x6f6e6b6e, 0x64617a71, 0x206e776f}},
		/* host: APIC id 7, 16 logical processors, HTT */
		{.leaf = 1, .reg = {0xa50f00, 7u << 24 | 16 << 16 | 8 << 8, 1u << 21, 1u << 28}},
		{.leaf = 4, .sub = 0, .flags = 1, .reg = {0x1c004121 | 1 << 14, 0x01c0003f, 63, 0}},
		{.leaf = 4,
			.sub = 1,
			.flags = 1,
			.reg = {0x1c004163 | 7 << 14, 0x03c0003f, 4095, 6}},
		{.leaf = 4, .sub = 2, .flags = 1, .reg = {0}},
		{.leaf = 0xb, .sub = 0, .flags = 1, .reg = {1, 2, 0x100, 7}},
		{.leaf = 0xb, .sub = 1, .flags = 1, .reg = {4, 16, 0x201, 7}},
		{.leaf = 0x1f, .sub = 0, .flags = 1, .reg = {1, 2, 0x100, 7}},
		{.leaf = 0x40000000, .reg = {0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d}},
		{.leaf = 0x80000008, .reg = {0x3028, 0, 0x700f, 0}},
		{.leaf = 0x8000001d,
			.sub = 3,
			.flags = 1,
			.reg = {0x63 | 15 << 14, 0x3c0003f, 1, 0}},
		{.leaf = 0x8000001e, .reg = {7, 0x103, 0x300, 0}},
	};

	memcpy(t.leaf, leaf, sizeof(leaf));
	t.n = sizeof(leaf) / sizeof(leaf[0]);
	return t;
}

static uint32_t reg(struct cpuid_table *t, uint32_t leaf, uint32_t sub, enum cpuid_reg r)
{
	struct cpuid_leaf *l = cpuid_find(t, leaf, sub);

	cr_assert(l, "leaf 0x%x.%u is missing", leaf, sub);
	return l->reg[r];
}

static struct cpuid_table guest(unsigned cpus, uint32_t id)
{
	struct cpuid_table t = host();

	cr_assert_eq(cpuid_machine(&t, cpus, true), 0);
	cpuid_vcpu(&t, id);
	return t;
}

Test(cpuid, unknown_vendor_stays_what_it_is)
{
	struct cpuid_table t = guest(4, 2), h = host();

	cr_expect_eq(memcmp(cpuid_find(&t, 0, 0), cpuid_find(&h, 0, 0), sizeof(t.leaf[0])), 0);
	cr_expect_eq(memcmp(cpuid_find(&t, 0x40000000, 0), cpuid_find(&h, 0x40000000, 0),
			     sizeof(t.leaf[0])),
		0);
}

Test(cpuid, leaf_1_has_id_count_and_hypervisor)
{
	struct cpuid_table t = guest(3, 2);

	cr_expect_eq(reg(&t, 1, 0, CPUID_EBX), 2u << 24 | 4 << 16 | 8 << 8);
	cr_expect(reg(&t, 1, 0, CPUID_ECX) & 1u << 31, "no hypervisor bit");
	cr_expect(reg(&t, 1, 0, CPUID_ECX) & 1u << 24, "no TSC deadline");
	cr_expect(reg(&t, 1, 0, CPUID_EDX) & 1u << 28, "no HTT");
	t = guest(1, 0);
	cr_expect_not(reg(&t, 1, 0, CPUID_EDX) & 1u << 28, "HTT on a single processor");
	cr_expect_eq(reg(&t, 1, 0, CPUID_EBX) >> 16, 1);
}

static void topology(uint32_t leaf)
{
	struct cpuid_table t = guest(6, 5);

	cr_expect_eq(reg(&t, leaf, 0, CPUID_EAX), 0); /* one thread a core */
	cr_expect_eq(reg(&t, leaf, 0, CPUID_EBX), 1);
	cr_expect_eq(reg(&t, leaf, 0, CPUID_ECX), 0x100);
	cr_expect_eq(reg(&t, leaf, 1, CPUID_EAX), 3); /* 6 cores need 3 bits */
	cr_expect_eq(reg(&t, leaf, 1, CPUID_EBX), 6);
	cr_expect_eq(reg(&t, leaf, 1, CPUID_ECX), 0x201);
	cr_expect_eq(reg(&t, leaf, 2, CPUID_ECX), 2); /* the end */
	for (uint32_t sub = 0; sub < 3; sub++)
		cr_expect_eq(reg(&t, leaf, sub, CPUID_EDX), 5);
}

Test(cpuid, extended_topology)
{
	topology(0xb);
	topology(0x1f);
}

Test(cpuid, caches_are_shared_as_the_cores_are)
{
	struct cpuid_table t = guest(4, 0);

	cr_expect_eq(reg(&t, 4, 0, CPUID_EAX) >> 14 & 0xfff, 0); /* L1: own */
	cr_expect_eq(reg(&t, 4, 1, CPUID_EAX) >> 14 & 0xfff, 3); /* L3: all four */
	cr_expect_eq(reg(&t, 4, 1, CPUID_EAX) >> 26, 3);
	cr_expect_eq(reg(&t, 4, 2, CPUID_EAX), 0); /* no cache, no fields */
	cr_expect_eq(reg(&t, 0x8000001d, 3, CPUID_EAX) >> 14 & 0xfff, 3);
}

Test(cpuid, core_count_and_ids_of_the_other_vendor)
{
	struct cpuid_table t = guest(5, 4);

	cr_expect_eq(reg(&t, 0x80000008, 0, CPUID_EAX), 0x3028);
	cr_expect_eq(reg(&t, 0x80000008, 0, CPUID_ECX), 3 << 12 | 4);
	cr_expect_eq(reg(&t, 0x8000001e, 0, CPUID_EAX), 4);
	cr_expect_eq(reg(&t, 0x8000001e, 0, CPUID_EBX), 4);
	cr_expect_eq(reg(&t, 0x8000001e, 0, CPUID_ECX), 0);
}

Test(cpuid, absent_leaves_stay_absent)
{
	struct cpuid_table t = {.n = 1, .leaf = {{.leaf = 1}}};

	cr_expect_eq(cpuid_machine(&t, 4, false), 0);
	cpuid_vcpu(&t, 1);
	cr_expect_eq(t.n, 1);
	cr_expect_null(cpuid_find(&t, 0xb, 0));
	cr_expect_not(reg(&t, 1, 0, CPUID_ECX) & 1u << 24);
}

Test(cpuid, many_processors_keep_their_fields)
{
	struct cpuid_table t = guest(255, 254);

	cr_expect_eq(reg(&t, 1, 0, CPUID_EBX), 254u << 24 | 255 << 16 | 8 << 8);
	cr_expect_eq(reg(&t, 0x80000008, 0, CPUID_ECX), 8 << 12 | 254);
	cr_expect_eq(reg(&t, 4, 1, CPUID_EAX) >> 26, 63);
}

Test(cpuid, a_full_table_is_refused)
{
	struct cpuid_table t = host();

	while (t.n < CPUID_MAX)
		t.leaf[t.n++] = (struct cpuid_leaf){.leaf = 0x70000000 + t.n};
	cr_expect_eq(cpuid_machine(&t, 2, true), -ENOSPC);
}

Test(cpuid, baseline_masks)
{
	struct cpuid_table t = host();
	struct err e = {0};

	cr_assert_eq(cpuid_baseline(&t,
			     "# two lines\n\ncpuid 1 0 ecx 0xffdfffff # no x2APIC\n"
			     "cpuid 0x80000008 0 eax 0xff\ncpuid 0x21 0 eax 0\n",
			     &e),
		0, "%s", e.text);
	cr_expect_eq(reg(&t, 1, 0, CPUID_ECX), 0);
	cr_expect_eq(reg(&t, 0x80000008, 0, CPUID_EAX), 0x28);
	cr_expect_eq(reg(&t, 4, 1, CPUID_EAX), (0x1c004163 | 7 << 14));
}

static void bad_line(const char *text, const char *line)
{
	struct cpuid_table t = host();
	struct err e = {0};

	cr_assert_eq(cpuid_baseline(&t, text, &e), -EINVAL, "\"%s\" passes", text);
	cr_expect(strstr(e.text, "--cpus model=baseline:FILE"), "%s", e.text);
	cr_expect(strstr(e.text, line), "%s", e.text);
}

Test(cpuid, baseline_errors_name_the_line)
{
	bad_line("\n# x\nreg 1 2\n", "line 3");
	bad_line("cpuid 1 0 ecx\n", "line 1");
	bad_line("cpuid 1 0 ecx 0 0\n", "line 1");
	bad_line("cpuid one 0 ecx 0\n", "'one'");
	bad_line("cpuid 1 0 rcx 0\n", "'rcx'");
	bad_line("cpuid 1 0 ecx 0x100000000\n", "line 1");
}
