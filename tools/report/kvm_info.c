/* SPDX-License-Identifier: Apache-2.0 */
/* What /dev/kvm says of itself. A scratch VM is asked where one can be made: on some chips its
 * answers depend on the VM's type and are more exact than the system's. */
#include "facts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include "vmm/base/cleanup.h"

/* KVM_CHECK_EXTENSION: 0 is no, 1 is yes, more is a number that depends on the capability. Names of
 * other architectures' capabilities are left out where they are 0, and so are unnamed ones. */
static json_t *capabilities(int fd)
{
	static const char *const foreign[] = {"PPC_", "S390_", "SPAPR_", "MIPS_", "X86_", "ARM_",
		"RISCV_", "LOONGARCH_", "HYPERV_", "XEN_", NULL};
	json_t *caps = json_object();
	char unnamed[32];

	for (unsigned i = 0; i < kvm_caps_end; i++) {
		int value = ioctl(fd, KVM_CHECK_EXTENSION, (unsigned long)i);
		const char *name = kvm_cap_name(i);
		bool hide = !name;
		for (unsigned k = 0; name && foreign[k]; k++)
			hide |= !strncmp(name, foreign[k], strlen(foreign[k]));
		if (value <= 0 && hide)
			continue;
		snprintf(unnamed, sizeof(unnamed), "number %u", i);
		set_int(caps, name ? name : unnamed, value < 0 ? 0 : value);
	}
	return caps;
}

/* KVM_CREATE_DEVICE_TEST says whether a kind is known, and creates nothing. */
static json_t *devices(int vm_fd)
{
	json_t *list = json_array();

	for (const struct kvm_device_name *d = chip_kvm_devices; d->name; d++) {
		struct kvm_create_device try = {.type = d->type, .flags = KVM_CREATE_DEVICE_TEST};
		if (vm_fd >= 0 && !ioctl(vm_fd, KVM_CREATE_DEVICE, &try))
			json_array_append_new(list, json_string(d->name));
	}
	return list;
}

static void add_parameters(json_t *kvm)
{
	static const char *const modules[] = {"kvm", "kvm_amd", "kvm_intel", "kvm_pvm", NULL};
	json_t *all = json_object();
	char path[64];

	for (unsigned i = 0; modules[i]; i++) {
		snprintf(path, sizeof(path), "/sys/module/%s/parameters", modules[i]);
		json_t *of = dir_texts(path);
		if (json_object_size(of))
			json_object_set(all, modules[i], of);
		json_decref(of);
	}
	json_object_set_new(kvm, "parameters", all);
}

json_t *kvm_facts(void)
{
	json_t *kvm = json_object();
	cleanup_fd int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	set_text(kvm, "device", fd < 0 ? strerrordesc_np(errno) : "open");
	add_parameters(kvm);
	if (fd < 0)
		return kvm;
	set_int(kvm, "api_version", ioctl(fd, KVM_GET_API_VERSION, 0));
	cleanup_fd int vm = ioctl(fd, KVM_CREATE_VM, chip_vm_type(fd));
	if (vm < 0)
		set_text(kvm, "create_vm", strerrordesc_np(errno));
	json_object_set_new(kvm, "capabilities", capabilities(vm < 0 ? fd : vm));
	json_object_set_new(kvm, "devices", devices(vm));
	json_object_set_new(kvm, "guest_cpu", chip_kvm_facts(fd, vm));
	return kvm;
}
