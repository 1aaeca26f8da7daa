/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU's state out of KVM and into it. The order of setting is KVM's own: CPUID is there since
 * the vCPU was made; then MSRs after the control registers that some depend on, the local APIC
 * after APIC_BASE, events and debug registers last. What a kernel does not offer stays zero. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86_64/state.h"
#include "arch/x86_64/x86.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

static int get(struct arch_vcpu *c, unsigned long req, void *p)
{
	return kvm_vcpu_ioctl(c->vcpu, req, p);
}

static int get_regs(struct arch_vcpu *c, struct arch_vcpu_state *s)
{
	struct kvm_regs r = {0};
	int ret = get(c, KVM_GET_REGS, &r);

	_Static_assert(sizeof(r) == sizeof(s->reg), "struct kvm_regs");
	if (ret >= 0)
		memcpy(s->reg, &r, sizeof(r));
	return ret;
}

static int set_regs(struct arch_vcpu *c, const struct arch_vcpu_state *s)
{
	struct kvm_regs r;

	memcpy(&r, s->reg, sizeof(r));
	return kvm_vcpu_ioctl(c->vcpu, KVM_SET_REGS, &r);
}

static struct x86_segment seg_in(const struct kvm_segment *k)
{
	return (struct x86_segment){k->base, k->limit, k->selector, k->type, k->present, k->dpl,
		k->db, k->s, k->l, k->g, k->avl, k->unusable};
}

static struct kvm_segment seg_out(const struct x86_segment *s)
{
	return (struct kvm_segment){.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.type = s->type,
		.present = s->present,
		.dpl = s->dpl,
		.db = s->db,
		.s = s->s,
		.l = s->l,
		.g = s->g,
		.avl = s->avl,
		.unusable = s->unusable};
}

/* cs, ds, es, fs, gs, ss, tr, ldt stand first, in the order of enum x86_seg. */
static struct kvm_segment *segments(struct kvm_sregs *k)
{
	_Static_assert(offsetof(struct kvm_sregs, ldt) == X86_LDT * sizeof(struct kvm_segment),
		"struct kvm_sregs");
	return &k->cs;
}

static int get_sregs(struct arch_vcpu *c, struct arch_vcpu_state *s)
{
	struct kvm_sregs k = {0};
	int r = get(c, KVM_GET_SREGS, &k);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < X86_SEGS; i++)
		s->seg[i] = seg_in(segments(&k) + i);
	s->gdt = (struct x86_table){k.gdt.base, k.gdt.limit};
	s->idt = (struct x86_table){k.idt.base, k.idt.limit};
	s->cr0 = k.cr0;
	s->cr2 = k.cr2;
	s->cr3 = k.cr3;
	s->cr4 = k.cr4;
	s->cr8 = k.cr8;
	s->efer = k.efer;
	s->apic_base = k.apic_base;
	for (unsigned i = 0; i < 4; i++)
		s->interrupt_bitmap[i] = k.interrupt_bitmap[i];
	return 0;
}

static int set_sregs(struct arch_vcpu *c, const struct arch_vcpu_state *s)
{
	struct kvm_sregs k = {
		.gdt = {.base = s->gdt.base, .limit = s->gdt.limit},
		.idt = {.base = s->idt.base, .limit = s->idt.limit},
		.cr0 = s->cr0,
		.cr2 = s->cr2,
		.cr3 = s->cr3,
		.cr4 = s->cr4,
		.cr8 = s->cr8,
		.efer = s->efer,
		.apic_base = s->apic_base,
	};

	for (unsigned i = 0; i < X86_SEGS; i++)
		segments(&k)[i] = seg_out(&s->seg[i]);
	for (unsigned i = 0; i < 4; i++)
		k.interrupt_bitmap[i] = s->interrupt_bitmap[i];
	return kvm_vcpu_ioctl(c->vcpu, KVM_SET_SREGS, &k);
}

static int get_events(struct arch_vcpu *c, struct arch_vcpu_state *s)
{
	struct kvm_vcpu_events k = {0};
	int r = get(c, KVM_GET_VCPU_EVENTS, &k);

	if (r < 0)
		return r;
	s->exc_injected = k.exception.injected;
	s->exc_nr = k.exception.nr;
	s->exc_has_error = k.exception.has_error_code;
	s->exc_pending = k.exception.pending;
	s->exc_error = k.exception.error_code;
	s->exc_payload = k.exception_payload;
	s->exc_has_payload = k.exception_has_payload;
	s->irq_injected = k.interrupt.injected;
	s->irq_nr = k.interrupt.nr;
	s->irq_soft = k.interrupt.soft;
	s->irq_shadow = k.interrupt.shadow;
	s->nmi_injected = k.nmi.injected;
	s->nmi_pending = k.nmi.pending;
	s->nmi_masked = k.nmi.masked;
	s->sipi_vector = k.sipi_vector;
	s->event_flags = k.flags;
	s->smi_smm = k.smi.smm;
	s->smi_pending = k.smi.pending;
	s->smi_inside_nmi = k.smi.smm_inside_nmi;
	s->smi_latched_init = k.smi.latched_init;
	s->triple_fault = k.triple_fault.pending;
	return 0;
}

static int set_events(struct arch_vcpu *c, const struct arch_vcpu_state *s)
{
	const struct kvm_vcpu_events k = {
		.exception = {.injected = s->exc_injected,
			.nr = s->exc_nr,
			.has_error_code = s->exc_has_error,
			.pending = s->exc_pending,
			.error_code = s->exc_error},
		.exception_payload = s->exc_payload,
		.exception_has_payload = s->exc_has_payload,
		.interrupt = {.injected = s->irq_injected,
			.nr = s->irq_nr,
			.soft = s->irq_soft,
			.shadow = s->irq_shadow},
		.nmi = {.injected = s->nmi_injected,
			.pending = s->nmi_pending,
			.masked = s->nmi_masked},
		.sipi_vector = s->sipi_vector,
		/* Reported flags say what is valid; pending NMIs must be asked for (KVM API). */
		.flags = s->event_flags | KVM_VCPUEVENT_VALID_NMI_PENDING,
		.smi = {.smm = s->smi_smm,
			.pending = s->smi_pending,
			.smm_inside_nmi = s->smi_inside_nmi,
			.latched_init = s->smi_latched_init},
		.triple_fault = {.pending = s->triple_fault},
	};

	return kvm_vcpu_ioctl(c->vcpu, KVM_SET_VCPU_EVENTS, &k);
}

static int get_debug(struct arch_vcpu *c, struct arch_vcpu_state *s)
{
	struct kvm_debugregs k = {0};
	int r = get(c, KVM_GET_DEBUGREGS, &k);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < 4; i++)
		s->dr[i] = k.db[i];
	s->dr6 = k.dr6;
	s->dr7 = k.dr7;
	return 0;
}

static int set_debug(struct arch_vcpu *c, const struct arch_vcpu_state *s)
{
	const struct kvm_debugregs k = {
		.db = {s->dr[0], s->dr[1], s->dr[2], s->dr[3]}, .dr6 = s->dr6, .dr7 = s->dr7};

	return kvm_vcpu_ioctl(c->vcpu, KVM_SET_DEBUGREGS, &k);
}

/* Hosts without XSAVE have neither XCRs nor this ioctl: -EINVAL is their answer. */
static int get_xcrs(struct arch_vcpu *c, struct arch_vcpu_state *s)
{
	struct kvm_xcrs k = {0};
	int r = get(c, KVM_GET_XCRS, &k);

	if (r < 0)
		return r == -EINVAL ? 0 : r;
	s->nxcrs = MIN(k.nr_xcrs, X86_XCRS);
	for (unsigned i = 0; i < s->nxcrs; i++) {
		s->xcr[i] = k.xcrs[i].xcr;
		s->xcr_value[i] = k.xcrs[i].value;
	}
	return 0;
}

static int set_xcrs(struct arch_vcpu *c, const struct arch_vcpu_state *s)
{
	struct kvm_xcrs k = {.nr_xcrs = s->nxcrs};

	if (!s->nxcrs)
		return 0;
	for (unsigned i = 0; i < s->nxcrs; i++) {
		k.xcrs[i].xcr = s->xcr[i];
		k.xcrs[i].value = s->xcr_value[i];
	}
	return kvm_vcpu_ioctl(c->vcpu, KVM_SET_XCRS, &k);
}

/* The MSRs that KVM saves, read in batches: KVM stops at one it will not read, which is skipped. */
static int get_msrs(struct arch_vcpu *c, struct arch_vcpu_state *s)
{
	cleanup_free struct kvm_msr_list *list =
		malloc(sizeof(*list) + X86_MSRS * sizeof(uint32_t));
	cleanup_free struct kvm_msrs *k =
		calloc(1, sizeof(*k) + X86_MSRS * sizeof(struct kvm_msr_entry));
	unsigned done = 0;
	int r;

	if (!list || !k)
		return -ENOMEM;
	list->nmsrs = X86_MSRS;
	r = kvm_ioctl(c->arch->vm->kvm, KVM_GET_MSR_INDEX_LIST, list);
	if (r < 0)
		return r;
	s->nmsrs = 0;
	while (done < list->nmsrs) {
		k->nmsrs = list->nmsrs - done;
		for (unsigned i = 0; i < k->nmsrs; i++)
			k->entries[i] = (struct kvm_msr_entry){.index = list->indices[done + i]};
		r = get(c, KVM_GET_MSRS, k);
		if (r < 0)
			return r;
		for (int i = 0; i < r; i++)
			s->msr[s->nmsrs++] =
				(struct x86_msr){k->entries[i].index, k->entries[i].data};
		done += (unsigned)r + 1;
	}
	return 0;
}

static int set_msrs(struct arch_vcpu *c, const struct arch_vcpu_state *s)
{
	cleanup_free struct kvm_msr_entry *e = calloc(MAX(s->nmsrs, 1u), sizeof(*e));

	if (!e)
		return -ENOMEM;
	for (unsigned i = 0; i < s->nmsrs; i++)
		e[i] = (struct kvm_msr_entry){.index = s->msr[i].index, .data = s->msr[i].value};
	return x86_set_msrs(c, e, s->nmsrs);
}

static int get_tsc(struct arch_vcpu *c, struct arch_vcpu_state *s)
{
	int khz = kvm_vcpu_ioctl(c->vcpu, KVM_GET_TSC_KHZ, NULL);

	s->tsc_khz = khz > 0 ? (uint64_t)khz : 0; /* -EIO: the host's TSC is not stable */
	return 0;
}

int arch_vcpu_get(struct arch_vcpu *c, struct arch_vcpu_state *ret)
{
	struct kvm_mp_state mp = {0};
	int r;

	_Static_assert(sizeof(struct kvm_lapic_state) == X86_LAPIC, "local APIC page");
	_Static_assert(sizeof(struct kvm_xsave) == X86_XSAVE, "struct kvm_xsave");
	memset(ret, 0, sizeof(*ret));
	/* The mp state first: reading it lets KVM act on a pending INIT or SIPI. */
	if ((r = get(c, KVM_GET_MP_STATE, &mp)) < 0 || (r = get_regs(c, ret)) < 0 ||
		(r = get_sregs(c, ret)) < 0 || (r = get_xcrs(c, ret)) < 0 ||
		(r = get(c, KVM_GET_XSAVE, ret->xsave)) < 0 || (r = get_msrs(c, ret)) < 0 ||
		(r = get(c, KVM_GET_LAPIC, ret->lapic)) < 0 || (r = get_events(c, ret)) < 0 ||
		(r = get_debug(c, ret)) < 0 || (r = get_tsc(c, ret)) < 0)
		return r;
	ret->mp_state = mp.mp_state;
	return 0;
}

int arch_vcpu_set(struct arch_vcpu *c, const struct arch_vcpu_state *s)
{
	const struct kvm_mp_state mp = {.mp_state = s->mp_state};
	int r;

	if (s->nxcrs > X86_XCRS || s->nmsrs > X86_MSRS)
		return -EINVAL;
	if ((r = set_sregs(c, s)) < 0 || (r = set_regs(c, s)) < 0 || (r = set_xcrs(c, s)) < 0 ||
		(r = kvm_vcpu_ioctl(c->vcpu, KVM_SET_XSAVE, s->xsave)) < 0 ||
		(r = set_msrs(c, s)) < 0 ||
		(r = kvm_vcpu_ioctl(c->vcpu, KVM_SET_LAPIC, s->lapic)) < 0 ||
		(r = kvm_vcpu_ioctl(c->vcpu, KVM_SET_MP_STATE, &mp)) < 0 ||
		(r = set_events(c, s)) < 0)
		return r;
	return set_debug(c, s);
}

int arch_vcpu_translate(struct arch_vcpu *c, const struct guest_mem *m,
	const struct arch_vcpu_state *s, uint64_t gva, uint64_t *ret_gpa)
{
	struct kvm_translation t = {.linear_address = gva};
	int r = kvm_vcpu_ioctl(c->vcpu, KVM_TRANSLATE, &t);

	if (r < 0 || !t.valid)
		return -EFAULT;
	*ret_gpa = t.physical_address;
	return 0;
}
