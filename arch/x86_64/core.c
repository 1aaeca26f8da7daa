/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU in an ELF core: NT_PRSTATUS with struct user_regs_struct of <sys/user.h>, and the note
 * that QEMU's dump-guest-memory writes (target/i386/arch_dump.c, QEMUCPUState version 1). In that
 * one `crash` finds CR3 and the IDT, and so a kernel that has relocated itself. */
#include "arch/arch.h"
#include "arch/common/core.h"
#include "arch/x86_64/state.h"

#define EM_X86_64	   62
#define MSR_KERNEL_GS_BASE 0xc0000102
#define QEMU_NOTE_VERSION  1

struct prstatus CORE_PRSTATUS(27);
_Static_assert(sizeof(struct prstatus) == 336, "x86_64's struct elf_prstatus");

struct qemu_segment {
	uint32_t selector, limit, flags, pad;
	uint64_t base;
};

struct qemu_cpu {
	uint32_t version, size;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8_15[8], rip, rflags;
	struct qemu_segment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
	uint64_t cr[5];
	uint64_t kernel_gs_base;
};
_Static_assert(sizeof(struct qemu_cpu) == 440, "QEMUCPUState");

unsigned arch_core_machine(void)
{
	return EM_X86_64;
}

static int prstatus(const struct arch_vcpu_state *s, unsigned index, uint8_t *buf, size_t cap)
{
	const uint64_t *r = s->reg;
	const struct x86_segment *g = s->seg;
	struct prstatus p = {
		.head = core_prstatus_head(index),
		.reg = {r[X86_R15], r[X86_R14], r[X86_R13], r[X86_R12], r[X86_RBP], r[X86_RBX],
			r[X86_R11], r[X86_R10], r[X86_R9], r[X86_R8], r[X86_RAX], r[X86_RCX],
			r[X86_RDX], r[X86_RSI], r[X86_RDI], UINT64_MAX /* in no system call */,
			r[X86_RIP], g[X86_CS].selector, r[X86_RFLAGS], r[X86_RSP],
			g[X86_SS].selector, g[X86_FS].base, g[X86_GS].base, g[X86_DS].selector,
			g[X86_ES].selector, g[X86_FS].selector, g[X86_GS].selector},
	};

	return core_note(buf, cap, "CORE", CORE_NT_PRSTATUS, &p, sizeof(p));
}

/* flags are bits 31:8 of a descriptor's upper half (AMD64 manual volume 2, §4.7). */
static struct qemu_segment segment(const struct x86_segment *s)
{
	return (struct qemu_segment){
		.selector = s->selector,
		.limit = s->limit,
		.flags = (uint32_t)(s->type & 15) << 8 | (uint32_t)(s->s & 1) << 12 |
			 (uint32_t)(s->dpl & 3) << 13 | (uint32_t)(s->present & 1) << 15 |
			 (uint32_t)(s->avl & 1) << 20 | (uint32_t)(s->l & 1) << 21 |
			 (uint32_t)(s->db & 1) << 22 | (uint32_t)(s->g & 1) << 23,
		.base = s->base,
	};
}

static struct qemu_segment table(const struct x86_table *t)
{
	return (struct qemu_segment){.limit = t->limit, .base = t->base};
}

static uint64_t msr(const struct arch_vcpu_state *s, uint32_t index)
{
	for (uint32_t i = 0; i < s->nmsrs && i < X86_MSRS; i++)
		if (s->msr[i].index == index)
			return s->msr[i].value;
	return 0;
}

static int qemu(const struct arch_vcpu_state *s, uint8_t *buf, size_t cap)
{
	const uint64_t *r = s->reg;
	struct qemu_cpu q = {
		.version = QEMU_NOTE_VERSION,
		.size = sizeof(q),
		.rax = r[X86_RAX],
		.rbx = r[X86_RBX],
		.rcx = r[X86_RCX],
		.rdx = r[X86_RDX],
		.rsi = r[X86_RSI],
		.rdi = r[X86_RDI],
		.rsp = r[X86_RSP],
		.rbp = r[X86_RBP],
		.rip = r[X86_RIP],
		.rflags = r[X86_RFLAGS],
		.cs = segment(&s->seg[X86_CS]),
		.ds = segment(&s->seg[X86_DS]),
		.es = segment(&s->seg[X86_ES]),
		.fs = segment(&s->seg[X86_FS]),
		.gs = segment(&s->seg[X86_GS]),
		.ss = segment(&s->seg[X86_SS]),
		.ldt = segment(&s->seg[X86_LDT]),
		.tr = segment(&s->seg[X86_TR]),
		.gdt = table(&s->gdt),
		.idt = table(&s->idt),
		.cr = {s->cr0, 0 /* there is no cr1 */, s->cr2, s->cr3, s->cr4},
		.kernel_gs_base = msr(s, MSR_KERNEL_GS_BASE),
	};

	for (unsigned i = 0; i < 8; i++)
		q.r8_15[i] = r[X86_R8 + i];
	return core_note(buf, cap, "QEMU", 0, &q, sizeof(q));
}

int arch_core_notes(const struct arch_vcpu_state *s, unsigned index, uint8_t *buf, size_t cap)
{
	int first = prstatus(s, index, buf, cap), second;

	if (first < 0)
		return first;
	second = qemu(s, buf + first, cap - (size_t)first);
	return second < 0 ? second : first + second;
}
