/* SPDX-License-Identifier: Apache-2.0 */
/* riscv64: KVM describes a guest's hart through one-reg registers (Documentation/virt/kvm/api.rst,
 * 4.68): ISA and SBI extensions are registers that are 1 when a new vCPU has them and cannot be
 * read at all when the host has not. */
#include "facts.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define DEV_TYPE_AIA 11 /* KVM_DEV_TYPE_RISCV_AIA, newer than some headers */

const char *const chip_name = "riscv64";
const struct kvm_device_name chip_kvm_devices[] = {
	{KVM_DEV_TYPE_VFIO, "VFIO"}, {DEV_TYPE_AIA, "AIA"}, {}};

/* In the order of enum KVM_RISCV_ISA_EXT_ID. */
static const char *const isa[] = {"a", "c", "d", "f", "h", "i", "m", "svpbmt", "sstc", "svinval",
	"zihintpause", "zicbom", "zicboz", "zbb", "ssaia", "v", "svnapot", "zba", "zbs", "zicntr",
	"zicsr", "zifencei", "zihpm", "smstateen", "zicond", "zbc", "zbkb", "zbkc", "zbkx", "zknd",
	"zkne", "zknh", "zkr", "zksed", "zksh", "zkt", "zvbb", "zvbc", "zvkb", "zvkg", "zvkned",
	"zvknha", "zvknhb", "zvksed", "zvksh", "zvkt", "zfh", "zfhmin", "zihintntl", "zvfh",
	"zvfhmin", "zfa", "ztso", "zacas", "sscofpmf", "zimop", "zca", "zcb", "zcd", "zcf", "zcmop",
	"zawrs"};
/* enum KVM_RISCV_SBI_EXT_ID */
static const char *const sbi[] = {"v0.1", "TIME", "IPI", "RFENCE", "SRST", "HSM", "PMU",
	"experimental", "vendor", "DBCN", "STA"};
/* struct kvm_riscv_config */
static const char *const config[] = {"isa", "zicbom_block_size", "mvendorid", "marchid", "mimpid",
	"zicboz_block_size", "satp_mode"};

#define TYPE_CONFIG 1u
#define TYPE_TIMER  4u
#define TYPE_ISA    7u
#define TYPE_SBI    8u

unsigned long chip_vm_type(int kvm_fd)
{
	(void)kvm_fd;
	return 0;
}

void chip_cpu_facts(json_t *cpu)
{
	json_t *fields = json_object_get(cpu, "fields");
	const char *text = json_string_value(json_object_get(fields, "isa"));
	char *spaced = text ? malloc(2 * strlen(text) + 1) : NULL, *to = spaced;
	bool single = true; /* among the letters that come before the first name */

	set_file(cpu, "isa_of_device_tree", "/sys/firmware/devicetree/base/cpus/cpu@0/riscv,isa");
	if (!spaced || strncmp(text, "rv", 2)) {
		free(spaced);
		return;
	}
	/* "rv64imafdch_zicbom_…": a letter each after rv64, then a name each */
	for (text += 2 + strspn(text + 2, "0123456789"); *text; text++) {
		single &= *text != '_';
		*to++ = *text == '_' ? ' ' : *text;
		if (single)
			*to++ = ' ';
	}
	*to = '\0';
	json_object_set_new(cpu, "features", words(spaced));
	free(spaced);
}

static int get(int vcpu, unsigned type, unsigned index, uint64_t *ret_value)
{
	struct kvm_one_reg r = {
		.id = KVM_REG_RISCV | KVM_REG_SIZE_U64 | (uint64_t)type << 24 | index,
		.addr = (uintptr_t)ret_value,
	};

	return ioctl(vcpu, KVM_GET_ONE_REG, &r);
}

/* Registers 0 … n - 1 of a type that are not zero, by name. A number past the table is something a
 * later kernel has; it stays visible as a number. */
static json_t *present(int vcpu, unsigned type, const char *const *names, unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n + 32; i++) {
		uint64_t v = 0;
		if (get(vcpu, type, i, &v) < 0 || !v)
			continue;
		json_array_append_new(list, i < n ? json_string(names[i]) : json_sprintf("#%u", i));
	}
	sort_texts(list);
	return list;
}

json_t *chip_kvm_facts(int kvm_fd, int vm_fd)
{
	json_t *guest = json_object(), *regs = json_object();
	cleanup_fd int vcpu = vm_fd < 0 ? -1 : ioctl(vm_fd, KVM_CREATE_VCPU, 0);
	struct kvm_reg_list none = {.n = 0};
	uint64_t v;

	(void)kvm_fd;
	json_object_set_new(guest, "registers", regs);
	if (vcpu < 0)
		return guest;
	json_object_set_new(guest, "features", present(vcpu, TYPE_ISA, isa, ARRAY_SIZE(isa)));
	json_object_set_new(guest, "sbi_extensions", present(vcpu, TYPE_SBI, sbi, ARRAY_SIZE(sbi)));
	for (unsigned i = 0; i < ARRAY_SIZE(config); i++)
		if (!get(vcpu, TYPE_CONFIG, i, &v))
			set_hex(regs, config[i], v);
	if (!get(vcpu, TYPE_TIMER, 0, &v))
		set_int(guest, "timer_hz", (long long)v);
	ioctl(vcpu, KVM_GET_REG_LIST, &none); /* fails with E2BIG and the count */
	set_int(guest, "register_count", (long long)none.n);
	return guest;
}
