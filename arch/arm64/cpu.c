/* SPDX-License-Identifier: Apache-2.0 */
/* vCPUs of arm64: features, first registers, state. Every vCPU is KVM's preferred target with PSCI;
 * all but the first start switched off and are started by the guest's CPU_ON. */
#include "arch/arm64/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "arch/arm64/state.h"
#include "arch/common/baseline.h"
#include "arch/common/onereg_kvm.h"
#include "vmm/base/num.h"

#define PSTATE_EL1H_DAIF 0x3c5 /* EL1 on its own stack, all interrupts masked (booting.rst §4) */
#define MPIDR_AFFINITY	 UINT64_C(0xff00ffffff)
#define INTID_PMU	 (PPI_PMU + 16)

static void set_feature(struct kvm_vcpu_init *init, unsigned bit)
{
	init->features[bit / 32] |= 1u << (bit % 32);
}

static int init_features(struct arch_vcpu *c)
{
	struct arch_vm *a = c->vm;
	struct kvm_vcpu_init init = {0};
	int sve = KVM_ARM_VCPU_SVE, r;

	r = kvm_vm_ioctl(a->vm, KVM_ARM_PREFERRED_TARGET, &init);
	if (r < 0)
		return r;
	set_feature(&init, KVM_ARM_VCPU_PSCI_0_2);
	if (c->index)
		set_feature(&init, KVM_ARM_VCPU_POWER_OFF);
	if (a->facts.pmu)
		set_feature(&init, KVM_ARM_VCPU_PMU_V3);
	if (a->pauth) {
		set_feature(&init, KVM_ARM_VCPU_PTRAUTH_ADDRESS);
		set_feature(&init, KVM_ARM_VCPU_PTRAUTH_GENERIC);
	}
	if (a->sve)
		set_feature(&init, KVM_ARM_VCPU_SVE);
	r = kvm_vcpu_ioctl(c->vcpu, KVM_ARM_VCPU_INIT, &init);
	if (r < 0 || !a->sve)
		return r;
	/* With the host's vector lengths; from now on SVE registers exist. */
	return kvm_vcpu_ioctl(c->vcpu, KVM_ARM_VCPU_FINALIZE, &sve);
}

static int pmu_irq(struct arch_vcpu *c)
{
	int irq = INTID_PMU;
	struct kvm_device_attr attr = {
		.group = KVM_ARM_VCPU_PMU_V3_CTRL,
		.attr = KVM_ARM_VCPU_PMU_V3_IRQ,
		.addr = (uintptr_t)&irq,
	};

	return c->vm->facts.pmu ? kvm_vcpu_ioctl(c->vcpu, KVM_SET_DEVICE_ATTR, &attr) : 0;
}

/* "reg ID MASK": the register keeps only the bits of MASK. */
static int baseline_line(struct arch_vcpu *c, const struct baseline *b, struct err *e)
{
	uint64_t id, mask, value = 0;
	int r;

	if (b->nword != 3 || strcmp(b->word[0], "reg") || num_parse(b->word[1], &id) < 0 ||
		num_parse(b->word[2], &mask) < 0)
		return baseline_error(b, e,
			"'%s' is not known here; \"reg ID MASK\" is allowed, with ID and MASK as numbers",
			b->word[0]);
	r = onereg_size(id) == 8 ? kvm_vcpu_get_reg(c->vcpu, id, &value) : -ENOENT;
	if (r < 0)
		return baseline_error(b, e, "this host has no 64-bit register %s", b->word[1]);
	if ((value & mask) == value)
		return 0;
	value &= mask;
	if (kvm_vcpu_set_reg(c->vcpu, id, &value) < 0)
		return baseline_error(b, e, "KVM does not let register %s be %#llx", b->word[1],
			(unsigned long long)value);
	return 0;
}

static int apply_baseline(struct arch_vcpu *c, struct err *e)
{
	struct baseline b = {.next = c->vm->baseline};
	int r;

	while ((r = baseline_next(&b, e)) > 0) {
		r = baseline_line(c, &b, e);
		if (r < 0)
			return r;
	}
	return r;
}

int arch_vcpu_new(struct arch_vm *a, struct kvm_vcpu *vcpu, unsigned index, struct arch_vcpu **ret,
	struct err *e)
{
	struct arch_vcpu *c;
	uint64_t mpidr = 0;
	int r;

	if (index >= PLAN_MAX_VCPUS)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct arch_vcpu){.vm = a, .vcpu = vcpu, .index = index};
	r = init_features(c);
	if (r == 0)
		r = pmu_irq(c);
	if (r == 0)
		r = kvm_vcpu_get_reg(vcpu, REG_MPIDR_EL1, &mpidr);
	if (r < 0)
		err_set(e, ERR_HOST, r, "/dev/kvm: cannot set up vCPU %u: %s", index,
			strerrordesc_np(-r));
	else
		r = apply_baseline(c, e);
	if (r < 0) {
		free(c);
		return r;
	}
	a->facts.mpidr[index] = mpidr & MPIDR_AFFINITY;
	a->vcpu[index] = vcpu;
	*ret = c;
	return 0;
}

void arch_vcpu_free(struct arch_vcpu *c)
{
	if (!c)
		return;
	free(c->ids);
	free(c);
}

static int start_at(struct arch_vcpu *c, uint64_t pc, uint64_t x0, struct err *e)
{
	uint64_t pstate = PSTATE_EL1H_DAIF;
	int r = kvm_vcpu_set_reg(c->vcpu, REG_PSTATE, &pstate);

	if (r == 0)
		r = kvm_vcpu_set_reg(c->vcpu, REG_X(0), &x0);
	if (r == 0)
		r = kvm_vcpu_set_reg(c->vcpu, REG_PC, &pc);
	return r < 0 ? err_set(e, ERR_HOST, r, "/dev/kvm: cannot set vCPU %u's registers: %s",
			       c->index, strerrordesc_np(-r))
		     : 0;
}

int arch_vcpu_boot(struct arch_vcpu *c, const struct boot *boot, struct err *e)
{
	return c->index ? 0 : start_at(c, boot->entry, boot->arg, e);
}

int arch_vcpu_get(struct arch_vcpu *c, struct arch_vcpu_state *ret)
{
	struct kvm_vcpu_events ev = {0};
	struct kvm_mp_state mp = {0};
	int r = 0;

	if (!c->ids)
		r = onereg_ids(c->vcpu, &c->ids, &c->nids);
	if (r == 0)
		r = onereg_get(c->vcpu, c->ids, c->nids, &ret->regs);
	if (r == 0)
		r = kvm_vcpu_ioctl(c->vcpu, KVM_GET_MP_STATE, &mp);
	if (r == 0)
		r = kvm_vcpu_ioctl(c->vcpu, KVM_GET_VCPU_EVENTS, &ev);
	if (r < 0)
		return r;
	ret->mp_state = mp.mp_state;
	ret->serror_pending = ev.exception.serror_pending;
	ret->serror_has_esr = ev.exception.serror_has_esr;
	ret->serror_esr = ev.exception.serror_esr;
	ret->ext_dabt_pending = ev.exception.ext_dabt_pending;
	return 0;
}

/* Fixed since the vCPU was finalised, and refused even when it does not change. */
static bool skip_reg(uint64_t id)
{
	return id == KVM_REG_ARM64_SVE_VLS;
}

int arch_vcpu_set(struct arch_vcpu *c, const struct arch_vcpu_state *s)
{
	struct kvm_mp_state mp = {.mp_state = s->mp_state};
	struct kvm_vcpu_events ev = {
		.exception =
			{
				.serror_pending = s->serror_pending,
				.serror_has_esr = s->serror_has_esr,
				.serror_esr = s->serror_esr,
				.ext_dabt_pending = s->ext_dabt_pending,
			},
	};
	int r = onereg_set(c->vcpu, &s->regs, skip_reg);

	if (r == 0)
		r = kvm_vcpu_ioctl(c->vcpu, KVM_SET_VCPU_EVENTS, &ev);
	if (r == 0)
		r = kvm_vcpu_ioctl(c->vcpu, KVM_SET_MP_STATE, &mp);
	return r;
}

/* KVM can raise a line or make a virtual SError pending, and Linux takes no line as an NMI unless
 * it was started so. It leaves SErrors unmasked while interrupts are off, and one that nothing in
 * the machine has caused makes it panic: what is asked of an NMI, and also the only thing it can
 * do. A vCPU that is switched off would keep it until it is started. */
int arch_vcpu_nmi(struct arch_vcpu *c)
{
	const struct kvm_vcpu_events ev = {.exception.serror_pending = 1};
	struct kvm_mp_state mp = {0};
	int r;

	if (kvm_vm_cap(c->vm->vm, KVM_CAP_VCPU_EVENTS) <= 0)
		return -EOPNOTSUPP;
	r = kvm_vcpu_ioctl(c->vcpu, KVM_GET_MP_STATE, &mp);
	if (r < 0 || mp.mp_state == KVM_MP_STATE_STOPPED)
		return r;
	return kvm_vcpu_ioctl(c->vcpu, KVM_SET_VCPU_EVENTS, &ev);
}

void arch_vcpu_stood_still(struct arch_vcpu *c)
{
	(void)c;
}

int arch_vcpu_translate(struct arch_vcpu *c, const struct guest_mem *m,
	const struct arch_vcpu_state *s, uint64_t gva, uint64_t *ret_gpa)
{
	return arm64_walk(m, s, gva, ret_gpa);
}

size_t arch_probe_code(uint64_t at, uint64_t mmio, uint32_t value, uint8_t *ret_code, size_t cap)
{
	static const uint32_t code[] = {
		0x580000c0, /* ldr x0, =mmio  (24 bytes on) */
		0x180000e1, /* ldr w1, =value (28 bytes on) */
		0xb9000001, /* str w1, [x0] */
		0x11000421, /* add w1, w1, #1; no KVM here is known to lack an instruction */
		0xb9000001, /* str w1, [x0] */
		0x14000000, /* b . */
	};
	size_t len = sizeof(code) + 12;

	if (cap < len)
		return 0;
	memcpy(ret_code, code, sizeof(code));
	store_le(ret_code + 24, 8, mmio);
	store_le(ret_code + 32, 4, value);
	return len;
}

int arch_probe_boot(struct arch_vcpu *c, uint64_t at, struct err *e)
{
	return start_at(c, at, 0, e);
}
