/* SPDX-License-Identifier: Apache-2.0 */
/* vCPUs: their CPUID, and the registers with which the first one enters the kernel. The others stay
 * as KVM makes them, waiting for INIT and SIPI, which the in-kernel local APIC handles. */
#include <stdlib.h>
#include <string.h>
#include "arch/x86_64/layout.h"
#include "arch/x86_64/x86.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define CR0_PE	 (1ull << 0)
#define CR0_ET	 (1ull << 4)
#define CR0_PG	 (1ull << 31)
#define CR4_PAE	 (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

#define MSR_MISC_ENABLE	 0x1a0
#define MISC_FAST_STRING (1ull << 0)
#define MISC_NO_BTS_PEBS (3ull << 11) /* as KVM has it */
#define MSR_MTRR_DEF	 0x2ff
#define MTRR_ENABLE_WB	 ((1ull << 11) | 6)

#define LAPIC_LVT1    0x360
#define LVT_NMI	      0x400
#define LVT_MODE_MASK 0x10700 /* masked, and the delivery mode */

#define SEG_CODE 0xb /* execute, read, accessed */
#define SEG_DATA 0x3
#define SEG_TSS	 0xb /* busy */

static int host_error(struct err *e, int r, const char *what, unsigned index)
{
	return err_set(
		e, ERR_HOST, r, "KVM refuses %s of vCPU %u: %s", what, index, strerrordesc_np(-r));
}

static int set_cpuid(struct arch_vcpu *c)
{
	struct cpuid_table *t = &c->arch->cpuid;
	cleanup_free struct kvm_cpuid2 *k = malloc(sizeof(*k) + t->n * sizeof(t->leaf[0]));

	if (!k)
		return -ENOMEM;
	cpuid_vcpu(t, c->index);
	k->nent = t->n;
	k->padding = 0;
	memcpy(k->entries, t->leaf, t->n * sizeof(t->leaf[0]));
	return kvm_vcpu_ioctl(c->vcpu, KVM_SET_CPUID2, k);
}

int arch_vcpu_new(struct arch_vm *a, struct kvm_vcpu *vcpu, unsigned index, struct arch_vcpu **ret,
	struct err *e)
{
	struct arch_vcpu *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	*c = (struct arch_vcpu){.arch = a, .vcpu = vcpu, .index = index};
	r = set_cpuid(c);
	if (r < 0) {
		free(c);
		return host_error(e, r, "the CPUID", index);
	}
	*ret = c;
	return 0;
}

void arch_vcpu_free(struct arch_vcpu *c)
{
	free(c);
}

int x86_set_msrs(struct arch_vcpu *c, const struct kvm_msr_entry *msr, unsigned n)
{
	cleanup_free struct kvm_msrs *k = malloc(sizeof(*k) + n * sizeof(*msr));

	if (!k)
		return -ENOMEM;
	for (unsigned done = 0; done < n;) {
		int r;

		k->nmsrs = n - done;
		k->pad = 0;
		memcpy(k->entries, msr + done, (n - done) * sizeof(*msr));
		r = kvm_vcpu_ioctl(c->vcpu, KVM_SET_MSRS, k);
		if (r < 0)
			return r;
		done += (unsigned)r;
		if (done == n)
			break;
		log_line(c->arch->log, LOG_INFO, "cpu", "vCPU %u: KVM refuses MSR 0x%x = 0x%llx",
			c->index, msr[done].index, (unsigned long long)msr[done].data);
		c->arch->msr_refused++;
		done++;
	}
	return 0;
}

/* As firmware leaves them: fast string operations, RAM write-back without any MTRR. */
static int boot_msrs(struct arch_vcpu *c)
{
	static const struct kvm_msr_entry msr[] = {
		{.index = MSR_MISC_ENABLE, .data = MISC_FAST_STRING | MISC_NO_BTS_PEBS},
		{.index = MSR_MTRR_DEF, .data = MTRR_ENABLE_WB},
	};

	return x86_set_msrs(c, msr, ARRAY_SIZE(msr));
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code64)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.db = !code64,
		.l = code64,
		.g = 1,
	};
}

/* Flat segments; code in 64-bit mode or 32-bit protected mode. */
static void flat_segments(struct kvm_sregs *s, bool long_mode)
{
	s->cs = segment(BOOT_CS, SEG_CODE, long_mode);
	s->ds = segment(BOOT_DS, SEG_DATA, false);
	s->es = s->fs = s->gs = s->ss = s->ds;
	s->tr = (struct kvm_segment){.limit = 0x67, .type = SEG_TSS, .present = 1};
	s->ldt = (struct kvm_segment){.unusable = 1};
	s->idt = (struct kvm_dtable){0};
}

/* The 64-bit entry: paging on with the tables that arch_describe wrote, rsi = zero page
 * (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"). */
static void linux64(const struct boot *b, struct kvm_sregs *s, struct kvm_regs *r)
{
	flat_segments(s, true);
	s->gdt = (struct kvm_dtable){.base = GDT_GPA, .limit = 4 * 8 - 1};
	s->cr3 = PML4_GPA;
	s->cr4 = CR4_PAE;
	s->cr0 = CR0_PE | CR0_ET | CR0_PG;
	s->efer = EFER_LME | EFER_LMA;
	r->rsi = b->arg;
}

/* PVH: 32-bit protected mode, paging off, ebx = hvm_start_info (Xen docs/misc/pvh.pandoc). */
static void pvh(uint64_t arg, struct kvm_sregs *s, struct kvm_regs *r)
{
	flat_segments(s, false);
	s->gdt = (struct kvm_dtable){0};
	s->cr4 = 0;
	s->cr0 = CR0_PE | CR0_ET;
	s->efer = 0;
	r->rbx = arg;
}

static int enter_at(struct arch_vcpu *c, const struct boot *b, struct err *e)
{
	struct kvm_regs regs = {.rip = b->entry, .rflags = 2};
	struct kvm_sregs sregs = {0};
	int r = kvm_vcpu_ioctl(c->vcpu, KVM_GET_SREGS, &sregs);

	if (r < 0)
		return host_error(e, r, "to show the registers", c->index);
	if (b->proto == BOOT_LINUX64)
		linux64(b, &sregs, &regs);
	else
		pvh(b->arg, &sregs, &regs);
	r = kvm_vcpu_ioctl(c->vcpu, KVM_SET_SREGS, &sregs);
	if (r >= 0)
		r = kvm_vcpu_ioctl(c->vcpu, KVM_SET_REGS, &regs);
	return r < 0 ? host_error(e, r, "the registers", c->index) : 0;
}

int arch_vcpu_boot(struct arch_vcpu *c, const struct boot *boot, struct err *e)
{
	int r = boot_msrs(c);

	if (r < 0)
		return host_error(e, r, "MSRs", c->index);
	return c->index ? 0 : enter_at(c, boot, e);
}

int arch_probe_boot(struct arch_vcpu *c, uint64_t at, struct err *e)
{
	const struct boot b = {.proto = BOOT_PVH, .entry = at};

	return enter_at(c, &b, e);
}

/* The button is wired to LINT1 of every processor, as the MADT says; KVM_NMI knows no pin, so what
 * the guest has made of its pin decides here (KVM's API documentation, KVM_NMI). Linux takes it on
 * the boot processor. */
int arch_vcpu_nmi(struct arch_vcpu *c)
{
	struct kvm_lapic_state lapic;
	int r;

	if (kvm_vm_cap(c->arch->vm, KVM_CAP_USER_NMI) <= 0)
		return -EOPNOTSUPP;
	r = kvm_vcpu_ioctl(c->vcpu, KVM_GET_LAPIC, &lapic);
	if (r < 0)
		return r;
	if ((load_le(lapic.regs + LAPIC_LVT1, 4) & LVT_MODE_MASK) != LVT_NMI)
		return 0;
	return kvm_vcpu_ioctl(c->vcpu, KVM_NMI, NULL);
}

/* KVM API, KVM_KVMCLOCK_CTRL: sets a flag in the guest's clock page. -EINVAL: it uses no kvmclock.
 */
void arch_vcpu_stood_still(struct arch_vcpu *c)
{
	kvm_vcpu_ioctl(c->vcpu, KVM_KVMCLOCK_CTRL, NULL);
}
