/* SPDX-License-Identifier: Apache-2.0 */
/* The KVM half's objects, shared by irqchip.c, cpu.c, exit.c and sbi.c. */
#ifndef ARCH_RISCV64_VM_H
#define ARCH_RISCV64_VM_H

#include <stdatomic.h>
#include "arch/arch.h"
#include "arch/riscv64/facts.h"
#include "arch/riscv64/plic.h"
#include "vmm/kvm/kvm.h"

struct arch_vm {
	struct kvm_vm *vm; /* borrowed */
	struct plan plan;
	struct arch_vm_opts opts;
	char *baseline; /* own copy of opts.cpu_baseline */
	struct arch_facts facts;
	struct irq_domain *irqs;
	int aia;			       /* device fd, -1 = none */
	struct plic *plic;		       /* NULL with AIA */
	struct kvm_vcpu *vcpu[PLAN_MAX_VCPUS]; /* borrowed; in order of index */
	_Atomic uint64_t sbi_refused;
	struct log_limit sbi_log;
};

struct arch_vcpu {
	struct arch_vm *vm;
	struct kvm_vcpu *vcpu; /* borrowed */
	unsigned index;
	uint64_t *ids; /* registers of the state, made at the first arch_vcpu_get() */
	uint32_t nids;
};

/* Answers an SBI call that KVM leaves to us, in run->riscv_sbi. vCPU thread. */
void riscv64_sbi(struct arch_vcpu *c);

#endif
