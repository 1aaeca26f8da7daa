/* SPDX-License-Identifier: Apache-2.0 */
/* arm64: a guest's features are the fields of its ID registers (Arm ARM DDI 0487, D19.2), read
 * from a scratch vCPU that was given every optional feature KVM says it can give. */
#include "facts.h"

#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

const char *const chip_name = "arm64";
const struct kvm_device_name chip_kvm_devices[] = {{KVM_DEV_TYPE_ARM_VGIC_V2, "GICv2"},
	{KVM_DEV_TYPE_ARM_VGIC_V3, "GICv3"}, {KVM_DEV_TYPE_ARM_VGIC_ITS, "ITS"},
	{KVM_DEV_TYPE_ARM_PV_TIME, "PV_TIME"}, {KVM_DEV_TYPE_VFIO, "VFIO"}, {}};

/* An ID register is op0 3, op1 0, CRn 0, CRm 0 to 7. */
struct id_reg {
	uint8_t crm, op2;
	const char *name;
};
static const struct id_reg id_regs[] = {
	{0, 0, "MIDR_EL1"},
	{0, 5, "MPIDR_EL1"},
	{0, 6, "REVIDR_EL1"},
	{1, 0, "ID_PFR0_EL1"},
	{1, 1, "ID_PFR1_EL1"},
	{1, 2, "ID_DFR0_EL1"},
	{1, 4, "ID_MMFR0_EL1"},
	{2, 0, "ID_ISAR0_EL1"},
	{3, 0, "MVFR0_EL1"},
	{4, 0, "ID_AA64PFR0_EL1"},
	{4, 1, "ID_AA64PFR1_EL1"},
	{4, 2, "ID_AA64PFR2_EL1"},
	{4, 4, "ID_AA64ZFR0_EL1"},
	{4, 5, "ID_AA64SMFR0_EL1"},
	{4, 7, "ID_AA64FPFR0_EL1"},
	{5, 0, "ID_AA64DFR0_EL1"},
	{5, 1, "ID_AA64DFR1_EL1"},
	{6, 0, "ID_AA64ISAR0_EL1"},
	{6, 1, "ID_AA64ISAR1_EL1"},
	{6, 2, "ID_AA64ISAR2_EL1"},
	{6, 3, "ID_AA64ISAR3_EL1"},
	{7, 0, "ID_AA64MMFR0_EL1"},
	{7, 1, "ID_AA64MMFR1_EL1"},
	{7, 2, "ID_AA64MMFR2_EL1"},
	{7, 3, "ID_AA64MMFR3_EL1"},
	{7, 4, "ID_AA64MMFR4_EL1"},
};

/* A feature is there when its field is at least min; 4 bits wide, and 0xf is "no" where absent
 * says so (the fields that are signed in the manual). */
struct field {
	uint8_t crm, op2, shift, min;
	bool is_signed;
	const char *name;
};
static const struct field fields[] = {
	{4, 0, 16, 0, true, "fp"},
	{4, 0, 16, 1, true, "fphp"},
	{4, 0, 20, 0, true, "asimd"},
	{4, 0, 20, 1, true, "asimdhp"},
	{4, 0, 24, 1, false, "gic-sysreg"},
	{4, 0, 28, 1, false, "ras"},
	{4, 0, 32, 1, false, "sve"},
	{4, 0, 44, 1, false, "amu"},
	{4, 0, 48, 1, false, "dit"},
	{4, 0, 0, 2, false, "el0-32bit"},
	{4, 0, 4, 2, false, "el1-32bit"},
	{4, 0, 8, 1, false, "el2"},
	{4, 1, 0, 1, false, "bti"},
	{4, 1, 4, 1, false, "ssbs"},
	{4, 1, 8, 1, false, "mte"},
	{4, 1, 8, 3, false, "mte3"},
	{4, 1, 24, 1, false, "sme"},
	{4, 1, 44, 1, false, "gcs"},
	{4, 4, 0, 1, false, "sve2"},
	{4, 4, 0, 2, false, "sve2p1"},
	{4, 4, 4, 1, false, "sveaes"},
	{4, 4, 16, 1, false, "svebitperm"},
	{4, 4, 32, 1, false, "svesha3"},
	{4, 4, 40, 1, false, "svesm4"},
	{4, 4, 44, 1, false, "svei8mm"},
	{4, 4, 52, 1, false, "svef32mm"},
	{4, 4, 56, 1, false, "svef64mm"},
	{5, 0, 8, 1, true, "pmuv3"},
	{5, 0, 32, 1, false, "spe"},
	{6, 0, 4, 1, false, "aes"},
	{6, 0, 4, 2, false, "pmull"},
	{6, 0, 8, 1, false, "sha1"},
	{6, 0, 12, 1, false, "sha2"},
	{6, 0, 12, 2, false, "sha512"},
	{6, 0, 16, 1, false, "crc32"},
	{6, 0, 20, 2, false, "atomics"},
	{6, 0, 28, 1, false, "asimdrdm"},
	{6, 0, 32, 1, false, "sha3"},
	{6, 0, 36, 1, false, "sm3"},
	{6, 0, 40, 1, false, "sm4"},
	{6, 0, 44, 1, false, "asimddp"},
	{6, 0, 48, 1, false, "asimdfhm"},
	{6, 0, 52, 1, false, "flagm"},
	{6, 0, 52, 2, false, "flagm2"},
	{6, 0, 56, 1, false, "tlbios"},
	{6, 0, 56, 2, false, "tlbirange"},
	{6, 0, 60, 1, false, "rng"},
	{6, 1, 0, 1, false, "dcpop"},
	{6, 1, 0, 2, false, "dcpodp"},
	{6, 1, 4, 1, false, "paca"},
	{6, 1, 8, 1, false, "paca"},
	{6, 1, 12, 1, false, "jscvt"},
	{6, 1, 16, 1, false, "fcma"},
	{6, 1, 20, 1, false, "lrcpc"},
	{6, 1, 20, 2, false, "ilrcpc"},
	{6, 1, 24, 1, false, "pacg"},
	{6, 1, 28, 1, false, "pacg"},
	{6, 1, 32, 1, false, "frint"},
	{6, 1, 36, 1, false, "sb"},
	{6, 1, 40, 1, false, "specres"},
	{6, 1, 44, 1, false, "bf16"},
	{6, 1, 48, 1, false, "dgh"},
	{6, 1, 52, 1, false, "i8mm"},
	{6, 2, 0, 2, false, "wfxt"},
	{6, 2, 4, 1, false, "rpres"},
	{6, 2, 12, 1, false, "paca"},
	{6, 2, 8, 1, false, "pacg"},
	{6, 2, 16, 1, false, "mops"},
	{6, 2, 20, 1, false, "hbc"},
	{6, 2, 52, 1, false, "cssc"},
	{7, 0, 60, 1, false, "ecv"},
	{7, 1, 0, 1, false, "hw-access-flag"},
	{7, 1, 0, 2, false, "hw-dirty"},
	{7, 1, 4, 2, false, "vmid16"},
	{7, 1, 8, 1, false, "vhe"},
	{7, 1, 20, 1, false, "pan"},
	{7, 1, 44, 1, false, "afp"},
	{7, 2, 4, 1, false, "uao"},
	{7, 2, 16, 1, false, "va52"},
	{7, 2, 24, 1, false, "nested-virt"},
	{7, 2, 32, 1, false, "lse2"},
	{7, 2, 56, 1, false, "e0pd"},
	{7, 2, 60, 1, false, "bbm"},
};

static const struct {
	unsigned code;
	const char *name;
} implementers[] = {{0x41, "Arm"}, {0x42, "Broadcom"}, {0x43, "Cavium"}, {0x46, "Fujitsu"},
	{0x48, "HiSilicon"}, {0x4e, "NVIDIA"}, {0x50, "Applied Micro"}, {0x51, "Qualcomm"},
	{0x53, "Samsung"}, {0x56, "Marvell"}, {0x61, "Apple"}, {0x69, "Intel"}, {0x6d, "Microsoft"},
	{0x70, "Phytium"}, {0xc0, "Ampere"}};

unsigned long chip_vm_type(int kvm_fd)
{
	int bits = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);

	return bits > 0 ? KVM_VM_TYPE_ARM_IPA_SIZE((unsigned)bits) : 0;
}

void chip_cpu_facts(json_t *cpu)
{
	json_t *of = json_object_get(cpu, "fields");
	const char *text = json_string_value(json_object_get(of, "CPU implementer"));
	unsigned long code = text ? strtoul(text, NULL, 0) : 0;

	for (unsigned i = 0; i < ARRAY_SIZE(implementers); i++)
		if (text && implementers[i].code == code)
			set_text(cpu, "vendor", implementers[i].name);
	set_file(cpu, "midr_el1", "/sys/devices/system/cpu/cpu0/regs/identification/midr_el1");
}

static uint64_t id_reg(unsigned crm, unsigned op2)
{
	return ARM64_SYS_REG(3, 0, 0, crm, op2);
}

static int get(int vcpu, uint64_t id, void *ret_value)
{
	struct kvm_one_reg r = {.id = id, .addr = (uintptr_t)ret_value};

	return ioctl(vcpu, KVM_GET_ONE_REG, &r);
}

static void add_registers(json_t *guest, int vcpu)
{
	json_t *regs = json_object();
	uint64_t v;

	for (unsigned i = 0; i < ARRAY_SIZE(id_regs); i++)
		if (!get(vcpu, id_reg(id_regs[i].crm, id_regs[i].op2), &v))
			set_hex(regs, id_regs[i].name, v);
	json_object_set_new(guest, "registers", regs);
}

static void add_features(json_t *guest, int vcpu)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		const struct field *f = &fields[i];
		uint64_t v;
		if (get(vcpu, id_reg(f->crm, f->op2), &v))
			continue;
		unsigned has = v >> f->shift & 0xf;
		if (has >= f->min && !(f->is_signed && has & 8))
			json_array_append_new(list, json_string(f->name));
	}
	sort_texts(list);
	json_object_set_new(guest, "features", list);
}

/* Page sizes that a guest may use: ID_AA64MMFR0_EL1's TGran fields. */
static void add_granules(json_t *guest, int vcpu)
{
	json_t *list = json_array();
	uint64_t v;

	json_object_set_new(guest, "page_sizes", list);
	if (get(vcpu, id_reg(7, 0), &v))
		return;
	if ((v >> 28 & 0xf) != 0xf)
		json_array_append_new(list, json_string("4 KiB"));
	if ((v >> 20 & 0xf) != 0)
		json_array_append_new(list, json_string("16 KiB"));
	if ((v >> 24 & 0xf) != 0xf)
		json_array_append_new(list, json_string("64 KiB"));
}

/* KVM_REG_ARM64_SVE_VLS: one bit for each multiple of 128 bits. */
static void add_sve(json_t *guest, int vcpu)
{
	uint64_t lengths[KVM_ARM64_SVE_VLS_WORDS] = {0};
	json_t *list = json_array();

	if (!get(vcpu, KVM_REG_ARM64_SVE_VLS, lengths))
		for (unsigned i = 0; i < ARRAY_SIZE(lengths) * 64; i++)
			if (lengths[i / 64] >> i % 64 & 1)
				json_array_append_new(list, json_sprintf("%u", (i + 1) * 128));
	json_object_set_new(guest, "sve_vector_bits", list);
}

/* A vCPU with all that can be asked for; the plain one if KVM refuses the lot. */
static int init_vcpu(int kvm_fd, int vm_fd, int vcpu)
{
	static const struct {
		unsigned cap, feature;
	} optional[] = {{KVM_CAP_ARM_PMU_V3, KVM_ARM_VCPU_PMU_V3},
		{KVM_CAP_ARM_SVE, KVM_ARM_VCPU_SVE},
		{KVM_CAP_ARM_PTRAUTH_ADDRESS, KVM_ARM_VCPU_PTRAUTH_ADDRESS},
		{KVM_CAP_ARM_PTRAUTH_GENERIC, KVM_ARM_VCPU_PTRAUTH_GENERIC}};
	struct kvm_vcpu_init init;

	if (ioctl(vm_fd, KVM_ARM_PREFERRED_TARGET, &init) < 0)
		return -1;
	struct kvm_vcpu_init plain = init;
	init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
	for (unsigned i = 0; i < ARRAY_SIZE(optional); i++)
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, optional[i].cap) > 0)
			init.features[0] |= 1u << optional[i].feature;
	return ioctl(vcpu, KVM_ARM_VCPU_INIT, &init) < 0 ? ioctl(vcpu, KVM_ARM_VCPU_INIT, &plain)
							 : 0;
}

json_t *chip_kvm_facts(int kvm_fd, int vm_fd)
{
	json_t *guest = json_object();
	cleanup_fd int vcpu = vm_fd < 0 ? -1 : ioctl(vm_fd, KVM_CREATE_VCPU, 0);
	int bits = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);
	struct kvm_reg_list none = {.n = 0};

	set_int(guest, "physical_address_bits", bits > 0 ? bits : 40);
	if (vcpu < 0 || init_vcpu(kvm_fd, vm_fd, vcpu) < 0)
		return guest;
	add_sve(guest, vcpu); /* its lengths may be read until SVE is finalized */
	int sve = KVM_ARM_VCPU_SVE;
	ioctl(vcpu, KVM_ARM_VCPU_FINALIZE, &sve);
	add_features(guest, vcpu);
	add_registers(guest, vcpu);
	add_granules(guest, vcpu);
	ioctl(vcpu, KVM_GET_REG_LIST, &none); /* fails with E2BIG and the count */
	set_int(guest, "register_count", (long long)none.n);
	return guest;
}
