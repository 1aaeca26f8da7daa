/* SPDX-License-Identifier: Apache-2.0 */
/* Moves a register list between KVM and plain data. */
#ifndef ARCH_COMMON_ONEREG_KVM_H
#define ARCH_COMMON_ONEREG_KVM_H

#include "arch/common/onereg.h"
#include "vmm/kvm/kvm.h"

/* Ids that KVM_GET_REG_LIST reports. Returns an allocated array that the caller frees. -ENOENT
 * where KVM has no such call. */
int onereg_ids(const struct kvm_vcpu *vcpu, uint64_t **ret_ids, uint32_t *ret_n);
/* Reads the registers with these ids; those KVM lists but will not read are left out. -ENOSPC. */
int onereg_get(
	const struct kvm_vcpu *vcpu, const uint64_t *ids, uint32_t n, struct onereg_list *ret);
/* Writes the list in order. skip (NULL = none) names registers to leave alone. A register that KVM
 * refuses although its value is the wanted one already is no error. */
int onereg_set(const struct kvm_vcpu *vcpu, const struct onereg_list *l, bool (*skip)(uint64_t id));

#endif
