/* SPDX-License-Identifier: Apache-2.0 */
/* GICv3 with an ITS, in the kernel (Documentation/virt/kvm/devices/arm-vgic-v3.rst, -its.rst).
 * Created before the vCPUs, so that their PMU can have an interrupt; initialised after the last of
 * them, because the redistributors are laid out then. */
#include "arch/arm64/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "arch/common/irq_kvm.h"
#include "vmm/base/num.h"

#define GIC_PRIVATE 32 /* SGIs and PPIs, which KVM counts among the interrupts */

unsigned long arch_vm_type(struct kvm *kvm)
{
	int bits = kvm_cap(kvm, KVM_CAP_ARM_VM_IPA_SIZE);

	/* 0 is KVM's spelling of 40, the only size that hosts without the capability have. */
	return bits > 0 ? KVM_VM_TYPE_ARM_IPA_SIZE((unsigned long)bits) : 0;
}

static bool can_create(struct kvm_vm *vm, uint32_t type)
{
	struct kvm_create_device d = {.type = type, .flags = KVM_CREATE_DEVICE_TEST};

	return kvm_vm_ioctl(vm, KVM_CREATE_DEVICE, &d) == 0;
}

int arch_probe(struct kvm *kvm, struct kvm_vm *vm, struct vm_shape *shape, struct err *e)
{
	unsigned long bits = arch_vm_type(kvm);

	if (!can_create(vm, KVM_DEV_TYPE_ARM_VGIC_V3))
		return err_set(e, ERR_HOST, -ENODEV,
			"/dev/kvm: this host offers guests no GICv3; hosts with only a GICv2 are not "
			"supported yet");
	shape->phys_bits = bits ? (unsigned)bits : 40;
	shape->user_irqchip = false;
	return 0;
}

/* KVM_IRQ_LINE on arm64 (api.rst §4.25): bits 27:24 the kind, 15:0 the INTID. */
static uint32_t pin_line(uint32_t pin)
{
	return KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (pin + GIC_PRIVATE);
}

static int gic_new(struct arch_vm *a)
{
	uint64_t dist = a->plan.irqchip[0].base, redist = a->plan.irqchip[1].base;
	uint32_t irqs = a->plan.npins + GIC_PRIVATE;
	int r;

	a->gic = kvm_device_new(a->vm, KVM_DEV_TYPE_ARM_VGIC_V3);
	if (a->gic < 0)
		return a->gic;
	r = kvm_device_set(a->gic, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, &dist);
	if (r < 0)
		return r;
	r = kvm_device_set(
		a->gic, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, &redist);
	if (r < 0)
		return r;
	return kvm_device_set(a->gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &irqs);
}

static int its_new(struct arch_vm *a)
{
	uint64_t base = a->plan.irqchip[2].base;

	a->its = kvm_device_new(a->vm, KVM_DEV_TYPE_ARM_VGIC_ITS);
	if (a->its < 0)
		return a->its;
	return kvm_device_set(a->its, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_ITS_ADDR_TYPE, &base);
}

/* The facts that vCPUs will share, and the domain. */
static int offers(struct arch_vm *a)
{
	struct irq_kvm_opts o = {
		.npins = a->plan.npins,
		.pin_line = pin_line,
		.has_msi = true,
		.msi_devid = true,
	};

	a->facts.its = true;
	a->facts.pmu = kvm_vm_cap(a->vm, KVM_CAP_ARM_PMU_V3) > 0;
	a->sve = kvm_vm_cap(a->vm, KVM_CAP_ARM_SVE) > 0;
	a->pauth = kvm_vm_cap(a->vm, KVM_CAP_ARM_PTRAUTH_ADDRESS) > 0 &&
		   kvm_vm_cap(a->vm, KVM_CAP_ARM_PTRAUTH_GENERIC) > 0;
	/* A data abort that KVM cannot decode then becomes an exit, not a failing KVM_RUN. */
	kvm_vm_enable_cap(a->vm, KVM_CAP_ARM_NISV_TO_USER, 0);
	return irq_kvm_new(a->vm, &o, &a->irqs);
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
	a->opts = *o;
	a->gic = a->its = -1;
	if (o->cpu_baseline) {
		a->baseline = strdup(o->cpu_baseline);
		if (!a->baseline) {
			arch_vm_free(a);
			return -ENOMEM;
		}
	}
	r = gic_new(a);
	if (r == 0)
		r = its_new(a);
	if (r == 0)
		r = offers(a);
	if (r < 0) {
		arch_vm_free(a);
		return err_set(e, ERR_HOST, r, "/dev/kvm: cannot create the GICv3: %s",
			strerrordesc_np(-r));
	}
	*ret = a;
	return 0;
}

/* The PMU wants an initialised GIC (devices/vcpu.rst §1.2). */
static int pmu_init(struct arch_vm *a)
{
	struct kvm_device_attr attr = {
		.group = KVM_ARM_VCPU_PMU_V3_CTRL,
		.attr = KVM_ARM_VCPU_PMU_V3_INIT,
	};

	for (unsigned i = 0; a->facts.pmu && i < PLAN_MAX_VCPUS && a->vcpu[i]; i++) {
		int r = kvm_vcpu_ioctl(a->vcpu[i], KVM_SET_DEVICE_ATTR, &attr);

		if (r < 0)
			return r;
	}
	return 0;
}

int arch_vm_seal(struct arch_vm *a, struct err *e)
{
	int r = kvm_device_set(a->gic, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);

	if (r == 0)
		r = kvm_device_set(
			a->its, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	if (r < 0)
		return err_set(e, ERR_HOST, r, "/dev/kvm: cannot start the GICv3: %s",
			strerrordesc_np(-r));
	r = pmu_init(a);
	return r < 0 ? err_set(e, ERR_HOST, r, "/dev/kvm: cannot start the PMU: %s",
			       strerrordesc_np(-r))
		     : 0;
}

struct irq_domain *arch_vm_irqs(struct arch_vm *a)
{
	return a->irqs;
}

const struct arch_facts *arch_vm_facts(struct arch_vm *a)
{
	return &a->facts;
}

void arch_vm_free(struct arch_vm *a)
{
	if (!a)
		return;
	irq_kvm_free(a->irqs);
	if (a->its >= 0)
		close(a->its);
	if (a->gic >= 0)
		close(a->gic);
	free(a->baseline);
	free(a);
}

unsigned arch_vm_counters(
	struct arch_vm *a, const char **ret_names, uint64_t *ret_values, unsigned max)
{
	return 0;
}
