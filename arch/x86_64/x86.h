/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the KVM half share. */
#ifndef ARCH_X86_64_X86_H
#define ARCH_X86_64_X86_H

#include <stdatomic.h>
#include "arch/arch.h"
#include "arch/x86_64/cpuid.h"
#include "vmm/kvm/kvm.h"

struct arch_vm {
	struct kvm_vm *vm; /* borrowed */
	struct plan plan;
	struct log *log;
	struct irq_domain *irqs;
	struct cpuid_table cpuid; /* the machine's; ids are those of the vCPU last made */
	/* Any vCPU thread counts. */
	_Atomic uint64_t msr_refused, msr_unknown_reads, msr_unknown_writes;
	struct log_limit msr_limit;
};

struct arch_vcpu {
	struct arch_vm *arch;
	struct kvm_vcpu *vcpu; /* borrowed */
	unsigned index;
};

struct kvm_msr_entry;

/* Sets MSRs in one call; after a refusal goes on with the next, logging and counting what KVM did
 * not take. Returns 0 or a negative errno of the ioctl itself. */
int x86_set_msrs(struct arch_vcpu *c, const struct kvm_msr_entry *msr, unsigned n);

#endif
