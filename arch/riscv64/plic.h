/* SPDX-License-Identifier: Apache-2.0 */
/* A PLIC (RISC-V Platform-Level Interrupt Controller 1.0) in user space, for hosts without AIA. It
 * is an irq_domain without irqfd and MSI. One context a hart: its supervisor mode. */
#ifndef ARCH_RISCV64_PLIC_H
#define ARCH_RISCV64_PLIC_H

#include "devices/bus.h"
#include "devices/irq.h"

struct plic;

struct plic_opts {
	uint64_t base, size;
	unsigned npins; /* sources 1..npins-1; at most 1024 */
	unsigned harts;
	uint32_t edge_first, edge_count; /* sources that latch an edge; all others are levels */
	/* Drives a hart's external interrupt; called under the PLIC's lock, by any thread. */
	void (*drive)(void *arg, unsigned hart, bool level);
	void *arg;
};

/* Returns 0, -EINVAL or -ENOMEM. */
int plic_new(const struct plic_opts *o, struct plic **ret_plic);
void plic_free(struct plic *p); /* NULL is fine; the region must be off its bus */
struct irq_domain *plic_domain(struct plic *p);
struct io_region *plic_region(struct plic *p);

#endif
