/* SPDX-License-Identifier: Apache-2.0 */
/* What the riscv64 files share. */
#ifndef GUEST_RISCV_H
#define GUEST_RISCV_H

#include "chip.h"

struct sbi_ret {
	int64_t error, value;
};
struct sbi_ret sbi(uint64_t extension, uint64_t function, uint64_t a, uint64_t b, uint64_t c);

enum { SBI_BASE = 0x10, SBI_TIME = 0x54494d45, SBI_IPI = 0x735049, SBI_HSM = 0x48534d };
enum { SBI_SRST = 0x53525354 };
enum { SIE_SOFT = 1 << 1, SIE_TIMER = 1 << 5, SIE_EXTERNAL = 1 << 9 };

/* irq.c: external interrupts of the calling hart on; then those of the whole machine. */
void irq_init_hart(void);
void irq_external(void);

/* The index in a controller's interrupts-extended of this hart's S-mode input, or -1. */
int hart_context(uint32_t controller, uint64_t hart);

void riscv_trap(uint64_t cause, uint64_t epc, uint64_t value);
_Noreturn void secondary_main(void);

#endif
