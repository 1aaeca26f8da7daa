/* SPDX-License-Identifier: Apache-2.0 */
/* Exits that only arm64 has. PSCI is KVM's: CPU_ON never comes here, SYSTEM_OFF and SYSTEM_RESET
 * come as system events. */
#include "arch/arm64/vm.h"

static enum exit_action system_event(const struct kvm_run *run, const char **ret_why)
{
	switch (run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		return EXIT_POWEROFF;
	case KVM_SYSTEM_EVENT_RESET:
		return EXIT_RESET;
	case KVM_SYSTEM_EVENT_CRASH:
		*ret_why = "the guest reported a crash of its own";
		return EXIT_CRASH;
	default:
		*ret_why = "KVM reported a system event that is not known here";
		return EXIT_CRASH;
	}
}

enum exit_action arch_vcpu_exit(struct arch_vcpu *c, const char **ret_why)
{
	const struct kvm_run *run = c->vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_SYSTEM_EVENT:
		return system_event(run, ret_why);
	case KVM_EXIT_ARM_NISV:
		*ret_why =
			"an access to an address without RAM, by an instruction that leaves no "
			"syndrome (a pair, a vector or a write-back access): it cannot be emulated";
		return EXIT_CRASH;
	case KVM_EXIT_FAIL_ENTRY:
		*ret_why = "the CPU refused to enter the guest";
		return EXIT_CRASH;
	case KVM_EXIT_INTERNAL_ERROR:
		*ret_why = "KVM reported an internal error";
		return EXIT_CRASH;
	default:
		*ret_why = "KVM returned an exit that is not known here";
		return EXIT_CRASH;
	}
}
