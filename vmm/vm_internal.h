/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of struct vm, for vm*.c and the files that read a stopped machine (crash.c, coredump.c;
 * later snapshot and migrate). */
#ifndef VMM_VM_INTERNAL_H
#define VMM_VM_INTERNAL_H

#include "arch/arch.h"
#include "devices/device.h"
#include "devices/pci/pci.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

struct events;
struct virtio_dev;

struct vm {
	const struct vm_config *config;
	struct host_res *res;
	struct events *events;
	struct ev_loop *control;
	struct kvm_vm kvm;
	struct plan plan;
	struct guest_mem mem;
	struct bus mmio, pio;
	struct arch_vm *arch;
	struct dev_host host;
	struct list devices;  /* struct device, in order of creation */
	struct pci_root *pci; /* owned by its device in the list */
	unsigned vmmio_used;  /* virtio-mmio slots given out */
	/* The power button: where the firmware tables have one, else a key. */
	struct device *power;	      /* in the list */
	struct virtio_dev *power_key; /* its transport is in the list */
	int power_slot;
	struct boot boot;
	struct vm_requests requests;
	unsigned nvcpus;
	struct vcpu vcpus[];
};

/* vm_devices.c */
extern const struct dev_host_ops vm_dev_host_ops;
int vm_make_devices(struct vm *vm, struct err *e);
/* Fills up to max descriptions for the firmware tables; returns how many. */
unsigned vm_describe_devices(struct vm *vm, struct dev_desc *desc, unsigned max);

/* asked.c: fills info->asked and nasked. vm NULL = nothing is achieved yet. */
int vm_info_asked(struct vm_info *info, const struct vm_config *c, struct vm *vm);
/* info_offload.c: fills info->offload and noffloads. */
int vm_info_offload(struct vm_info *info, const struct vm_config *c, const struct host_res *res);

#endif
