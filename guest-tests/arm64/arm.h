/* SPDX-License-Identifier: Apache-2.0 */
/* What the arm64 files share. */
#ifndef GUEST_ARM_H
#define GUEST_ARM_H

#include "chip.h"

uint64_t psci(uint32_t function, uint64_t a, uint64_t b, uint64_t c);
enum { PSCI_VERSION = 0x84000000u, PSCI_OFF = 0x84000008u, PSCI_RESET = 0x84000009u };
#define PSCI_CPU_ON 0xc4000003u

/* gic.c */
void gic_init_cpu(void);
void gic_set_handler(uint32_t intid, irq_handler *, void *arg);
/* Address of the calling CPU's redistributor. */
uint64_t gic_redistributor(void);

/* its.c */
void its_init(uint64_t redistributor);
irq_handler *its_handler(uint32_t lpi, void **ret_arg);

/* timer interrupt of the calling CPU on, after its redistributor is up */
void timer_init_cpu(void);

_Noreturn void arm_exception(uint64_t esr, uint64_t elr, uint64_t far);
void arm_irq(void);
void mmu_build(uint64_t image, uint64_t fdt);
_Noreturn void secondary_main(void);

#endif
