/* SPDX-License-Identifier: Apache-2.0 */
/* The interrupt domain over KVM's in-kernel controllers, the same on every chip: wired pins through
 * KVM_IRQ_LINE and irqfd, MSIs through GSI routes and KVM_SIGNAL_MSI.
 *
 * GSIs 0..npins-1 are the wired pins, with the routing that KVM makes when the controller is
 * created; MSIs take the GSIs from npins up. KVM_SET_GSI_ROUTING replaces the whole table, so the
 * first MSI route has to repeat the wired entries: pin_routes() gives them. Until then no routing
 * ioctl is made. */
#ifndef ARCH_COMMON_IRQ_KVM_H
#define ARCH_COMMON_IRQ_KVM_H

#include "devices/irq.h"
#include "vmm/kvm/kvm.h"

#define IRQ_KVM_PIN_ROUTES 2 /* entries one pin may need: x86_64's PIC and IOAPIC */

struct irq_kvm_opts {
	uint32_t npins;
	/* Fills the routing entries of a wired pin (gsi = pin, type, irqchip, pin) and returns how
	 * many, 0..IRQ_KVM_PIN_ROUTES. Entries come zeroed. NULL: one entry, irqchip 0, pin = pin.
	 */
	unsigned (*pin_routes)(
		uint32_t pin, struct kvm_irq_routing_entry ret_entry[IRQ_KVM_PIN_ROUTES]);
	/* The pin as KVM_IRQ_LINE counts (arm64: type SPI and INTID). NULL: the pin itself. */
	uint32_t (*pin_line)(uint32_t pin);
	bool has_msi;
	bool msi_devid;	    /* routes and messages carry irq_msg.requester (KVM_MSI_VALID_DEVID) */
	bool no_irqfd;	    /* callers relay eventfds themselves */
	bool no_wire_irqfd; /* the same for wired pins only */
};

/* vm is borrowed. Makes no ioctl. 0, -EINVAL (npins) or -ENOMEM. */
int irq_kvm_new(struct kvm_vm *vm, const struct irq_kvm_opts *opts, struct irq_domain **ret_domain);
/* Lines must be gone. NULL is fine. */
void irq_kvm_free(struct irq_domain *d);

#endif
