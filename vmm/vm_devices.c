/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's devices, in the order in which a guest should find them, and what they are given.
 * Which platform devices there are is the plan's to say. */
#include <string.h>
#include <time.h>
#include "devices/registry.h"
#include "devices/virtio/devs.h"
#include "offload/vdpa.h"
#include "offload/vhost_kernel.h"
#include "offload/vu_proxy.h"
#include "vmm/base/num.h"
#include "vmm/events.h"
#include "vmm/info.h"
#include "vmm/vm_internal.h"

/* ---- what devices are given ---- */

static struct vm *vm_of(struct dev_host *h)
{
	return container_of(h, struct vm, host);
}

static void host_event(struct dev_host *h, enum dev_event ev, int value)
{
	struct vm *vm = vm_of(h);

	switch (ev) {
	case DEV_EVENT_POWEROFF:
		vm_request(&vm->requests, REQ_POWEROFF);
		break;
	case DEV_EVENT_RESET:
		vm_request(&vm->requests, REQ_RESET);
		break;
	case DEV_EVENT_EXIT:
		atomic_store(&vm->requests.exit_value, value);
		vm_request(&vm->requests, REQ_EXIT);
		break;
	case DEV_EVENT_REMAP:
		vm_request(&vm->requests, REQ_REMAP);
		break;
	}
}

static int host_doorbell(struct dev_host *h, bool add, enum dev_space space, uint64_t addr,
	unsigned size, bool has_match, uint64_t match, int fd)
{
	return kvm_vm_ioeventfd(
		&vm_of(h)->kvm, add, space == SPACE_PIO, addr, size, has_match, match, fd);
}

static uint64_t host_realtime(struct dev_host *h)
{
	struct timespec ts;

	(void)h;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void host_notice(struct dev_host *h, const char *id, enum dev_notice n)
{
	events_notice(vm_of(h)->events, id, n);
}

const struct dev_host_ops vm_dev_host_ops = {
	.event = host_event,
	.doorbell = host_doorbell,
	.realtime_ns = host_realtime,
	.notice = host_notice,
};

/* ---- devices ---- */

static void own(struct vm *vm, struct device *d)
{
	list_add(&vm->devices, &d->link);
}

static int dev_error(int r, const char *id, struct err *e)
{
	return err_set(e, ERR_HOST, r, "%s: cannot be made: %s", id, strerrordesc_np(-r));
}

static int make_platform(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->plan.ndev; i++) {
		const struct plan_dev *p = &vm->plan.dev[i];
		struct registry_arg a = {
			.model = p->model,
			.id = p->model,
			.at = {p->space, p->base, p->irq, p->reg_shift},
			.level = p->level,
			.chr = vm->res->serial,
		};
		struct device *d;
		if (p->kind == DEV_UART && !vm->res->serial)
			continue;
		int r = registry_new(&vm->host, &a, &d);
		if (r < 0)
			return dev_error(r, p->model, e);
		own(vm, d);
		if (p->kind == DEV_POWER)
			vm->power = d;
	}
	return 0;
}

static int make_pci(struct vm *vm, struct err *e)
{
	const struct plan *p = &vm->plan;
	struct pci_layout l = {
		.last_bus = p->pci_last_bus,
		.ecam = {p->ecam.base, p->ecam.size},
		.mmio32 = {p->pci_mmio32.base, p->pci_mmio32.size},
		.mmio64 = {p->pci_mmio64.base, p->pci_mmio64.size},
		.conf1 = p->pci_conf1,
	};

	memcpy(l.intx_pin, p->intx_pin, sizeof(l.intx_pin));
	int r = pci_root_new(&vm->host, "pci0", &l, &vm->pci);
	if (r < 0)
		return dev_error(r, "pci0", e);
	own(vm, pci_root_device(vm->pci));
	return 0;
}

/* Puts a new device behind its transport; `r` is its constructor's result. */
static int attach(struct vm *vm, int r, const char *id, struct virtio_dev *dev, int transport,
	int slot, struct err *e)
{
	struct device *d;

	if (r < 0)
		return dev_error(r, id, e);
	dev->no_packed = !vm->config->machine.packed;
	if (transport == TRANSPORT_MMIO) {
		const struct plan *p = &vm->plan;
		unsigned n = vm->vmmio_used++;
		r = virtio_mmio_new(
			&vm->host, dev, p->vmmio_base + n * p->vmmio_stride, p->vmmio_irq + n, &d);
	} else {
		r = virtio_pci_new(&vm->host, dev, vm->pci, slot, &d);
	}
	if (r < 0)
		return dev_error(r, id, e);
	own(vm, d);
	return 0;
}

static int make_disks(struct vm *vm, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < vm->config->ndisks && !r; i++) {
		const struct disk_config *c = &vm->config->disk[i];
		struct virtio_blk_opts o = {.queue_size = (uint16_t)c->queue_size,
			.queues = (uint16_t)c->num_queues,
			.poll = c->poll};
		struct virtio_dev *dev = NULL;
		if (c->serial)
			memcpy(o.serial, c->serial, MIN(strlen(c->serial), sizeof(o.serial) - 1));
		if (vm->res->disk_peer[i])
			r = vu_proxy_new(&vm->host, c->id, vm->res->disk_peer[i], &dev);
		else
			r = virtio_blk_new(&vm->host, c->id, vm->res->disk[i], &o, &dev);
		r = attach(vm, r, c->id, dev, c->transport, c->slot, e);
	}
	return r;
}

static int make_nets(struct vm *vm, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < vm->config->nnets && !r; i++) {
		const struct net_config *c = &vm->config->net[i];
		struct virtio_net_opts o = {.mtu = (uint16_t)c->mtu,
			.queue_size = (uint16_t)c->queue_size,
			.pairs = (uint16_t)(c->num_queues / 2),
			.poll = c->poll};
		struct virtio_dev *dev = NULL;
		memcpy(o.mac, c->mac, sizeof(o.mac));
		if (vm->res->net_peer[i])
			r = vu_proxy_new(&vm->host, c->id, vm->res->net_peer[i], &dev);
		else if (vm->res->vhost_net[i])
			r = vhost_net_new(&vm->host, c->id, vm->res->vhost_net[i], &dev);
		else
			r = virtio_net_new(&vm->host, c->id, vm->res->net[i], &o, &dev);
		r = attach(vm, r, c->id, dev, c->transport, c->slot, e);
	}
	return r;
}

/* Of any type: whoever serves them says what they are. */
static int make_served(struct vm *vm, struct err *e)
{
	struct virtio_dev *dev = NULL;
	int r = 0;

	for (unsigned i = 0; i < vm->config->nvhost_users && !r; i++) {
		const struct vhost_user_config *c = &vm->config->vhost_user[i];
		r = vu_proxy_new(&vm->host, c->id, vm->res->vhost_user[i], &dev);
		r = attach(vm, r, c->id, dev, c->transport, c->slot, e);
	}
	for (unsigned i = 0; i < vm->config->nvdpas && !r; i++) {
		const struct vdpa_config *c = &vm->config->vdpa[i];
		r = vdpa_proxy_new(&vm->host, c->id, vm->res->vdpa[i], &dev);
		if (!r && dev->nqueues < c->num_queues) {
			r = err_set(e, ERR_HOST, -EINVAL,
				"--vdpa %s: it has %u queues, num_queues=%u are wanted", c->id,
				dev->nqueues, c->num_queues);
			virtio_dev_free(dev);
		}
		r = attach(vm, r, c->id, dev, c->transport, c->slot, e);
	}
	return r;
}

static int make_others(struct vm *vm, struct err *e)
{
	const struct vm_config *c = vm->config;
	struct virtio_dev *dev = NULL;
	int r = 0;

	if (strcmp(c->rng.src, "off")) {
		r = virtio_rng_new(&vm->host, "_rng", vm->res->rng_fd, &dev);
		r = attach(vm, r, "_rng", dev, c->rng.transport, c->rng.slot, e);
	}
	if (!r && vm->res->console) {
		r = virtio_console_new(&vm->host, "_console", vm->res->console, &dev);
		r = attach(vm, r, "_console", dev, c->console.transport, c->console.slot, e);
	}
	return r;
}

static int make_vsock(struct vm *vm, struct err *e)
{
	const struct vsock_config *c = &vm->config->vsock;
	struct virtio_dev *dev = NULL;

	if (!c->cid)
		return 0;
	int r = virtio_vsock_new(&vm->host, c->id, c->cid, vm->res->vsock, &dev);
	return attach(vm, r, c->id, dev, c->transport, c->slot, e);
}

/* The highest slot that the configuration leaves free: it stays where it is when devices are
 * added. */
static int power_slot(const struct vm_config *c)
{
	struct vm_device_info dev[VM_CONFIG_DEVICES];
	unsigned n = vm_config_devices(c, dev);
	uint32_t used = 0;
	int slot = PCI_SLOTS - 1;

	for (unsigned i = 0; i < n; i++)
		if (dev[i].slot >= 0)
			used |= 1u << dev[i].slot;
	while (slot > 0 && used & (1u << slot))
		slot--;
	return slot;
}

/* A machine whose tables have no power button has a key. */
static int make_power_key(struct vm *vm, struct err *e)
{
	struct virtio_dev *dev = NULL;

	if (vm->power)
		return 0;
	vm->power_slot = power_slot(vm->config);
	int r = virtio_input_new(&vm->host, "_power", &dev);
	r = attach(vm, r, "_power", dev, TRANSPORT_PCI, vm->power_slot, e);
	if (!r)
		vm->power_key = dev;
	return r;
}

int vm_make_devices(struct vm *vm, struct err *e)
{
	int r = make_platform(vm, e);

	if (!r)
		r = make_pci(vm, e);
	if (!r)
		r = make_disks(vm, e);
	if (!r)
		r = make_nets(vm, e);
	if (!r)
		r = make_served(vm, e);
	if (!r)
		r = make_others(vm, e);
	if (!r)
		r = make_vsock(vm, e);
	return r ? r : make_power_key(vm, e);
}

unsigned vm_describe_devices(struct vm *vm, struct dev_desc *desc, unsigned max)
{
	unsigned n = 0;

	list_for_each (it, &vm->devices) {
		struct device *d = container_of(it, struct device, link);
		if (d->ops->describe && n < max)
			n += d->ops->describe(d, desc + n, max - n);
	}
	return n;
}
