/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: KVM that grants everything and runs nothing. kvm_fake.c has the symbols of kvm.c. */
#ifndef VMM_KVM_KVM_FAKE_H
#define VMM_KVM_KVM_FAKE_H

#include "vmm/kvm/kvm.h"

/* A test may define this to say what KVM_RUN does: fill v->run and return 0, or a negative errno.
 * Without it a vCPU "runs" until it is kicked. vCPU thread. */
int kvm_fake_on_run(struct kvm_vcpu *v) __attribute__((weak));
/* Or this, to see or answer an ioctl of any kind: return 1 for "not mine". */
int kvm_fake_on_ioctl(unsigned long req, void *arg) __attribute__((weak));

#endif
