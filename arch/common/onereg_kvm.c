/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. KVM_GET_REG_LIST: api.rst §4.71. */
#include "arch/common/onereg_kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/cleanup.h"

int onereg_ids(const struct kvm_vcpu *vcpu, uint64_t **ret_ids, uint32_t *ret_n)
{
	struct kvm_reg_list probe = {.n = 0};
	cleanup_free struct kvm_reg_list *list = NULL;
	uint64_t *ids;
	int r = kvm_vcpu_ioctl(vcpu, KVM_GET_REG_LIST, &probe);

	if (r != -E2BIG)
		return r < 0 && r != -EINVAL && r != -ENOTTY ? r : -ENOENT;
	list = calloc(1, sizeof(*list) + probe.n * sizeof(list->reg[0]));
	if (!list)
		return -ENOMEM;
	list->n = probe.n;
	r = kvm_vcpu_ioctl(vcpu, KVM_GET_REG_LIST, list);
	if (r < 0)
		return r;
	ids = malloc((size_t)list->n * sizeof(*ids) + 1);
	if (!ids)
		return -ENOMEM;
	memcpy(ids, list->reg, (size_t)list->n * sizeof(*ids));
	*ret_n = (uint32_t)list->n;
	*ret_ids = ids;
	return 0;
}

int onereg_get(
	const struct kvm_vcpu *vcpu, const uint64_t *ids, uint32_t n, struct onereg_list *ret)
{
	ret->n = ret->used = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t used = ret->used;
		uint8_t *p = onereg_add(ret, ids[i]);

		if (!p)
			return -ENOSPC;
		if (kvm_vcpu_get_reg(vcpu, ids[i], p) < 0) {
			ret->n--;
			ret->used = used;
		}
	}
	return 0;
}

static bool holds(const struct kvm_vcpu *vcpu, uint64_t id, const uint8_t *want)
{
	uint8_t have[256] = {0};

	return onereg_size(id) <= sizeof(have) && kvm_vcpu_get_reg(vcpu, id, have) == 0 &&
	       !memcmp(have, want, onereg_size(id));
}

int onereg_set(const struct kvm_vcpu *vcpu, const struct onereg_list *l, bool (*skip)(uint64_t id))
{
	for (uint32_t i = 0; i < l->n; i++) {
		uint64_t id = l->reg[i].id;
		const uint8_t *p = l->data + l->reg[i].off;
		int r;

		if (skip && skip(id))
			continue;
		r = kvm_vcpu_set_reg(vcpu, id, p);
		if (r < 0 && !holds(vcpu, id, p))
			return r;
	}
	return 0;
}
