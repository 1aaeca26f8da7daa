/* SPDX-License-Identifier: Apache-2.0 */
/* The IDT, exceptions (which fail the case), and the dispatch of interrupt vectors. */
#include "case.h"
#include "io.h"
#include "x86.h"

static struct {
	uint64_t lo, hi;
} idt[256] __attribute__((aligned(16)));

static struct {
	irq_handler *fn;
	void *arg;
} handlers[256];

static unsigned next_vector = VECTOR_FIRST;
extern const uint8_t trap_stubs[];

static void set_gate(unsigned v)
{
	uint64_t at = (uint64_t)(uintptr_t)trap_stubs + v * 16;

	/* present, interrupt gate, 64-bit code segment */
	idt[v].lo = (at & 0xffff) | 0x08ull << 16 | 0x8e00ull << 32 | (at >> 16 & 0xffff) << 48;
	idt[v].hi = at >> 32;
}

void x86_idt_init(void)
{
	for (unsigned v = 0; v < 32; v++)
		set_gate(v);
	set_gate(VECTOR_SPURIOUS);
	x86_idt_load();
}

void x86_idt_load(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) p = {sizeof(idt) - 1, (uint64_t)(uintptr_t)idt};

	__asm__ volatile("lidt %0" ::"m"(p));
}

static void set_handler(unsigned v, irq_handler *fn, void *arg)
{
	handlers[v].arg = arg;
	WRITE_ONCE(handlers[v].fn, fn);
	set_gate(v);
}

int vector_alloc(irq_handler *fn, void *arg)
{
	if (next_vector > VECTOR_LAST)
		return -1;
	set_handler(next_vector, fn, arg);
	return (int)next_vector++;
}

void timer_attach(irq_handler *fn, void *arg)
{
	set_handler(VECTOR_TIMER, fn, arg);
}

void ipi_attach(irq_handler *fn, void *arg)
{
	set_handler(VECTOR_IPI, fn, arg);
}

void x86_trap(uint64_t v, struct trap_frame *f)
{
	uint64_t cr2;

	if (v < 32) {
		__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
		case_fail("exception %lu error 0x%lx at 0x%lx, cr2 0x%lx, cpu %u", v, f->error,
			f->rip, cr2, cpu_self());
	}
	if (v == VECTOR_SPURIOUS)
		return;
	if (handlers[v].fn)
		handlers[v].fn(handlers[v].arg);
	lapic_eoi();
}

void irq_allow(void)
{
	__asm__ volatile("sti" ::: "memory");
}

void irq_forbid(void)
{
	__asm__ volatile("cli" ::: "memory");
}

void cpu_wait(void)
{
	__asm__ volatile("sti; hlt; cli" ::: "memory");
}

void cpu_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

struct cpu_local *cpu_local(void)
{
	uint64_t sp;

	__asm__ volatile("mov %%rsp, %0" : "=r"(sp));
	return (struct cpu_local *)(sp & ~(uint64_t)(STACK_SIZE - 1));
}
