/* SPDX-License-Identifier: Apache-2.0 */
/* The VM as a whole: KVM's PIC, IOAPIC, local APICs and PIT, the CPUID table that all vCPUs start
 * from, and what happens on an MSR that KVM does not know. Each ioctl here is on the way to the
 * guest's first instruction, so there is none that is not needed. */
#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include "arch/common/irq_kvm.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/x86.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define TSS_OFFSET 0x1000 /* after the identity map's page */

unsigned long arch_vm_type(struct kvm *kvm)
{
	return 0;
}

int arch_probe(struct kvm *kvm, struct kvm_vm *vm, struct vm_shape *shape, struct err *e)
{
	unsigned a, b, c, d;

	shape->user_irqchip = false;
	shape->phys_bits = 36; /* SDM vol. 3 §4.1.4: without leaf 8000_0008 */
	if (__get_cpuid(0x80000008, &a, &b, &c, &d))
		shape->phys_bits = a & 0xff;
	if (shape->max_vcpus > 1) {
		int max = kvm_cap(kvm, KVM_CAP_MAX_VCPUS);
		if (max > 0 && shape->max_vcpus > (unsigned)max)
			return err_set(e, ERR_HOST, -EINVAL,
				"--cpus: %u vCPUs, but this host's KVM takes at most %d",
				shape->max_vcpus, max);
	}
	return 0;
}

static int host_error(struct err *e, int r, const char *what)
{
	return err_set(e, ERR_HOST, r, "KVM refuses %s: %s", what, strerrordesc_np(-r));
}

/* struct cpuid_leaf is laid out as struct kvm_cpuid_entry2. */
static int read_cpuid(struct arch_vm *a, struct err *e)
{
	cleanup_free struct kvm_cpuid2 *c =
		malloc(sizeof(*c) + CPUID_MAX * sizeof(struct kvm_cpuid_entry2));
	int r;

	_Static_assert(sizeof(struct cpuid_leaf) == sizeof(struct kvm_cpuid_entry2), "CPUID entry");
	_Static_assert(offsetof(struct cpuid_leaf, reg) == offsetof(struct kvm_cpuid_entry2, eax),
		"CPUID entry");
	if (!c)
		return -ENOMEM;
	c->nent = CPUID_MAX;
	c->padding = 0;
	r = kvm_ioctl(a->vm->kvm, KVM_GET_SUPPORTED_CPUID, c);
	if (r < 0)
		return host_error(e, r, "to say what CPUID it supports");
	a->cpuid.n = MIN(c->nent, CPUID_MAX);
	memcpy(a->cpuid.leaf, c->entries, a->cpuid.n * sizeof(a->cpuid.leaf[0]));
	return 0;
}

static int make_cpuid(struct arch_vm *a, const struct arch_vm_opts *o, struct err *e)
{
	int r = read_cpuid(a, e);

	if (r < 0)
		return r;
	/* Not in the supported CPUID of most kernels (KVM API, KVM_GET_SUPPORTED_CPUID). */
	bool deadline = kvm_vm_cap(a->vm, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	r = cpuid_machine(&a->cpuid, a->plan.shape.max_vcpus, deadline);
	if (r < 0)
		return host_error(e, r, "a CPUID table of this size");
	return o->cpu_baseline ? cpuid_baseline(&a->cpuid, o->cpu_baseline, e) : 0;
}

/* The default routing of KVM_CREATE_IRQCHIP: pins 0..15 go to both PICs and the IOAPIC. */
static unsigned pin_routes(uint32_t pin, struct kvm_irq_routing_entry ret_entry[IRQ_KVM_PIN_ROUTES])
{
	unsigned n = 0;

	if (pin < 16) {
		ret_entry[n].gsi = pin;
		ret_entry[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		ret_entry[n].u.irqchip.irqchip =
			pin < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
		ret_entry[n++].u.irqchip.pin = pin % 8;
	}
	ret_entry[n].gsi = pin;
	ret_entry[n].type = KVM_IRQ_ROUTING_IRQCHIP;
	ret_entry[n].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
	ret_entry[n++].u.irqchip.pin = pin;
	return n;
}

static int make_irqchip(struct arch_vm *a, struct err *e)
{
	const struct irq_kvm_opts opts = {
		.npins = a->plan.npins, .pin_routes = pin_routes, .has_msi = true};
	const struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	uint64_t identity = a->plan.tss_gpa;
	int r;

	/* Intel without unrestricted guest mode needs these pages; they cost nothing elsewhere. The
	 * identity map must be set before the first vCPU. */
	r = kvm_vm_ioctl(a->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (r < 0)
		return host_error(e, r, "an identity map");
	r = kvm_vm_ioctl_val(a->vm, KVM_SET_TSS_ADDR, a->plan.tss_gpa + TSS_OFFSET);
	if (r < 0)
		return host_error(e, r, "a TSS address");
	r = kvm_vm_ioctl_val(a->vm, KVM_CREATE_IRQCHIP, 0);
	if (r < 0)
		return host_error(e, r, "an interrupt controller");
	r = kvm_vm_ioctl(a->vm, KVM_CREATE_PIT2, &pit);
	if (r < 0)
		return host_error(e, r, "a PIT");
	r = irq_kvm_new(a->vm, &opts, &a->irqs);
	return r < 0 ? host_error(e, r, "interrupt lines") : 0;
}

int arch_vm_new(struct kvm_vm *vm, const struct plan *p, const struct arch_vm_opts *o,
	struct arch_vm **ret, struct err *e)
{
	struct arch_vm *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->vm = vm;
	a->plan = *p;
	a->log = o->log;
	r = make_irqchip(a, e);
	if (r >= 0)
		r = make_cpuid(a, o, e);
	if (r < 0) {
		arch_vm_free(a);
		return r;
	}
	/* Accesses to MSRs that KVM does not know come to us, to be counted. Where the host lacks
	 * this (before Linux 5.10), KVM itself answers with #GP, as we do. */
	kvm_vm_enable_cap(vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_UNKNOWN);
	*ret = a;
	return 0;
}

int arch_vm_seal(struct arch_vm *a, struct err *e)
{
	return 0;
}

struct irq_domain *arch_vm_irqs(struct arch_vm *a)
{
	return a->irqs;
}

/* The tables of this chip need nothing that only KVM knows. */
const struct arch_facts *arch_vm_facts(struct arch_vm *a)
{
	return NULL;
}

void arch_vm_free(struct arch_vm *a)
{
	if (!a)
		return;
	irq_kvm_free(a->irqs);
	free(a);
}

unsigned arch_vm_counters(
	struct arch_vm *a, const char **ret_names, uint64_t *ret_values, unsigned max)
{
	static const char *const name[] = {
		"msr_refused", "msr_unknown_reads", "msr_unknown_writes"};
	const uint64_t value[] = {a->msr_refused, a->msr_unknown_reads, a->msr_unknown_writes};
	unsigned n = 0;

	for (; n < ARRAY_SIZE(name) && n < max; n++) {
		ret_names[n] = name[n];
		ret_values[n] = value[n];
	}
	return n;
}
