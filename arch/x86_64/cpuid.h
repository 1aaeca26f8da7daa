/* SPDX-License-Identifier: Apache-2.0 */
/* The CPUID that a guest sees, as a plain table: what KVM supports, masked by a baseline, with the
 * machine's own topology written over the host's. Decided by which leaves exist, never by the
 * vendor string: new vendors reuse leaves of the old ones. */
#ifndef ARCH_X86_64_CPUID_H
#define ARCH_X86_64_CPUID_H

#include <stdbool.h>
#include <stdint.h>
#include "vmm/base/err.h"

#define CPUID_MAX 160

enum cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/* Laid out as KVM's entry, so that a table is copied whole. */
struct cpuid_leaf {
	uint32_t leaf, sub;
	uint32_t flags;	 /* bit 0: the subleaf matters */
	uint32_t reg[4]; /* by enum cpuid_reg */
	uint32_t unused[3];
};
#define CPUID_SUBLEAF 1u

struct cpuid_table {
	unsigned n;
	struct cpuid_leaf leaf[CPUID_MAX];
};

/* NULL when absent. */
struct cpuid_leaf *cpuid_find(struct cpuid_table *t, uint32_t leaf, uint32_t sub);

/* What all vCPUs of a machine with `cpus` processors (one socket, one thread a core) share.
 * Returns 0 or -ENOSPC. */
int cpuid_machine(struct cpuid_table *t, unsigned cpus, bool tsc_deadline);

/* Writes the ids of one vCPU. May be called again for the next one. */
void cpuid_vcpu(struct cpuid_table *t, uint32_t apic_id);

/* Applies the text of a baseline: lines `cpuid LEAF SUBLEAF REG MASK`, REG one of eax ebx ecx edx,
 * numbers decimal or 0x-hexadecimal; the register is ANDed with MASK. A leaf that is absent needs
 * no masking. -EINVAL with e naming the line. */
int cpuid_baseline(struct cpuid_table *t, const char *text, struct err *e);

#endif
