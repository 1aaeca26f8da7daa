/* SPDX-License-Identifier: Apache-2.0 */
/* See kvm.h. KVM API documentation: Linux Documentation/virt/kvm/api.rst. */
#include "vmm/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"

static int do_ioctl(int fd, unsigned long req, unsigned long arg)
{
	int r = ioctl(fd, req, arg);

	return r < 0 ? -errno : r;
}

static int open_error(int code, struct err *e)
{
	switch (code) {
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		return err_set(e, ERR_HOST, code,
			"/dev/kvm: not there; load the kvm module of this CPU, or enable virtualization in "
			"the firmware");
	case -EACCES:
	case -EPERM:
		return err_set(e, ERR_HOST, code,
			"/dev/kvm: permission denied; add this user to the group that owns it (kvm), or run as "
			"root");
	default:
		return err_set(
			e, ERR_HOST, code, "/dev/kvm: cannot open: %s", strerrordesc_np(-code));
	}
}

int kvm_open(struct kvm *k, int fd, struct err *e)
{
	cleanup_fd int own = fd;
	if (own < 0)
		own = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (own < 0)
		return open_error(-errno, e);

	int version = do_ioctl(own, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return err_set(e, ERR_HOST, version < 0 ? version : -ENODEV,
			"/dev/kvm: not KVM, or its API is not version %d", KVM_API_VERSION);
	int size = do_ioctl(own, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return err_set(e, ERR_HOST, size < 0 ? size : -ENODEV,
			"/dev/kvm: the kernel's struct kvm_run is smaller than this program's");

	k->fd = steal_fd(&own);
	k->run_size = (size_t)size;
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
	return do_ioctl(k->fd, req, (unsigned long)arg);
}

int kvm_cap(const struct kvm *k, int cap)
{
	int r = do_ioctl(k->fd, KVM_CHECK_EXTENSION, (unsigned long)cap);

	return r < 0 ? 0 : r;
}

int kvm_vm_new(struct kvm *k, unsigned long type, struct kvm_vm *ret)
{
	int fd;

	/* EINTR: a pending signal ends the wait for the kernel's locks; nothing was made. */
	do {
		fd = do_ioctl(k->fd, KVM_CREATE_VM, type);
	} while (fd == -EINTR);
	if (fd < 0)
		return fd;
	ret->kvm = k;
	ret->fd = fd;
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
	return do_ioctl(vm->fd, req, (unsigned long)arg);
}

int kvm_vm_ioctl_val(const struct kvm_vm *vm, unsigned long req, unsigned long val)
{
	return do_ioctl(vm->fd, req, val);
}

int kvm_vm_cap(const struct kvm_vm *vm, int cap)
{
	int r = do_ioctl(vm->fd, KVM_CHECK_EXTENSION, (unsigned long)cap);

	return r < 0 ? 0 : r;
}

int kvm_vm_enable_cap(const struct kvm_vm *vm, uint32_t cap, uint64_t arg0)
{
	struct kvm_enable_cap c = {.cap = cap, .args = {arg0}};

	return kvm_vm_ioctl(vm, KVM_ENABLE_CAP, &c);
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
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = add ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	return kvm_vm_ioctl(vm, KVM_IRQFD, &i);
}

int kvm_vm_ioeventfd(const struct kvm_vm *vm, bool add, bool pio, uint64_t addr, uint32_t len,
	bool has_match, uint64_t match, int fd)
{
	struct kvm_ioeventfd i = {
		.datamatch = match,
		.addr = addr,
		.len = len,
		.fd = fd,
		.flags = (add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN) |
			 (pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (has_match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
	};

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
	struct kvm_create_device d = {.type = type};
	int r = kvm_vm_ioctl(vm, KVM_CREATE_DEVICE, &d);

	return r < 0 ? r : (int)d.fd;
}

static int device_attr(int dev, unsigned long req, uint32_t group, uint64_t attr, const void *p)
{
	struct kvm_device_attr a = {.group = group, .attr = attr, .addr = (uintptr_t)p};

	return do_ioctl(dev, req, (unsigned long)&a);
}

int kvm_device_has(int dev, uint32_t group, uint64_t attr)
{
	return device_attr(dev, KVM_HAS_DEVICE_ATTR, group, attr, NULL);
}

int kvm_device_set(int dev, uint32_t group, uint64_t attr, const void *value)
{
	return device_attr(dev, KVM_SET_DEVICE_ATTR, group, attr, value);
}

int kvm_device_get(int dev, uint32_t group, uint64_t attr, void *ret_value)
{
	return device_attr(dev, KVM_GET_DEVICE_ATTR, group, attr, ret_value);
}

int kvm_vcpu_new(const struct kvm_vm *vm, unsigned long id, struct kvm_vcpu *ret)
{
	cleanup_fd int fd = kvm_vm_ioctl_val(vm, KVM_CREATE_VCPU, id);
	if (fd < 0)
		return fd;

	void *run = mmap(NULL, vm->kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run == MAP_FAILED)
		return -errno;
	*ret = (struct kvm_vcpu){.fd = steal_fd(&fd), .run = run, .run_size = vm->kvm->run_size};
	return 0;
}

void kvm_vcpu_close(struct kvm_vcpu *v)
{
	if (v->run)
		munmap(v->run, v->run_size);
	if (v->fd >= 0)
		close(v->fd);
	*v = (struct kvm_vcpu){.fd = -1};
}

int kvm_vcpu_run(struct kvm_vcpu *v)
{
	return do_ioctl(v->fd, KVM_RUN, 0);
}

int kvm_vcpu_ioctl(const struct kvm_vcpu *v, unsigned long req, const void *arg)
{
	return do_ioctl(v->fd, req, (unsigned long)arg);
}

int kvm_vcpu_get_reg(const struct kvm_vcpu *v, uint64_t id, void *ret_value)
{
	struct kvm_one_reg r = {.id = id, .addr = (uintptr_t)ret_value};

	return kvm_vcpu_ioctl(v, KVM_GET_ONE_REG, &r);
}

int kvm_vcpu_set_reg(const struct kvm_vcpu *v, uint64_t id, const void *value)
{
	struct kvm_one_reg r = {.id = id, .addr = (uintptr_t)value};

	return kvm_vcpu_ioctl(v, KVM_SET_ONE_REG, &r);
}
