/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupt lines, as devices see them. A line is a wired pin of the interrupt controller or one
 * MSI vector of a function. It can be raised by call (irq_set, irq_pulse: any thread) or through an
 * eventfd (irq_fd) that may be handed to another process and never changes: masking detaches the
 * irqfd, re-vectoring changes the routing.
 *
 * The domain is the controller: the arch's KVM half implements it over in-kernel chips, or over a
 * model in user space where there is none (riscv64 without AIA: no irqfd and no MSI). */
#ifndef DEVICES_IRQ_H
#define DEVICES_IRQ_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct ev_loop;

struct irq_msg {
	uint64_t addr;
	uint32_t data;
	uint32_t requester; /* PCI segment << 16 | bus << 8 | devfn: the ITS's DeviceID, an IOMMU's
			       id */
};

struct irq_domain;

struct irq_domain_ops {
	/* Drives a wired pin. Any thread. */
	int (*wire_set)(struct irq_domain *d, uint32_t pin, bool level);
	/* An edge on eventfd `fd` pulses the pin. -EOPNOTSUPP: no irqfd here, the caller relays. */
	int (*wire_attach)(struct irq_domain *d, uint32_t pin, int fd);
	void (*wire_detach)(struct irq_domain *d, uint32_t pin, int fd);
	/* MSI: -EOPNOTSUPP where the machine has none. A route is a GSI number >= 0. */
	int (*msi_alloc)(struct irq_domain *d);
	void (*msi_release)(struct irq_domain *d, int gsi);
	int (*msi_route)(struct irq_domain *d, int gsi, const struct irq_msg *m);
	int (*msi_attach)(struct irq_domain *d, int gsi, int fd);
	void (*msi_detach)(struct irq_domain *d, int gsi, int fd);
	int (*msi_send)(
		struct irq_domain *d, const struct irq_msg *m); /* without a route; any thread */
};

struct irq_domain {
	const struct irq_domain_ops *ops;
	bool has_msi, has_irqfd;
};

enum irq_trigger { IRQ_EDGE, IRQ_LEVEL };

struct irq_line;
struct irq_pin;

/* A wired pin; several lines may share a level pin (INTx is wired-OR): they share one irq_pin
 * counter in the domain's user, see irq_wire_new. loop is control's, for relaying irq_fd() where
 * the domain has no irqfd. Returns 0 or a negative errno. */
int irq_wire_new(struct irq_domain *d, struct irq_pin *shared, uint32_t pin, enum irq_trigger t,
	struct ev_loop *loop, struct irq_line **ret_line);
/* One MSI vector, masked. -EOPNOTSUPP where the domain has no MSI. */
int irq_msi_new(struct irq_domain *d, struct ev_loop *loop, struct irq_line **ret_line);
void irq_line_free(struct irq_line *l); /* drops the level first; NULL is fine */

/* The assert count of a pin that several level lines share; zero-initialise with irq_pin_init. */
struct irq_pin {
	pthread_mutex_t lock; /* leaf: nothing is taken while it is held */
	unsigned asserted;
};
void irq_pin_init(struct irq_pin *p);

/* Any thread. On an edge line irq_set(true) pulses; on an MSI line it sends (or, masked, remembers
 * that it is pending). irq_pulse is irq_set(true) for edge and MSI lines. */
void irq_set(struct irq_line *l, bool level);
static inline void irq_pulse(struct irq_line *l)
{
	irq_set(l, true);
}

/* An eventfd that raises the line when written, valid for the line's life. Control thread; made at
 * the first call. Negative errno when none can be made. Level lines give an eventfd whose write
 * asserts the line through `loop`; who deasserts is the device's transport. */
int irq_fd(struct irq_line *l);

/* MSI lines, under the device's lock. Both may be called at any time. */
int irq_msi_set(struct irq_line *l, const struct irq_msg *m);
int irq_msi_mask(struct irq_line *l, bool masked); /* unmasking delivers what became pending */
bool irq_msi_pending(struct irq_line *l);

#endif
