/* SPDX-License-Identifier: Apache-2.0 */
/* Thin wrappers over the KVM ioctls: one function an ioctl, negative errno, no policy. kvm_fake.c
 * has the same symbols for tests. Callers know <linux/kvm.h>; what differs between chips is passed
 * through kvm_*_ioctl(). */
#ifndef VMM_KVM_KVM_H
#define VMM_KVM_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "vmm/base/err.h"

struct kvm {
	int fd;
	size_t run_size; /* of the mapping of struct kvm_run */
};

struct kvm_vm {
	struct kvm *kvm;
	int fd;
};

struct kvm_vcpu {
	int fd;
	struct kvm_run *run;
	size_t run_size;
};

/* Opens /dev/kvm (or takes fd >= 0) and checks API version 12. e says: missing, no permission (and
 * which group has it), busy with another hypervisor. */
int kvm_open(struct kvm *k, int fd, struct err *e);
void kvm_close(struct kvm *k);
int kvm_ioctl(const struct kvm *k, unsigned long req, void *arg); /* on /dev/kvm itself */
int kvm_cap(const struct kvm *k, int cap);			  /* >= 0 */

/* type is the arch's machine type (arm64: IPA bits). */
int kvm_vm_new(struct kvm *k, unsigned long type, struct kvm_vm *ret);
void kvm_vm_close(struct kvm_vm *vm);
int kvm_vm_ioctl(const struct kvm_vm *vm, unsigned long req, const void *arg);
int kvm_vm_ioctl_val(const struct kvm_vm *vm, unsigned long req, unsigned long val);
int kvm_vm_cap(const struct kvm_vm *vm, int cap);
int kvm_vm_enable_cap(const struct kvm_vm *vm, uint32_t cap, uint64_t arg0);
/* size 0 deletes the slot. */
int kvm_vm_set_memory(const struct kvm_vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa,
	uint64_t size, void *host);
int kvm_vm_irq_line(const struct kvm_vm *vm, uint32_t irq, bool level);
int kvm_vm_irqfd(const struct kvm_vm *vm, uint32_t gsi, int fd, bool add);
int kvm_vm_ioeventfd(const struct kvm_vm *vm, bool add, bool pio, uint64_t addr, uint32_t len,
	bool has_match, uint64_t match, int fd);
int kvm_vm_set_routing(const struct kvm_vm *vm, const struct kvm_irq_routing *r);
int kvm_vm_signal_msi(const struct kvm_vm *vm, const struct kvm_msi *msi);

/* In-kernel devices (vGIC, AIA). Returns the device's fd. */
int kvm_device_new(const struct kvm_vm *vm, uint32_t type);
int kvm_device_has(int dev, uint32_t group, uint64_t attr);
int kvm_device_set(int dev, uint32_t group, uint64_t attr, const void *value);
int kvm_device_get(int dev, uint32_t group, uint64_t attr, void *ret_value);

int kvm_vcpu_new(const struct kvm_vm *vm, unsigned long id, struct kvm_vcpu *ret);
void kvm_vcpu_close(struct kvm_vcpu *v);
/* 0, or negative errno; -EINTR and -EAGAIN mean: nothing happened, look at your requests. */
int kvm_vcpu_run(struct kvm_vcpu *v);
int kvm_vcpu_ioctl(const struct kvm_vcpu *v, unsigned long req, const void *arg);
int kvm_vcpu_get_reg(const struct kvm_vcpu *v, uint64_t id, void *ret_value);
int kvm_vcpu_set_reg(const struct kvm_vcpu *v, uint64_t id, const void *value);

#endif
