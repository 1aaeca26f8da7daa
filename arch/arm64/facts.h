/* SPDX-License-Identifier: Apache-2.0 */
/* What the device tree needs to know from KVM, and the private interrupts both halves agree on. */
#ifndef ARCH_ARM64_FACTS_H
#define ARCH_ARM64_FACTS_H

#include <stdbool.h>
#include <stdint.h>
#include "arch/plan.h"

/* PPIs by number from 0, i.e. INTID - 16 (DEN0094 "Base System Architecture" §I.3.8.5.1: the
 * usual assignment, which is also KVM's for the timers). */
#define PPI_VTIMER 11
#define PPI_PTIMER 14
#define PPI_STIMER 13 /* EL3 and EL2 timers: named in the binding, absent here */
#define PPI_HTIMER 10
#define PPI_PMU	   7

struct arch_facts {
	bool pmu, its;
	uint64_t mpidr[PLAN_MAX_VCPUS]; /* affinity fields of MPIDR_EL1 */
};

#endif
