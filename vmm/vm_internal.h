/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of struct vm, for vm.c and the files that read a stopped machine (crash.c; later snapshot
 * and migrate). */
#ifndef VMM_VM_INTERNAL_H
#define VMM_VM_INTERNAL_H

#include "arch/arch.h"
#include "devices/device.h"
#include "devices/pci/pci.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

struct vm {
	const struct vm_config *config;
	struct host_res *res;
	struct kvm_vm kvm;
	struct plan plan;
	struct guest_mem mem;
	struct bus mmio, pio;
	struct arch_vm *arch;
	struct dev_host host;
	struct list devices;  /* struct device, in order of creation */
	struct pci_root *pci; /* owned by its device in the list */
	unsigned vmmio_used;  /* virtio-mmio slots given out */
	struct boot boot;
	struct vm_requests requests;
	unsigned nvcpus;
	bool started;
	struct vcpu vcpus[];
};

#endif
