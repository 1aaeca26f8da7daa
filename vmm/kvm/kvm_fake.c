/* SPDX-License-Identifier: Apache-2.0 */
/* See kvm_fake.h. File descriptors are real (eventfds), so that leaks show. */
#include "vmm/kvm/kvm_fake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static int answer(unsigned long req, const void *arg)
{
	if (kvm_fake_on_ioctl) {
		int r = kvm_fake_on_ioctl(req, (void *)arg);
		if (r != 1)
			return r;
	}
	return 0;
}

int kvm_open(struct kvm *k, int fd, struct err *e)
{
	(void)e;
	*k = (struct kvm){.fd = fd >= 0 ? fd : eventfd(0, EFD_CLOEXEC), .run_size = 65536};
	return 0;
}

void kvm_close(struct kvm *k)
{
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
}

int kvm_ioctl(const struct kvm *k, unsigned long req, void *arg)
{
	(void)k;
	return answer(req, arg);
}

int kvm_cap(const struct kvm *k, int cap)
{
	(void)k;
	switch (cap) {
	case KVM_CAP_MAX_VCPUS:
	case KVM_CAP_NR_VCPUS:
		return 8;
	case KVM_CAP_XSAVE2:
		return 4096;
	default:
		return 1;
	}
}

int kvm_vm_new(struct kvm *k, unsigned long type, struct kvm_vm *ret)
{
	(void)type;
	*ret = (struct kvm_vm){.kvm = k, .fd = eventfd(0, EFD_CLOEXEC)};
	return 0;
}

void kvm_vm_close(struct kvm_vm *vm)
{
	if (vm->fd >= 0)
		close(vm->fd);
	vm->fd = -1;
}

int kvm_vm_ioctl(const struct kvm_vm *vm, unsigned long req, const void *arg)
{
	(void)vm;
	return answer(req, arg);
}

int kvm_vm_ioctl_val(const struct kvm_vm *vm, unsigned long req, unsigned long val)
{
	(void)vm;
	(void)val;
	return answer(req, NULL);
}

int kvm_vm_cap(const struct kvm_vm *vm, int cap)
{
	return kvm_cap(vm->kvm, cap);
}

int kvm_vm_enable_cap(const struct kvm_vm *vm, uint32_t cap, uint64_t arg0)
{
	(void)vm;
	(void)cap;
	(void)arg0;
	return 0;
}

int kvm_vm_set_memory(const struct kvm_vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa,
	uint64_t size, void *host)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	return kvm_vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r);
}

int kvm_vm_irq_line(const struct kvm_vm *vm, uint32_t irq, bool level)
{
	struct kvm_irq_level l = {.irq = irq, .level = level};

	return kvm_vm_ioctl(vm, KVM_IRQ_LINE, &l);
}

int kvm_vm_irqfd(const struct kvm_vm *vm, uint32_t gsi, int fd, bool add)
{
	struct kvm_irqfd i = {
		.fd = (uint32_t)fd, .gsi = gsi, .flags = add ? 0 : KVM_IRQFD_FLAG_DEASSIGN};

	return kvm_vm_ioctl(vm, KVM_IRQFD, &i);
}

int kvm_vm_ioeventfd(const struct kvm_vm *vm, bool add, bool pio, uint64_t addr, uint32_t len,
	bool has_match, uint64_t match, int fd)
{
	struct kvm_ioeventfd i = {.datamatch = match, .addr = addr, .len = len, .fd = fd};

	(void)add;
	(void)pio;
	(void)has_match;
	return kvm_vm_ioctl(vm, KVM_IOEVENTFD, &i);
}

int kvm_vm_set_routing(const struct kvm_vm *vm, const struct kvm_irq_routing *r)
{
	return kvm_vm_ioctl(vm, KVM_SET_GSI_ROUTING, r);
}

int kvm_vm_signal_msi(const struct kvm_vm *vm, const struct kvm_msi *msi)
{
	return kvm_vm_ioctl(vm, KVM_SIGNAL_MSI, msi);
}

int kvm_device_new(const struct kvm_vm *vm, uint32_t type)
{
	(void)vm;
	(void)type;
	return eventfd(0, EFD_CLOEXEC);
}

int kvm_device_has(int dev, uint32_t group, uint64_t attr)
{
	(void)dev;
	(void)group;
	(void)attr;
	return 0;
}

int kvm_device_set(int dev, uint32_t group, uint64_t attr, const void *value)
{
	(void)value;
	return kvm_device_has(dev, group, attr);
}

int kvm_device_get(int dev, uint32_t group, uint64_t attr, void *ret_value)
{
	(void)ret_value;
	return kvm_device_has(dev, group, attr);
}

int kvm_vcpu_new(const struct kvm_vm *vm, unsigned long id, struct kvm_vcpu *ret)
{
	(void)id;
	struct kvm_run *run = calloc(1, vm->kvm->run_size);
	if (!run)
		return -ENOMEM;
	*ret = (struct kvm_vcpu){
		.fd = eventfd(0, EFD_CLOEXEC), .run = run, .run_size = vm->kvm->run_size};
	return 0;
}

void kvm_vcpu_close(struct kvm_vcpu *v)
{
	free(v->run);
	if (v->fd >= 0)
		close(v->fd);
	*v = (struct kvm_vcpu){.fd = -1};
}

int kvm_vcpu_run(struct kvm_vcpu *v)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	if (__atomic_load_n(&v->run->immediate_exit, __ATOMIC_SEQ_CST))
		return -EINTR;
	if (kvm_fake_on_run)
		return kvm_fake_on_run(v);
	nanosleep(&ms, NULL);
	return -EINTR;
}

int kvm_vcpu_ioctl(const struct kvm_vcpu *v, unsigned long req, const void *arg)
{
	(void)v;
	return answer(req, arg);
}

int kvm_vcpu_get_reg(const struct kvm_vcpu *v, uint64_t id, void *ret_value)
{
	(void)v;
	memset(ret_value, 0, (size_t)1 << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT));
	return 0;
}

int kvm_vcpu_set_reg(const struct kvm_vcpu *v, uint64_t id, const void *value)
{
	(void)v;
	(void)id;
	(void)value;
	return 0;
}
