/* SPDX-License-Identifier: Apache-2.0 */
/* What the x86-64 files share. */
#ifndef GUEST_X86_H
#define GUEST_X86_H

#include "types.h"

enum { VECTOR_FIRST = 0x30, VECTOR_LAST = 0xdf, VECTOR_TIMER = 0xe0, VECTOR_IPI = 0xe1 };
enum { VECTOR_SPURIOUS = 0xff };

/* What the CPU and the stubs pushed; see trap_common. */
struct trap_frame {
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

void x86_trap(uint64_t vector, struct trap_frame *);
void x86_idt_init(void);
void x86_idt_load(void);

/* clock.c */
void clock_init(void);

/* lapic.c: registers by their xAPIC offset, through MMIO or x2APIC MSRs. */
void lapic_init(void);	   /* the boot CPU: chooses the mode */
void lapic_init_cpu(void); /* each CPU */
uint32_t lapic_read(uint32_t reg);
void lapic_write(uint32_t reg, uint32_t v);
void lapic_icr(uint32_t apic_id, uint32_t command);
void lapic_eoi(void);

/* Allocates a vector for a handler. */
int vector_alloc(void (*fn)(void *), void *arg);

_Noreturn void secondary_main(void);

#endif
