/* SPDX-License-Identifier: Apache-2.0 */
/* All of an x86_64 vCPU's state, as plain data: field for field what KVM's structures hold, but
 * ours, so that it is saved, dumped and compared on any host. */
#ifndef ARCH_X86_64_STATE_H
#define ARCH_X86_64_STATE_H

#include <stdint.h>

#define X86_MSRS 512
#define X86_XCRS 16
#define X86_XSAVE                                                                                  \
	4096 /* KVM's struct kvm_xsave; larger areas need permission that is not asked for */
#define X86_LAPIC 1024

/* In the order of struct kvm_regs. */
enum x86_reg {
	X86_RAX,
	X86_RBX,
	X86_RCX,
	X86_RDX,
	X86_RSI,
	X86_RDI,
	X86_RSP,
	X86_RBP,
	X86_R8,
	X86_R9,
	X86_R10,
	X86_R11,
	X86_R12,
	X86_R13,
	X86_R14,
	X86_R15,
	X86_RIP,
	X86_RFLAGS,
	X86_REGS
};

struct x86_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint8_t type, present, dpl, db, s, l, g, avl, unusable;
};

/* In the order of struct kvm_sregs. */
enum x86_seg { X86_CS, X86_DS, X86_ES, X86_FS, X86_GS, X86_SS, X86_TR, X86_LDT, X86_SEGS };

struct x86_table {
	uint64_t base;
	uint16_t limit;
};

struct x86_msr {
	uint32_t index;
	uint64_t value;
};

struct arch_vcpu_state {
	uint64_t reg[X86_REGS];
	struct x86_segment seg[X86_SEGS];
	struct x86_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
	uint64_t interrupt_bitmap[4];
	uint32_t mp_state;
	uint64_t dr[4], dr6, dr7;
	/* struct kvm_vcpu_events */
	uint8_t exc_injected, exc_nr, exc_has_error, exc_pending;
	uint32_t exc_error;
	uint64_t exc_payload;
	uint8_t exc_has_payload;
	uint8_t irq_injected, irq_nr, irq_soft, irq_shadow;
	uint8_t nmi_injected, nmi_pending, nmi_masked;
	uint32_t sipi_vector, event_flags;
	uint8_t smi_smm, smi_pending, smi_inside_nmi, smi_latched_init, triple_fault;
	uint32_t nxcrs;
	uint32_t xcr[X86_XCRS];
	uint64_t xcr_value[X86_XCRS];
	uint8_t xsave[X86_XSAVE];
	uint8_t lapic[X86_LAPIC];
	uint64_t tsc_khz;
	uint32_t nmsrs;
	struct x86_msr msr[X86_MSRS];
};

#endif
