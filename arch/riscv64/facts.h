/* SPDX-License-Identifier: Apache-2.0 */
/* What the device tree needs to know from KVM, and the table of ISA extensions. */
#ifndef ARCH_RISCV64_FACTS_H
#define ARCH_RISCV64_FACTS_H

#include <stdbool.h>
#include <stdint.h>
#include "arch/plan.h"

#define ISA_WORDS 4 /* room for 256 extension numbers, as KVM counts them */

struct arch_facts {
	uint64_t isa[ISA_WORDS];	 /* bit n: the guest has extension number n */
	uint32_t timebase;		 /* Hz */
	uint32_t cbom_block, cboz_block; /* bytes, 0 = unknown */
	uint32_t satp_mode;		 /* 8, 9, 10: Sv39, Sv48, Sv57; 0 = unknown */
	bool aia;
	uint32_t imsic_ids; /* interrupt identities, 63, 127, … */
};

static inline bool isa_has(const struct arch_facts *f, unsigned n)
{
	return n < ISA_WORDS * 64 && f->isa[n / 64] >> (n % 64) & 1;
}

/* An extension's name in device trees, by KVM's number. The numbers are ABI. NULL past the end of
 * what this program knows: such an extension works but the guest is not told. */
const char *isa_name(unsigned n);

/* The number of an extension, -1 for an unknown name. */
int isa_number(const char *name);

/* "rv64imafdc_zba_…" for the older `riscv,isa` property; buf of cap bytes, cut when too small. */
void isa_string(const struct arch_facts *f, char *buf, unsigned cap);

#endif
