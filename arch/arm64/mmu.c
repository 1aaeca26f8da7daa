/* SPDX-License-Identifier: Apache-2.0 */
/* Stage 1 translation in software, for reports: Arm ARM (DDI 0487) D8.2, all three granules and
 * 52-bit addresses. Permissions are not looked at. */
#include "arch/arm64/state.h"

#include <errno.h>
#include "vmm/base/num.h"

#define SCTLR_M		1
#define TCR_DS		(UINT64_C(1) << 59)
#define BITS(v, hi, lo) ((v) >> (lo) & ((UINT64_C(1) << ((hi) - (lo) + 1)) - 1))

struct regime {
	unsigned granule; /* log2 of the page size */
	unsigned va_bits;
	uint64_t ttbr;
	bool ds; /* 52-bit output addresses with 4 KiB and 16 KiB pages */
};

/* TG0 and TG1 count the granules differently (D24.2.168 TCR_EL1). */
static unsigned granule(unsigned tg, bool upper)
{
	static const uint8_t tg0[4] = {12, 16, 14, 0}, tg1[4] = {0, 14, 12, 16};

	return upper ? tg1[tg] : tg0[tg];
}

static int regime_of(const struct arch_vcpu_state *s, uint64_t va, struct regime *ret)
{
	uint64_t tcr = onereg_u64(&s->regs, REG_TCR_EL1);
	bool upper = BITS(va, 55, 55);
	unsigned tsz = (unsigned)(upper ? BITS(tcr, 21, 16) : BITS(tcr, 5, 0));

	*ret = (struct regime){
		.granule =
			granule((unsigned)(upper ? BITS(tcr, 31, 30) : BITS(tcr, 15, 14)), upper),
		.va_bits = 64 - tsz,
		.ttbr = onereg_u64(&s->regs, upper ? REG_TTBR1_EL1 : REG_TTBR0_EL1),
		.ds = tcr & TCR_DS,
	};
	if (!ret->granule || tsz < 12 || tsz > 48)
		return -EFAULT;
	/* Bits 63:56 may be a tag; those from va_bits to 55 all equal bit 55. */
	if (BITS(va, 55, ret->va_bits) != (upper ? BITS(UINT64_MAX, 55, ret->va_bits) : 0))
		return -EFAULT;
	return 0;
}

static uint64_t out_addr(const struct regime *r, uint64_t desc, unsigned shift)
{
	uint64_t a = desc & BITS(UINT64_MAX, 47, 0);

	if (r->ds)
		a = (desc & BITS(UINT64_MAX, 49, 0)) | BITS(desc, 9, 8) << 50;
	else if (r->granule == 16)
		a |= BITS(desc, 15, 12) << 48;
	return a & ~((UINT64_C(1) << shift) - 1);
}

static uint64_t table_base(const struct regime *r)
{
	uint64_t a = r->ttbr & BITS(UINT64_MAX, 47, 0) & ~UINT64_C(0x3f);

	return r->ds || r->granule == 16 ? a | BITS(r->ttbr, 5, 2) << 48 : a;
}

int arm64_walk(
	const struct guest_mem *m, const struct arch_vcpu_state *s, uint64_t gva, uint64_t *ret_gpa)
{
	struct regime r;
	uint64_t table, desc;
	unsigned per_level;
	int level;

	if (!(onereg_u64(&s->regs, REG_SCTLR_EL1) & SCTLR_M)) {
		*ret_gpa = gva;
		return 0;
	}
	if (regime_of(s, gva, &r) < 0)
		return -EFAULT;
	per_level = r.granule - 3;
	level = 4 - (int)((r.va_bits - r.granule + per_level - 1) / per_level);
	table = table_base(&r);
	for (;; level++) {
		unsigned shift = r.granule + (unsigned)(3 - level) * per_level;
		unsigned top = MIN(shift + per_level, r.va_bits);
		uint64_t index = BITS(gva, top - 1, shift);

		if (guest_mem_read(m, table + index * 8, &desc, 8) < 0 || !(desc & 1))
			return -EFAULT;
		if (level == 3 && !(desc & 2))
			return -EFAULT;
		if (level == 3 || !(desc & 2)) {
			*ret_gpa =
				out_addr(&r, desc, shift) | (gva & BITS(UINT64_MAX, shift - 1, 0));
			return 0;
		}
		table = out_addr(&r, desc, r.granule);
	}
}
