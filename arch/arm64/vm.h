/* SPDX-License-Identifier: Apache-2.0 */
/* The KVM half's objects, shared by irqchip.c, cpu.c and exit.c. */
#ifndef ARCH_ARM64_VM_H
#define ARCH_ARM64_VM_H

#include "arch/arch.h"
#include "arch/arm64/facts.h"
#include "vmm/kvm/kvm.h"

struct arch_vm {
	struct kvm_vm *vm; /* borrowed */
	struct plan plan;
	struct arch_vm_opts opts;
	char *baseline; /* own copy of opts.cpu_baseline */
	struct arch_facts facts;
	struct irq_domain *irqs;
	int gic, its;			       /* device fds, -1 = none */
	struct kvm_vcpu *vcpu[PLAN_MAX_VCPUS]; /* borrowed; in order of index */
	bool sve, pauth;
};

struct arch_vcpu {
	struct arch_vm *vm;
	struct kvm_vcpu *vcpu; /* borrowed */
	unsigned index;
	uint64_t *ids; /* of KVM_GET_REG_LIST, made at the first arch_vcpu_get() */
	uint32_t nids;
};

#endif
