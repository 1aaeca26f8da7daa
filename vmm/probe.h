/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict on /dev/kvm, by running instructions: CPU flags say little where KVM is nested,
 * emulated, or a page-table VM without hardware help. */
#ifndef VMM_PROBE_H
#define VMM_PROBE_H

#include "vmm/base/err.h"

enum kvm_verdict {
	KVM_NONE,	/* no /dev/kvm */
	KVM_DENIED,	/* no permission */
	KVM_BROKEN,	/* it is there, and runs nothing */
	KVM_BARE_METAL, /* runs small guests, but not Linux */
	KVM_LINUX,	/* runs Linux */
};

/* Never fails: what goes wrong is the verdict, and e says what. About 10 ms. */
enum kvm_verdict kvm_probe(struct err *e);
const char *kvm_verdict_name(
	enum kvm_verdict v); /* "none", "denied", "broken", "bare-metal", "linux" */

#endif
