/* SPDX-License-Identifier: Apache-2.0 */
/* vCPUs of riscv64: extensions, first registers, state. KVM parks every hart but 0, which the guest
 * starts through SBI's HSM. */
#include "arch/riscv64/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "arch/common/baseline.h"
#include "arch/common/onereg_kvm.h"
#include "arch/riscv64/state.h"
#include "vmm/base/num.h"

#define REG_A0 REG_X(10)
#define REG_A1 REG_X(11)

/* "isa EXT off": the guest does not get this extension. */
static int baseline_line(struct arch_vcpu *c, const struct baseline *b, struct err *e)
{
	uint64_t off = 0, now = 0;
	int n;

	if (b->nword != 3 || strcmp(b->word[0], "isa") || strcmp(b->word[2], "off"))
		return baseline_error(b, e,
			"'%s' is not known here; \"isa EXTENSION off\" is allowed", b->word[0]);
	n = isa_number(b->word[1]);
	if (n < 0)
		return baseline_error(b, e, "no extension is called '%s'", b->word[1]);
	if (kvm_vcpu_get_reg(c->vcpu, REG_ISA(n), &now) < 0 || !now)
		return 0;
	if (kvm_vcpu_set_reg(c->vcpu, REG_ISA(n), &off) < 0)
		return baseline_error(b, e, "KVM cannot switch %s off", b->word[1]);
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

/* Hosts before Linux 6.6 have no console to switch on; their guests do without. */
static void enable_console(struct kvm_vcpu *vcpu)
{
	uint64_t on = 1;

	kvm_vcpu_set_reg(vcpu, REG_SBI(KVM_RISCV_SBI_EXT_DBCN), &on);
}

static uint32_t config(struct kvm_vcpu *vcpu, uint64_t id)
{
	uint64_t v = 0;

	return kvm_vcpu_get_reg(vcpu, id, &v) < 0 ? 0 : (uint32_t)v;
}

static int read_facts(struct kvm_vcpu *vcpu, struct arch_facts *f)
{
	uint64_t hz = 0, has;
	int r = kvm_vcpu_get_reg(vcpu, REG_TIMEBASE, &hz);

	if (r < 0)
		return r;
	f->timebase = (uint32_t)hz;
	f->cbom_block = config(vcpu, REG_CFG_CBOM);
	f->cboz_block = config(vcpu, REG_CFG_CBOZ);
	f->satp_mode = config(vcpu, REG_CFG_SATP);
	for (unsigned n = 0; isa_name(n); n++) {
		has = 0;
		if (kvm_vcpu_get_reg(vcpu, REG_ISA(n), &has) == 0 && has)
			f->isa[n / 64] |= UINT64_C(1) << (n % 64);
	}
	return 0;
}

int arch_vcpu_new(struct arch_vm *a, struct kvm_vcpu *vcpu, unsigned index, struct arch_vcpu **ret,
	struct err *e)
{
	struct arch_vcpu *c;
	int r;

	if (index >= PLAN_MAX_VCPUS)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct arch_vcpu){.vm = a, .vcpu = vcpu, .index = index};
	enable_console(vcpu);
	r = apply_baseline(c, e);
	if (r == 0 && index == 0) {
		r = read_facts(vcpu, &a->facts);
		if (r < 0)
			err_set(e, ERR_HOST, r, "/dev/kvm: cannot read the CPU's timer: %s",
				strerrordesc_np(-r));
	}
	if (r < 0) {
		free(c);
		return r;
	}
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

static int start_at(struct arch_vcpu *c, uint64_t pc, uint64_t a1, struct err *e)
{
	uint64_t hart = c->index;
	int r = kvm_vcpu_set_reg(c->vcpu, REG_PC, &pc);

	if (r == 0)
		r = kvm_vcpu_set_reg(c->vcpu, REG_A0, &hart);
	if (r == 0)
		r = kvm_vcpu_set_reg(c->vcpu, REG_A1, &a1);
	return r < 0 ? err_set(e, ERR_HOST, r, "/dev/kvm: cannot set vCPU %u's registers: %s",
			       c->index, strerrordesc_np(-r))
		     : 0;
}

int arch_vcpu_boot(struct arch_vcpu *c, const struct boot *boot, struct err *e)
{
	return c->index ? 0 : start_at(c, boot->entry, boot->arg, e);
}

/* Hosts before Linux 6.6 do not list their registers. */
static int plain_ids(struct arch_vcpu *c)
{
	uint64_t *ids = calloc(128, sizeof(*ids));
	uint32_t n = 0;

	if (!ids)
		return -ENOMEM;
	for (unsigned i = 0; i <= 32; i++)
		ids[n++] = REG_CORE(i);
	for (unsigned i = 0; i < 10; i++)
		ids[n++] = REG_CSR(i);
	for (unsigned i = 0; i < 4; i++)
		ids[n++] = REG_TIMER(i);
	for (unsigned i = 0; i < 32; i++)
		ids[n++] = REG_FP_D(i);
	c->ids = ids;
	c->nids = n;
	return 0;
}

int arch_vcpu_get(struct arch_vcpu *c, struct arch_vcpu_state *ret)
{
	struct kvm_mp_state mp = {0};
	int r = 0;

	if (!c->ids) {
		r = onereg_ids(c->vcpu, &c->ids, &c->nids);
		if (r == -ENOENT)
			r = plain_ids(c);
	}
	if (r == 0)
		r = onereg_get(c->vcpu, c->ids, c->nids, &ret->regs);
	if (r == 0)
		r = kvm_vcpu_ioctl(c->vcpu, KVM_GET_MP_STATE, &mp);
	if (r == 0)
		ret->mp_state = mp.mp_state;
	return r;
}

int arch_vcpu_set(struct arch_vcpu *c, const struct arch_vcpu_state *s)
{
	struct kvm_mp_state mp = {.mp_state = s->mp_state};
	int r = onereg_set(c->vcpu, &s->regs, NULL);

	return r < 0 ? r : kvm_vcpu_ioctl(c->vcpu, KVM_SET_MP_STATE, &mp);
}

/* KVM gives guests no resumable NMIs (Smrnmi), and every interrupt it can raise is masked with the
 * others. */
int arch_vcpu_nmi(struct arch_vcpu *c)
{
	return -EOPNOTSUPP;
}

void arch_vcpu_stood_still(struct arch_vcpu *c)
{
	(void)c;
}

int arch_vcpu_translate(struct arch_vcpu *c, const struct guest_mem *m,
	const struct arch_vcpu_state *s, uint64_t gva, uint64_t *ret_gpa)
{
	return riscv64_walk(m, s, gva, ret_gpa);
}

size_t arch_probe_code(uint64_t at, uint64_t mmio, uint32_t value, uint8_t *ret_code, size_t cap)
{
	static const uint32_t code[] = {
		0x00000297, /* auipc t0, 0 */
		0x0202b303, /* ld t1, 32(t0): mmio */
		0x0282a383, /* lw t2, 40(t0): value */
		0x00732023, /* sw t2, 0(t1) */
		0x00138393, /* addi t2, t2, 1; no KVM here is known to lack an instruction */
		0x00732023, /* sw t2, 0(t1) */
		0x0000006f, /* j . */
		0x00000013, /* nop */
	};
	size_t len = sizeof(code) + 12;

	if (cap < len)
		return 0;
	memcpy(ret_code, code, sizeof(code));
	store_le(ret_code + 32, 8, mmio);
	store_le(ret_code + 40, 4, value);
	return len;
}

int arch_probe_boot(struct arch_vcpu *c, uint64_t at, struct err *e)
{
	return start_at(c, at, 0, e);
}
