/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. One mutex guards the route table; KVM has its own locks for the rest. The table
 * holds the wired entries first, then one entry per MSI GSI that has a message. */
#include "arch/common/irq_kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/list.h"

#define MSI_MAX 2048 /* KVM takes 4096 routes (KVM_MAX_IRQ_ROUTES); pins take some */

struct msi_gsi {
	bool used, routed;
	struct irq_msg msg;
};

struct irq_kvm {
	struct irq_domain domain;
	struct kvm_vm *vm;
	struct irq_kvm_opts opts;
	pthread_mutex_t lock; /* guards what follows; taken under device locks, takes nothing */
	struct msi_gsi *msi;
	unsigned nmsi;
};

static struct irq_kvm *irq_kvm_of(struct irq_domain *d)
{
	return container_of(d, struct irq_kvm, domain);
}

static int wire_set(struct irq_domain *d, uint32_t pin, bool level)
{
	struct irq_kvm *k = irq_kvm_of(d);
	uint32_t line = k->opts.pin_line ? k->opts.pin_line(pin) : pin;

	return kvm_vm_irq_line(k->vm, line, level);
}

static int wire_attach(struct irq_domain *d, uint32_t pin, int fd)
{
	struct irq_kvm *k = irq_kvm_of(d);

	if (k->opts.no_irqfd || k->opts.no_wire_irqfd)
		return -EOPNOTSUPP;
	return kvm_vm_irqfd(k->vm, pin, fd, true);
}

static void wire_detach(struct irq_domain *d, uint32_t pin, int fd)
{
	struct irq_kvm *k = irq_kvm_of(d);

	if (!k->opts.no_irqfd && !k->opts.no_wire_irqfd)
		kvm_vm_irqfd(k->vm, pin, fd, false);
}

static int grow(struct irq_kvm *k)
{
	unsigned n = k->nmsi ? k->nmsi * 2 : 16;
	struct msi_gsi *msi;

	if (n > MSI_MAX)
		return -ENOSPC;
	msi = realloc(k->msi, n * sizeof(*msi));
	if (!msi)
		return -ENOMEM;
	memset(msi + k->nmsi, 0, (n - k->nmsi) * sizeof(*msi));
	k->msi = msi;
	k->nmsi = n;
	return 0;
}

static int msi_alloc(struct irq_domain *d)
{
	struct irq_kvm *k = irq_kvm_of(d);
	unsigned i;
	int r;

	if (!d->has_msi)
		return -EOPNOTSUPP;
	LOCK_SCOPE(&k->lock);
	for (i = 0; i < k->nmsi && k->msi[i].used; i++)
		;
	if (i == k->nmsi) {
		r = grow(k);
		if (r < 0)
			return r;
	}
	k->msi[i].used = true;
	return (int)(k->opts.npins + i);
}

/* The slot of a GSI, NULL when it is none of ours. */
static struct msi_gsi *msi_slot(struct irq_kvm *k, int gsi)
{
	unsigned i = (unsigned)gsi - k->opts.npins;

	return gsi >= 0 && i < k->nmsi && k->msi[i].used ? &k->msi[i] : NULL;
}

static void wired_entries(struct irq_kvm *k, struct kvm_irq_routing *table)
{
	for (uint32_t pin = 0; pin < k->opts.npins; pin++) {
		struct kvm_irq_routing_entry *e = &table->entries[table->nr];

		if (k->opts.pin_routes) {
			table->nr += k->opts.pin_routes(pin, e);
			continue;
		}
		e->gsi = pin;
		e->type = KVM_IRQ_ROUTING_IRQCHIP;
		e->u.irqchip.pin = pin;
		table->nr++;
	}
}

static void msi_entries(struct irq_kvm *k, struct kvm_irq_routing *table)
{
	for (unsigned i = 0; i < k->nmsi; i++) {
		const struct irq_msg *m = &k->msi[i].msg;
		struct kvm_irq_routing_entry *e = &table->entries[table->nr];

		if (!k->msi[i].routed)
			continue;
		e->gsi = k->opts.npins + i;
		e->type = KVM_IRQ_ROUTING_MSI;
		e->flags = k->opts.msi_devid ? KVM_MSI_VALID_DEVID : 0;
		e->u.msi.address_lo = (uint32_t)m->addr;
		e->u.msi.address_hi = (uint32_t)(m->addr >> 32);
		e->u.msi.data = m->data;
		e->u.msi.devid = k->opts.msi_devid ? m->requester : 0;
		table->nr++;
	}
}

static int set_routing(struct irq_kvm *k)
{
	size_t max = (size_t)k->opts.npins * IRQ_KVM_PIN_ROUTES + k->nmsi;
	cleanup_free struct kvm_irq_routing *table =
		calloc(1, sizeof(*table) + max * sizeof(table->entries[0]));

	if (!table)
		return -ENOMEM;
	wired_entries(k, table);
	msi_entries(k, table);
	return kvm_vm_set_routing(k->vm, table);
}

static void msi_release(struct irq_domain *d, int gsi)
{
	struct irq_kvm *k = irq_kvm_of(d);

	LOCK_SCOPE(&k->lock);
	struct msi_gsi *s = msi_slot(k, gsi);
	/* A stale entry does no harm: nothing is attached, and the next route rewrites the table.
	 */
	if (s)
		*s = (struct msi_gsi){0};
}

static int msi_route(struct irq_domain *d, int gsi, const struct irq_msg *m)
{
	struct irq_kvm *k = irq_kvm_of(d);
	struct msi_gsi old;
	int r;

	LOCK_SCOPE(&k->lock);
	struct msi_gsi *s = msi_slot(k, gsi);
	if (!s)
		return -EINVAL;
	if (s->routed && s->msg.addr == m->addr && s->msg.data == m->data &&
		s->msg.requester == m->requester)
		return 0;
	old = *s;
	s->msg = *m;
	s->routed = true;
	r = set_routing(k);
	if (r < 0)
		*s = old;
	return r;
}

static int msi_attach(struct irq_domain *d, int gsi, int fd)
{
	struct irq_kvm *k = irq_kvm_of(d);

	return k->opts.no_irqfd ? -EOPNOTSUPP : kvm_vm_irqfd(k->vm, (uint32_t)gsi, fd, true);
}

static void msi_detach(struct irq_domain *d, int gsi, int fd)
{
	struct irq_kvm *k = irq_kvm_of(d);

	if (!k->opts.no_irqfd)
		kvm_vm_irqfd(k->vm, (uint32_t)gsi, fd, false);
}

static int msi_send(struct irq_domain *d, const struct irq_msg *m)
{
	struct irq_kvm *k = irq_kvm_of(d);
	struct kvm_msi msi = {
		.address_lo = (uint32_t)m->addr,
		.address_hi = (uint32_t)(m->addr >> 32),
		.data = m->data,
		.flags = k->opts.msi_devid ? KVM_MSI_VALID_DEVID : 0,
		.devid = k->opts.msi_devid ? m->requester : 0,
	};
	int r = d->has_msi ? kvm_vm_signal_msi(k->vm, &msi) : -EOPNOTSUPP;

	return r < 0 ? r : 0; /* 0: the guest blocked it; above 0: delivered */
}

static const struct irq_domain_ops irq_kvm_ops = {
	.wire_set = wire_set,
	.wire_attach = wire_attach,
	.wire_detach = wire_detach,
	.msi_alloc = msi_alloc,
	.msi_release = msi_release,
	.msi_route = msi_route,
	.msi_attach = msi_attach,
	.msi_detach = msi_detach,
	.msi_send = msi_send,
};

int irq_kvm_new(struct kvm_vm *vm, const struct irq_kvm_opts *opts, struct irq_domain **ret_domain)
{
	struct irq_kvm *k;

	if (opts->npins > 1024)
		return -EINVAL;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->domain.ops = &irq_kvm_ops;
	k->domain.has_msi = opts->has_msi;
	k->domain.has_irqfd = !opts->no_irqfd;
	k->vm = vm;
	k->opts = *opts;
	pthread_mutex_init(&k->lock, NULL);
	*ret_domain = &k->domain;
	return 0;
}

void irq_kvm_free(struct irq_domain *d)
{
	struct irq_kvm *k;

	if (!d)
		return;
	k = irq_kvm_of(d);
	pthread_mutex_destroy(&k->lock);
	free(k->msi);
	free(k);
}
