/* SPDX-License-Identifier: Apache-2.0 */
/* The interrupt domain over stand-ins for the KVM wrappers that remember what they were asked. */
#include "arch/common/irq_kvm.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct {
	unsigned routings, irqfds;
	int routing_error;
	struct kvm_irq_routing_entry entry[256];
	uint32_t nr;
	uint32_t line, gsi;
	bool level;
	struct kvm_msi msi;
} kvm;

int kvm_vm_irq_line(const struct kvm_vm *vm, uint32_t irq, bool level)
{
	kvm.line = irq;
	kvm.level = level;
	return 0;
}

int kvm_vm_irqfd(const struct kvm_vm *vm, uint32_t gsi, int fd, bool add)
{
	kvm.gsi = gsi;
	kvm.irqfds += add ? 1u : -1u;
	return 0;
}

int kvm_vm_set_routing(const struct kvm_vm *vm, const struct kvm_irq_routing *r)
{
	if (kvm.routing_error)
		return kvm.routing_error;
	cr_assert_leq(r->nr, 256);
	kvm.routings++;
	kvm.nr = r->nr;
	memcpy(kvm.entry, r->entries, r->nr * sizeof(r->entries[0]));
	return 0;
}

int kvm_vm_signal_msi(const struct kvm_vm *vm, const struct kvm_msi *msi)
{
	kvm.msi = *msi;
	return 1;
}

static struct kvm_vm vm;

static struct irq_domain *domain(struct irq_kvm_opts o)
{
	struct irq_domain *d;

	memset(&kvm, 0, sizeof(kvm));
	cr_assert_eq(irq_kvm_new(&vm, &o, &d), 0);
	return d;
}

static const struct kvm_irq_routing_entry *route_of(uint32_t gsi)
{
	for (uint32_t i = 0; i < kvm.nr; i++)
		if (kvm.entry[i].gsi == gsi)
			return &kvm.entry[i];
	return NULL;
}

static uint32_t line_of(uint32_t pin)
{
	return pin + 1000;
}

Test(irq_kvm, wired_pins)
{
	struct irq_domain *d = domain((struct irq_kvm_opts){.npins = 24, .pin_line = line_of});

	cr_expect_eq(d->ops->wire_set(d, 4, true), 0);
	cr_expect_eq(kvm.line, 1004);
	cr_expect(kvm.level);
	cr_expect(d->has_irqfd);
	cr_expect_eq(d->ops->wire_attach(d, 5, 99), 0);
	cr_expect_eq(kvm.gsi, 5);
	cr_expect_eq(kvm.irqfds, 1);
	d->ops->wire_detach(d, 5, 99);
	cr_expect_eq(kvm.irqfds, 0);
	irq_kvm_free(d);
}

Test(irq_kvm, no_routing_before_the_first_msi)
{
	struct irq_domain *d = domain((struct irq_kvm_opts){.npins = 24, .has_msi = true});
	const struct irq_msg m = {0x1fee00000, 0x41, 0x10008};
	const struct kvm_irq_routing_entry *e;
	int a = d->ops->msi_alloc(d), b = d->ops->msi_alloc(d);

	cr_expect_eq(a, 24);
	cr_expect_eq(b, 25);
	cr_expect_eq(kvm.routings, 0);
	cr_assert_eq(d->ops->msi_route(d, b, &m), 0);
	cr_expect_eq(kvm.routings, 1);
	cr_expect_eq(kvm.nr, 25); /* the pins, and b */
	e = route_of((uint32_t)b);
	cr_assert(e);
	cr_expect_eq(e->type, KVM_IRQ_ROUTING_MSI);
	cr_expect_eq(e->u.msi.address_lo, 0xfee00000);
	cr_expect_eq(e->u.msi.address_hi, 1);
	cr_expect_eq(e->u.msi.data, 0x41);
	cr_expect_eq(e->flags, 0);
	cr_expect(route_of(23));
	/* the same again costs nothing */
	cr_assert_eq(d->ops->msi_route(d, b, &m), 0);
	cr_expect_eq(kvm.routings, 1);
	irq_kvm_free(d);
}

Test(irq_kvm, device_ids_where_they_are_wanted)
{
	struct irq_domain *d =
		domain((struct irq_kvm_opts){.npins = 1, .has_msi = true, .msi_devid = true});
	const struct irq_msg m = {0x8080040, 7, 0x10008};
	int gsi = d->ops->msi_alloc(d);

	cr_assert_eq(d->ops->msi_route(d, gsi, &m), 0);
	cr_expect_eq(route_of((uint32_t)gsi)->flags, KVM_MSI_VALID_DEVID);
	cr_expect_eq(route_of((uint32_t)gsi)->u.msi.devid, 0x10008);
	cr_expect_eq(d->ops->msi_send(d, &m), 0);
	cr_expect_eq(kvm.msi.flags, KVM_MSI_VALID_DEVID);
	cr_expect_eq(kvm.msi.devid, 0x10008);
	irq_kvm_free(d);
}

Test(irq_kvm, released_gsis_are_used_again)
{
	struct irq_domain *d = domain((struct irq_kvm_opts){.npins = 8, .has_msi = true});
	const struct irq_msg m = {1, 2, 3};
	int a = d->ops->msi_alloc(d), b = d->ops->msi_alloc(d);

	cr_assert_eq(d->ops->msi_route(d, a, &m), 0);
	d->ops->msi_release(d, a);
	cr_expect_eq(d->ops->msi_route(d, a, &m), -EINVAL);
	cr_expect_eq(d->ops->msi_alloc(d), a);
	cr_assert_eq(d->ops->msi_route(d, b, &m), 0);
	cr_expect_not(route_of((uint32_t)a), "a released route came back");
	cr_expect_eq(d->ops->msi_route(d, 7, &m), -EINVAL); /* a pin */
	cr_expect_eq(d->ops->msi_route(d, -1, &m), -EINVAL);
	cr_expect_eq(d->ops->msi_route(d, 100000, &m), -EINVAL);
	irq_kvm_free(d);
}

Test(irq_kvm, a_refused_route_changes_nothing)
{
	struct irq_domain *d = domain((struct irq_kvm_opts){.npins = 8, .has_msi = true});
	const struct irq_msg m = {1, 2, 3};
	int gsi = d->ops->msi_alloc(d);

	kvm.routing_error = -EINVAL;
	cr_expect_eq(d->ops->msi_route(d, gsi, &m), -EINVAL);
	kvm.routing_error = 0;
	cr_expect_eq(d->ops->msi_route(d, gsi, &m), 0);
	cr_expect_eq(kvm.routings, 1);
	irq_kvm_free(d);
}

Test(irq_kvm, gsis_are_bounded)
{
	struct irq_domain *d = domain((struct irq_kvm_opts){.npins = 24, .has_msi = true});
	int last = 0, n = 0;

	while (n < 5000 && (last = d->ops->msi_alloc(d)) >= 0)
		n++;
	cr_expect_eq(last, -ENOSPC);
	cr_expect_leq(n + 2 * 24, 4096); /* KVM_MAX_IRQ_ROUTES */
	irq_kvm_free(d);
}

Test(irq_kvm, what_the_machine_has_not)
{
	struct irq_domain *d = domain((struct irq_kvm_opts){.npins = 4, .no_irqfd = true});
	const struct irq_msg m = {1, 2, 3};

	cr_expect_not(d->has_msi);
	cr_expect_not(d->has_irqfd);
	cr_expect_eq(d->ops->msi_alloc(d), -EOPNOTSUPP);
	cr_expect_eq(d->ops->msi_send(d, &m), -EOPNOTSUPP);
	cr_expect_eq(d->ops->wire_attach(d, 1, 3), -EOPNOTSUPP);
	cr_expect_eq(kvm.irqfds, 0);
	irq_kvm_free(d);
	irq_kvm_free(NULL);
}
