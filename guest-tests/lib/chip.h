/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a chip's start-up code gives to the cases. Each of x86_64/, arm64/ and riscv64/ implements
 * all of it; nothing above this header knows which chip it runs on.
 *
 * Cases run with interrupts disabled. They let them in only inside cpu_wait() and between
 * irq_allow() and irq_forbid(), so a handler never runs at a place that does not expect it. A KVM
 * that emulates kernel-mode code looks for interrupts only now and then: wait with them allowed,
 * not by opening short gaps.
 */
#ifndef GUEST_CHIP_H
#define GUEST_CHIP_H

#include "types.h"

/* Name of the chip as the project spells it. */
extern const char chip_name[];

/* Console: one character, waits for room. Newlines get their carriage return. */
void console_putc(char c);

/* Fills `machine` from the firmware tables, then sets up interrupts of the boot CPU. */
void chip_probe(void);
void chip_irq_init(void);

/* --- time --- */
uint64_t clock_ticks(void);
uint64_t clock_hz(void);
uint64_t ticks_to_ns(uint64_t ticks);
uint64_t ns_to_ticks(uint64_t ns);
void delay_us(unsigned us);
/* A moment in the future; deadline_passed() is cheap enough for polling loops. */
uint64_t deadline_ms(unsigned ms);
bool deadline_passed(uint64_t deadline);

/* --- CPUs: index 0 is the boot CPU --- */
#define STACK_SIZE 8192u /* also the alignment: the CPU's index lies at its stack's bottom */
struct cpu_local {
	uint64_t index;
};
struct cpu_local *cpu_local(void);
static inline unsigned cpu_self(void)
{
	return (unsigned)cpu_local()->index;
}
/* Starts CPU i with fn(arg), interrupts set up and disabled. 0, or -1 if it did not come up. */
int cpu_start(unsigned i, void (*fn)(void *arg), void *arg);
/* Enables interrupts, sleeps until one came, disables them. One that is pending is not lost. */
void cpu_wait(void);
/* Let interrupts in, and keep them out again. */
void irq_allow(void);
void irq_forbid(void);
/* Hint in a spin loop. */
void cpu_relax(void);

/* --- interrupts --- */
typedef void irq_handler(void *arg);

/* An interrupt line, numbered as its controller does: GSI, GIC INTID, APLIC or PLIC source. */
struct irq {
	bool present;
	uint32_t num;
	bool level;
	bool active_low;
};

/* Routes a line to the boot CPU and unmasks it; to re-attach changes trigger and handler. */
int irq_attach(const struct irq *, irq_handler *, void *arg);
void irq_detach(const struct irq *);

struct msi_msg {
	uint64_t address;
	uint32_t data;
};
bool msi_available(void);
/* A message that interrupts the boot CPU. requester: the PCI bus/device/function number. */
int msi_attach(uint32_t requester, irq_handler *, void *arg, struct msi_msg *ret);

/* Inter-processor interrupts: one handler for all CPUs. */
void ipi_attach(irq_handler *, void *arg);
void ipi_send(unsigned cpu);

/* The calling CPU's timer, one shot at an absolute clock_ticks() value. */
void timer_attach(irq_handler *, void *arg);
void timer_at(uint64_t ticks);
void timer_stop(void);

/* --- power --- */
/* Each returns only if the machine has no way to do it. */
void power_off(void);
void power_reset(void);
/* Another way to the same end. False where the chip has only one; true: it did not work. */
bool power_reset_otherwise(void);
void test_exit(uint32_t value);
_Noreturn void halt_forever(void);

/* --- what only some chips have --- */
/* x86 I/O ports; false elsewhere. */
bool port_read(uint16_t port, unsigned size, uint32_t *ret);
bool port_write(uint16_t port, unsigned size, uint32_t value);
/* The cheapest exit that the host kernel answers itself: CPUID, PSCI_VERSION, SBI spec version. */
uint32_t kernel_exit(void);
/* Makes a physical range addressable (x86 above 4 GiB); returns its address. */
void *map_phys(uint64_t pa, uint64_t size);

#endif
