/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over a vCPU's state: its names are the snapshot's format and the crash report's. */
#include "arch/x86_64/state.h"

#include "arch/arch.h"
#include "vmm/base/num.h"

#define STATE_VERSION 1
#define CR0_PE	      1ull
#define EFER_LMA      (1ull << 10)

size_t arch_vcpu_state_size(void)
{
	return sizeof(struct arch_vcpu_state);
}

static void visit_regs(struct arch_vcpu_state *s, struct visitor *v)
{
	static const char *const name[X86_REGS] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp",
		"rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags"};

	for (unsigned i = 0; i < X86_REGS; i++)
		visit_u64(v, name[i], &s->reg[i]);
}

static void visit_segment(struct x86_segment *s, const char *name, struct visitor *v)
{
	uint32_t version = STATE_VERSION;

	visit_begin(v, name, &version);
	visit_u64(v, "base", &s->base);
	visit_u32(v, "limit", &s->limit);
	visit_u16(v, "selector", &s->selector);
	visit_u8(v, "type", &s->type);
	visit_u8(v, "present", &s->present);
	visit_u8(v, "dpl", &s->dpl);
	visit_u8(v, "db", &s->db);
	visit_u8(v, "s", &s->s);
	visit_u8(v, "l", &s->l);
	visit_u8(v, "g", &s->g);
	visit_u8(v, "avl", &s->avl);
	visit_u8(v, "unusable", &s->unusable);
	visit_end(v);
}

static void visit_sregs(struct arch_vcpu_state *s, struct visitor *v)
{
	static const char *const name[X86_SEGS] = {"cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"};
	static const char *const bitmap[4] = {
		"irq_bitmap0", "irq_bitmap1", "irq_bitmap2", "irq_bitmap3"};

	for (unsigned i = 0; i < X86_SEGS; i++)
		visit_segment(&s->seg[i], name[i], v);
	visit_u64(v, "gdt_base", &s->gdt.base);
	visit_u16(v, "gdt_limit", &s->gdt.limit);
	visit_u64(v, "idt_base", &s->idt.base);
	visit_u16(v, "idt_limit", &s->idt.limit);
	visit_u64(v, "cr0", &s->cr0);
	visit_u64(v, "cr2", &s->cr2);
	visit_u64(v, "cr3", &s->cr3);
	visit_u64(v, "cr4", &s->cr4);
	visit_u64(v, "cr8", &s->cr8);
	visit_u64(v, "efer", &s->efer);
	visit_u64(v, "apic_base", &s->apic_base);
	for (unsigned i = 0; i < 4; i++)
		visit_u64(v, bitmap[i], &s->interrupt_bitmap[i]);
}

static void visit_events(struct arch_vcpu_state *s, struct visitor *v)
{
	visit_u32(v, "mp_state", &s->mp_state);
	visit_u8(v, "exc_injected", &s->exc_injected);
	visit_u8(v, "exc_nr", &s->exc_nr);
	visit_u8(v, "exc_has_error", &s->exc_has_error);
	visit_u8(v, "exc_pending", &s->exc_pending);
	visit_u32(v, "exc_error", &s->exc_error);
	visit_u64(v, "exc_payload", &s->exc_payload);
	visit_u8(v, "exc_has_payload", &s->exc_has_payload);
	visit_u8(v, "irq_injected", &s->irq_injected);
	visit_u8(v, "irq_nr", &s->irq_nr);
	visit_u8(v, "irq_soft", &s->irq_soft);
	visit_u8(v, "irq_shadow", &s->irq_shadow);
	visit_u8(v, "nmi_injected", &s->nmi_injected);
	visit_u8(v, "nmi_pending", &s->nmi_pending);
	visit_u8(v, "nmi_masked", &s->nmi_masked);
	visit_u32(v, "sipi_vector", &s->sipi_vector);
	visit_u32(v, "event_flags", &s->event_flags);
	visit_u8(v, "smi_smm", &s->smi_smm);
	visit_u8(v, "smi_pending", &s->smi_pending);
	visit_u8(v, "smi_inside_nmi", &s->smi_inside_nmi);
	visit_u8(v, "smi_latched_init", &s->smi_latched_init);
	visit_u8(v, "triple_fault", &s->triple_fault);
}

static void visit_debug(struct arch_vcpu_state *s, struct visitor *v)
{
	static const char *const name[4] = {"dr0", "dr1", "dr2", "dr3"};

	for (unsigned i = 0; i < 4; i++)
		visit_u64(v, name[i], &s->dr[i]);
	visit_u64(v, "dr6", &s->dr6);
	visit_u64(v, "dr7", &s->dr7);
}

static void visit_xcrs(struct arch_vcpu_state *s, struct visitor *v)
{
	visit_array(v, "xcrs", &s->nxcrs, X86_XCRS);
	for (uint32_t i = 0; i < s->nxcrs && i < X86_XCRS; i++) {
		uint32_t version = STATE_VERSION;

		visit_begin(v, NULL, &version);
		visit_u32(v, "index", &s->xcr[i]);
		visit_u64(v, "value", &s->xcr_value[i]);
		visit_end(v);
	}
	visit_array_end(v);
}

static void visit_msrs(struct arch_vcpu_state *s, struct visitor *v)
{
	visit_array(v, "msrs", &s->nmsrs, X86_MSRS);
	for (uint32_t i = 0; i < s->nmsrs && i < X86_MSRS; i++) {
		uint32_t version = STATE_VERSION;

		visit_begin(v, NULL, &version);
		visit_u32(v, "index", &s->msr[i].index);
		visit_u64(v, "value", &s->msr[i].value);
		visit_end(v);
	}
	visit_array_end(v);
}

int arch_vcpu_state_visit(struct arch_vcpu_state *s, struct visitor *v)
{
	uint32_t version = STATE_VERSION;

	visit_begin(v, "x86_64", &version);
	visit_regs(s, v);
	visit_sregs(s, v);
	visit_events(s, v);
	visit_debug(s, v);
	visit_xcrs(s, v);
	visit_bytes(v, "xsave", s->xsave, sizeof(s->xsave));
	visit_bytes(v, "lapic", s->lapic, sizeof(s->lapic));
	visit_u64(v, "tsc_khz", &s->tsc_khz);
	visit_msrs(s, v);
	visit_end(v);
	return visit_status(v);
}

uint64_t arch_vcpu_state_pc(const struct arch_vcpu_state *s)
{
	return s->reg[X86_RIP] + (s->seg[X86_CS].l ? 0 : s->seg[X86_CS].base);
}

const char *arch_vcpu_state_mode(const struct arch_vcpu_state *s)
{
	if ((s->efer & EFER_LMA) && s->seg[X86_CS].l)
		return "x86-64";
	return (s->cr0 & CR0_PE) && s->seg[X86_CS].db ? "x86-32" : "x86-16";
}
