/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. "SDM" is Intel's manual vol. 2A (CPUID), "APM" AMD's vol. 3 appendix E. APIC ids
 * are 0, 1, 2 …: bits_for(cpus) of their bits tell processors of the one package apart. */
#include "arch/x86_64/cpuid.h"

#include <stddef.h>
#include <string.h>
#include "arch/common/baseline.h"
#include "vmm/base/num.h"

#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_EDX_HTT	       (1u << 28)

static unsigned bits_for(unsigned cpus)
{
	unsigned bits = 0;

	while (1u << bits < cpus)
		bits++;
	return bits;
}

static void set_bits(uint32_t *reg, unsigned high, unsigned low, uint32_t value)
{
	uint32_t mask = (uint32_t)((1ull << (high - low + 1)) - 1);

	*reg = (*reg & ~(mask << low)) | (MIN(value, mask) << low);
}

struct cpuid_leaf *cpuid_find(struct cpuid_table *t, uint32_t leaf, uint32_t sub)
{
	for (unsigned i = 0; i < t->n; i++) {
		struct cpuid_leaf *l = &t->leaf[i];
		if (l->leaf == leaf && (l->sub == sub || !(l->flags & CPUID_SUBLEAF)))
			return l;
	}
	return NULL;
}

static void drop(struct cpuid_table *t, uint32_t leaf)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < t->n; i++)
		if (t->leaf[i].leaf != leaf)
			t->leaf[kept++] = t->leaf[i];
	t->n = kept;
}

static int add(struct cpuid_table *t, uint32_t leaf, uint32_t sub, const uint32_t reg[4])
{
	struct cpuid_leaf *l;

	if (t->n == CPUID_MAX)
		return -ENOSPC;
	l = &t->leaf[t->n++];
	*l = (struct cpuid_leaf){.leaf = leaf, .sub = sub, .flags = CPUID_SUBLEAF};
	memcpy(l->reg, reg, sizeof(l->reg));
	return 0;
}

/* Extended topology (SDM leaf 0BH and 1FH): threads, then cores, then the end. EDX is per vCPU. */
static int extended_topology(struct cpuid_table *t, uint32_t leaf, unsigned cpus)
{
	const uint32_t level[3][4] = {
		{0, 1, 0 | 1 << 8, 0},
		{bits_for(cpus), cpus, 1 | 2 << 8, 0},
		{0, 0, 2, 0},
	};
	int r = 0;

	if (!cpuid_find(t, leaf, 0))
		return 0;
	drop(t, leaf);
	for (uint32_t i = 0; i < 3 && r == 0; i++)
		r = add(t, leaf, i, level[i]);
	return r;
}

/* Caches (SDM leaf 04H, APM 8000_001D, which copies its fields): the first two levels belong to one
 * core, what is above is shared by all. */
static void caches(struct cpuid_table *t, unsigned cpus)
{
	uint32_t ids = (1u << bits_for(cpus)) - 1;

	for (unsigned i = 0; i < t->n; i++) {
		struct cpuid_leaf *l = &t->leaf[i];
		uint32_t *eax = &l->reg[CPUID_EAX];
		unsigned level = *eax >> 5 & 7;

		if ((l->leaf != 4 && l->leaf != 0x8000001d) || !(*eax & 0x1f))
			continue;
		set_bits(eax, 25, 14, level >= 3 ? ids : 0);
		if (l->leaf == 4)
			set_bits(eax, 31, 26, ids);
	}
}

static void leaf_1(struct cpuid_table *t, unsigned cpus, bool tsc_deadline)
{
	struct cpuid_leaf *l = cpuid_find(t, 1, 0);

	if (!l)
		return;
	l->reg[CPUID_ECX] |= LEAF1_ECX_HYPERVISOR;
	if (tsc_deadline)
		l->reg[CPUID_ECX] |= LEAF1_ECX_TSC_DEADLINE;
	set_bits(&l->reg[CPUID_EBX], 23, 16, 1u << bits_for(cpus));
	if (cpus > 1)
		l->reg[CPUID_EDX] |= LEAF1_EDX_HTT;
	else
		l->reg[CPUID_EDX] &= ~LEAF1_EDX_HTT;
}

int cpuid_machine(struct cpuid_table *t, unsigned cpus, bool tsc_deadline)
{
	struct cpuid_leaf *l;
	int r;

	leaf_1(t, cpus, tsc_deadline);
	caches(t, cpus);
	/* APM 8000_0008 ECX: core count and the width of the core part of an APIC id. */
	l = cpuid_find(t, 0x80000008, 0);
	if (l) {
		set_bits(&l->reg[CPUID_ECX], 7, 0, cpus - 1);
		set_bits(&l->reg[CPUID_ECX], 15, 12, bits_for(cpus));
	}
	r = extended_topology(t, 0xb, cpus);
	return r < 0 ? r : extended_topology(t, 0x1f, cpus);
}

void cpuid_vcpu(struct cpuid_table *t, uint32_t apic_id)
{
	for (unsigned i = 0; i < t->n; i++) {
		struct cpuid_leaf *l = &t->leaf[i];

		switch (l->leaf) {
		case 1:
			set_bits(&l->reg[CPUID_EBX], 31, 24, apic_id);
			break;
		case 0xb:
		case 0x1f:
			l->reg[CPUID_EDX] = apic_id;
			break;
		case 0x8000001e: /* APM: ids of the APIC, the core and the node */
			l->reg[CPUID_EAX] = apic_id;
			l->reg[CPUID_EBX] = apic_id & 0xff;
			l->reg[CPUID_ECX] = 0;
			break;
		}
	}
}

static int word_number(const struct baseline *b, unsigned i, uint32_t *ret, struct err *e)
{
	uint64_t v;

	if (num_parse(b->word[i], &v) < 0 || v > UINT32_MAX)
		return baseline_error(b, e, "'%s' is not a 32-bit number", b->word[i]);
	*ret = (uint32_t)v;
	return 0;
}

static int word_register(const struct baseline *b, unsigned i, enum cpuid_reg *ret, struct err *e)
{
	static const char *const name[4] = {"eax", "ebx", "ecx", "edx"};

	for (unsigned r = 0; r < 4; r++) {
		if (!strcmp(b->word[i], name[r])) {
			*ret = (enum cpuid_reg)r;
			return 0;
		}
	}
	return baseline_error(b, e, "'%s' is none of eax, ebx, ecx, edx", b->word[i]);
}

static int directive(struct cpuid_table *t, const struct baseline *b, struct err *e)
{
	uint32_t leaf = 0, sub = 0, mask = 0;
	struct cpuid_leaf *l;
	enum cpuid_reg reg = CPUID_EAX;

	if (strcmp(b->word[0], "cpuid"))
		return baseline_error(b, e,
			"unknown directive '%s'; x86_64 has: cpuid LEAF SUBLEAF REG MASK",
			b->word[0]);
	if (b->nword != 5)
		return baseline_error(b, e, "expected: cpuid LEAF SUBLEAF REG MASK");
	if (word_number(b, 1, &leaf, e) < 0 || word_number(b, 2, &sub, e) < 0 ||
		word_register(b, 3, &reg, e) < 0 || word_number(b, 4, &mask, e) < 0)
		return -EINVAL;
	l = cpuid_find(t, leaf, sub);
	if (l)
		l->reg[reg] &= mask;
	return 0;
}

int cpuid_baseline(struct cpuid_table *t, const char *text, struct err *e)
{
	struct baseline b = {.next = text};
	int r;

	while ((r = baseline_next(&b, e)) > 0) {
		r = directive(t, &b, e);
		if (r < 0)
			return r;
	}
	return r;
}
