/* SPDX-License-Identifier: Apache-2.0 */
/* Exits that are x86's own. A triple fault is how the processor gives up: guests that want to
 * reboot have the reset register and i8042, which work at once, so it is reported as a crash. */
#include <errno.h>
#include "arch/x86_64/x86.h"

/* Unknown MSRs: #GP, as on a processor without them; Linux probes with that in mind. */
static enum exit_action unknown_msr(struct arch_vcpu *c, bool write)
{
	struct arch_vm *a = c->arch;
	struct kvm_run *run = c->vcpu->run;

	run->msr.error = 1;
	if (write) {
		a->msr_unknown_writes++;
		log_limited(a->log, &a->msr_limit, LOG_DEBUG, "cpu",
			"vCPU %u writes unknown MSR 0x%x = 0x%llx", c->index, run->msr.index,
			(unsigned long long)run->msr.data);
	} else {
		a->msr_unknown_reads++;
		log_limited(a->log, &a->msr_limit, LOG_DEBUG, "cpu",
			"vCPU %u reads unknown MSR 0x%x", c->index, run->msr.index);
	}
	return EXIT_AGAIN;
}

static const char *internal_error(uint32_t suberror)
{
	switch (suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		return "KVM could not emulate the instruction";
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		return "KVM met an exception while delivering an exception";
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		return "KVM could not deliver an event";
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
		return "KVM got an exit from the processor that it does not know";
	default:
		return "KVM internal error";
	}
}

static enum exit_action system_event(uint32_t type, const char **ret_why)
{
	switch (type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		return EXIT_POWEROFF;
	case KVM_SYSTEM_EVENT_RESET:
		return EXIT_RESET;
	default:
		*ret_why = "the guest reported a crash";
		return EXIT_CRASH;
	}
}

enum exit_action arch_vcpu_exit(struct arch_vcpu *c, const char **ret_why)
{
	struct kvm_run *run = c->vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_X86_RDMSR:
		return unknown_msr(c, false);
	case KVM_EXIT_X86_WRMSR:
		return unknown_msr(c, true);
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
		return EXIT_AGAIN;
	case KVM_EXIT_SYSTEM_EVENT:
		return system_event(run->system_event.type, ret_why);
	case KVM_EXIT_SHUTDOWN:
		*ret_why = "triple fault";
		return EXIT_CRASH;
	case KVM_EXIT_INTERNAL_ERROR:
		*ret_why = internal_error(run->internal.suberror);
		return EXIT_CRASH;
	case KVM_EXIT_FAIL_ENTRY:
		*ret_why = "the processor refused to enter the guest";
		return EXIT_CRASH;
	case KVM_EXIT_HLT:
		*ret_why = "a halt that the in-kernel local APIC should have served";
		return EXIT_CRASH;
	default:
		*ret_why = "an exit that x86_64 does not have";
		return EXIT_CRASH;
	}
}
