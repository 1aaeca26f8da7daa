/* SPDX-License-Identifier: Apache-2.0 */
/* The interrupt controllers: AIA (APLIC and IMSIC) in the kernel where the host has it
 * (enum KVM_DEV_RISCV_AIA_*), else a PLIC in user space that drives the harts' external interrupt
 * with KVM_INTERRUPT. */
#include "arch/riscv64/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "arch/common/irq_kvm.h"
#include "devices/bus.h"
#include "vmm/base/num.h"

#define IMSIC_IDS 255 /* interrupt identities; machine version 1 has these where the host can */

unsigned long arch_vm_type(struct kvm *kvm)
{
	return 0;
}

int arch_probe(struct kvm *kvm, struct kvm_vm *vm, struct vm_shape *shape, struct err *e)
{
	struct kvm_create_device d = {
		.type = KVM_DEV_TYPE_RISCV_AIA, .flags = KVM_CREATE_DEVICE_TEST};
	int bits = kvm_vm_cap(vm, KVM_CAP_VM_GPA_BITS);

	shape->user_irqchip = kvm_vm_ioctl(vm, KVM_CREATE_DEVICE, &d) < 0;
	shape->phys_bits = bits > 0 ? (unsigned)bits : 41; /* Sv39x4, the least there is */
	return 0;
}

static int aia_u32(struct arch_vm *a, uint64_t attr, uint32_t v)
{
	return kvm_device_set(a->aia, KVM_DEV_RISCV_AIA_GRP_CONFIG, attr, &v);
}

static unsigned hart_bits(unsigned harts)
{
	return harts > 1 ? 32 - (unsigned)__builtin_clz(harts - 1) : 0;
}

static int aia_configure(struct arch_vm *a)
{
	uint64_t aplic = a->plan.irqchip[0].base;
	int r = kvm_device_get(a->aia, KVM_DEV_RISCV_AIA_GRP_CONFIG, KVM_DEV_RISCV_AIA_CONFIG_IDS,
		&a->facts.imsic_ids);

	if (r == 0 && a->facts.imsic_ids > IMSIC_IDS)
		a->facts.imsic_ids = IMSIC_IDS;
	if (r == 0)
		r = aia_u32(a, KVM_DEV_RISCV_AIA_CONFIG_IDS, a->facts.imsic_ids);
	if (r == 0)
		r = aia_u32(a, KVM_DEV_RISCV_AIA_CONFIG_SRCS, a->plan.npins - 1);
	if (r == 0)
		r = aia_u32(
			a, KVM_DEV_RISCV_AIA_CONFIG_HART_BITS, hart_bits(a->plan.shape.max_vcpus));
	if (r == 0)
		r = kvm_device_set(
			a->aia, KVM_DEV_RISCV_AIA_GRP_ADDR, KVM_DEV_RISCV_AIA_ADDR_APLIC, &aplic);
	return r;
}

static int aia_new(struct arch_vm *a)
{
	/* An irqfd raises an APLIC source and never lowers it (Linux 6.12,
	 * kvm_arch_set_irq_inatomic): of an edge line only the first interrupt would come. */
	struct irq_kvm_opts o = {.npins = a->plan.npins, .has_msi = true, .no_wire_irqfd = true};
	int r;

	a->aia = kvm_device_new(a->vm, KVM_DEV_TYPE_RISCV_AIA);
	if (a->aia < 0)
		return a->aia;
	a->facts.aia = true;
	r = aia_configure(a);
	return r < 0 ? r : irq_kvm_new(a->vm, &o, &a->irqs);
}

/* KVM_INTERRUPT is one of the vCPU ioctls that any thread may make while the vCPU runs. */
static void plic_drive(void *arg, unsigned hart, bool level)
{
	struct arch_vm *a = arg;
	struct kvm_interrupt i = {.irq = level ? KVM_INTERRUPT_SET : KVM_INTERRUPT_UNSET};

	if (a->vcpu[hart])
		kvm_vcpu_ioctl(a->vcpu[hart], KVM_INTERRUPT, &i);
}

static int plic_start(struct arch_vm *a)
{
	struct plic_opts o = {
		.base = a->plan.irqchip[0].base,
		.size = a->plan.irqchip[0].size,
		.npins = a->plan.npins,
		.harts = a->plan.shape.max_vcpus,
		.edge_first = a->plan.vmmio_irq,
		.edge_count = PLAN_VIRTIO_MMIO,
		.drive = plic_drive,
		.arg = a,
	};
	int r = plic_new(&o, &a->plic);

	if (r == 0)
		r = bus_add(a->opts.mmio, plic_region(a->plic));
	if (r == 0)
		a->irqs = plic_domain(a->plic);
	return r;
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
	a->aia = -1;
	if (o->cpu_baseline) {
		a->baseline = strdup(o->cpu_baseline);
		if (!a->baseline) {
			arch_vm_free(a);
			return -ENOMEM;
		}
	}
	r = p->shape.user_irqchip ? plic_start(a) : aia_new(a);
	if (r < 0) {
		arch_vm_free(a);
		return err_set(e, ERR_HOST, r, "/dev/kvm: cannot create the %s: %s",
			p->shape.user_irqchip ? "PLIC" : "AIA", strerrordesc_np(-r));
	}
	*ret = a;
	return 0;
}

/* One IMSIC page a hart, then the start; both want all harts to exist. */
static int aia_start(struct arch_vm *a)
{
	for (unsigned i = 0; i < PLAN_MAX_VCPUS && a->vcpu[i]; i++) {
		uint64_t addr = a->plan.irqchip[1].base + i * (uint64_t)KVM_DEV_RISCV_IMSIC_SIZE;
		int r = kvm_device_set(
			a->aia, KVM_DEV_RISCV_AIA_GRP_ADDR, KVM_DEV_RISCV_AIA_ADDR_IMSIC(i), &addr);

		if (r < 0)
			return r;
	}
	return kvm_device_set(
		a->aia, KVM_DEV_RISCV_AIA_GRP_CTRL, KVM_DEV_RISCV_AIA_CTRL_INIT, NULL);
}

int arch_vm_seal(struct arch_vm *a, struct err *e)
{
	int r = a->aia >= 0 ? aia_start(a) : 0;

	return r < 0 ? err_set(e, ERR_HOST, r, "/dev/kvm: cannot start the AIA: %s",
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
	if (a->plic) {
		bus_del(a->opts.mmio, plic_region(a->plic));
		plic_free(a->plic);
	} else {
		irq_kvm_free(a->irqs);
	}
	if (a->aia >= 0)
		close(a->aia);
	free(a->baseline);
	free(a);
}

unsigned arch_vm_counters(
	struct arch_vm *a, const char **ret_names, uint64_t *ret_values, unsigned max)
{
	if (!max)
		return 0;
	ret_names[0] = "sbi_refused";
	ret_values[0] = atomic_load(&a->sbi_refused);
	return 1;
}
