/* SPDX-License-Identifier: Apache-2.0 */
/* The NMI of a vCPU, against a KVM that only remembers. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include "arch/x86_64/x86.h"
#include "vmm/base/num.h"
#include "vmm/kvm/kvm_fake.h"

static uint32_t lvt1;
static unsigned nmis;
static int get_result, nmi_result;

int kvm_fake_on_ioctl(unsigned long req, void *arg)
{
	if (req == KVM_GET_LAPIC) {
		struct kvm_lapic_state *l = arg;

		memset(l, 0, sizeof(*l));
		store_le(l->regs + 0x360, 4, lvt1);
		return get_result;
	}
	if (req == KVM_NMI) {
		nmis++;
		return nmi_result;
	}
	return 1;
}

static int send(void)
{
	struct kvm_vm vm = {.fd = -1};
	struct arch_vm arch = {.vm = &vm};
	struct kvm_vcpu vcpu = {.fd = -1};
	struct arch_vcpu c = {.arch = &arch, .vcpu = &vcpu};

	nmis = 0;
	return arch_vcpu_nmi(&c);
}

Test(x86_64_nmi, follows_the_pin)
{
	static const struct {
		uint32_t lvt1;
		unsigned nmis;
	} pin[] = {
		{0x00400, 1}, /* NMI, unmasked: Linux's boot processor */
		{0x0a4ff, 1}, /* whatever vector, polarity and trigger mode */
		{0x10400, 0}, /* NMI, masked: its other processors */
		{0x10000, 0}, /* as after reset */
		{0x00000, 0}, /* fixed */
		{0x00700, 0}, /* ExtINT */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(pin); i++) {
		lvt1 = pin[i].lvt1;
		cr_expect_eq(send(), 0);
		cr_expect_eq(nmis, pin[i].nmis, "%#x", lvt1);
	}
}

Test(x86_64_nmi, errors_are_passed_on)
{
	lvt1 = 0x400;
	get_result = -EIO;
	cr_expect_eq(send(), -EIO);
	cr_expect_eq(nmis, 0u);
	get_result = 0;
	nmi_result = -EINVAL;
	cr_expect_eq(send(), -EINVAL);
}
