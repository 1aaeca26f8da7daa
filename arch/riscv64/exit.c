/* SPDX-License-Identifier: Apache-2.0 */
/* Exits that only riscv64 has. SBI's HSM and SRST are KVM's: a shutdown or reboot comes as a system
 * event. */
#include "arch/riscv64/vm.h"

#include <sys/random.h>

/* The Zkr entropy source (RISC-V cryptography extensions, "The Zkr Extension"): the one CSR that
 * KVM passes on. Bits 31:30 are the status, 15:0 the entropy. */
#define CSR_SEED  0x015
#define SEED_WAIT (1u << 30)
#define SEED_ES16 (2u << 30)

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

static enum exit_action csr(struct kvm_run *run, const char **ret_why)
{
	uint16_t entropy;

	if (run->riscv_csr.csr_num != CSR_SEED) {
		*ret_why = "an access to a control register that is not known here";
		return EXIT_CRASH;
	}
	if (getrandom(&entropy, sizeof(entropy), GRND_NONBLOCK) == sizeof(entropy))
		run->riscv_csr.ret_value = SEED_ES16 | entropy;
	else
		run->riscv_csr.ret_value = SEED_WAIT;
	return EXIT_AGAIN;
}

enum exit_action arch_vcpu_exit(struct arch_vcpu *c, const char **ret_why)
{
	struct kvm_run *run = c->vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_RISCV_SBI:
		riscv64_sbi(c);
		return EXIT_AGAIN;
	case KVM_EXIT_RISCV_CSR:
		return csr(run, ret_why);
	case KVM_EXIT_SYSTEM_EVENT:
		return system_event(run, ret_why);
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
