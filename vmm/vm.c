/* SPDX-License-Identifier: Apache-2.0 */
/* The order of building, which is the order KVM and the firmware tables need:
 *
 *   KVM VM ► plan ► memory and slots ► irqchip ► vCPUs ► seal the irqchip ► devices ► kernel
 *          ► tables ► registers of vCPU 0
 *
 * vm_free() takes it apart in reverse and copes with any prefix of it. */
#include "vmm/vm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include "devices/registry.h"
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"
#include "vmm/vm_internal.h"

#define MACHINE_DESCS (PLAN_DEVS + PLAN_VIRTIO_MMIO + 1)

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

static const struct dev_host_ops host_ops = {
	.event = host_event,
	.doorbell = host_doorbell,
	.realtime_ns = host_realtime,
};

/* ---- KVM, memory, vCPUs ---- */

static unsigned count_mmio(const struct vm_config *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->ndisks; i++)
		n += c->disk[i].transport == TRANSPORT_MMIO;
	for (unsigned i = 0; i < c->nnets; i++)
		n += c->net[i].transport == TRANSPORT_MMIO;
	n += strcmp(c->rng.src, "off") && c->rng.transport == TRANSPORT_MMIO;
	n += c->console.mode != CHR_OFF && c->console.transport == TRANSPORT_MMIO;
	return n;
}

static int check_vcpus(struct vm *vm, struct err *e)
{
	int max = kvm_vm_cap(&vm->kvm, KVM_CAP_MAX_VCPUS);

	if (max <= 0)
		max = 4; /* KVM API, KVM_CAP_MAX_VCPUS: "assume 4" */
	if (vm->config->cpus.max > (unsigned)max)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--cpus %s: %u is more than this host allows, 1..%d",
			vm->config->cpus.max == vm->config->cpus.boot ? "boot" : "max",
			vm->config->cpus.max, max);
	return 0;
}

static int make_plan(struct vm *vm, struct err *e)
{
	const struct vm_config *c = vm->config;
	struct vm_shape shape = {
		.machine_version = c->machine.version,
		.vcpus = c->cpus.boot,
		.max_vcpus = c->cpus.max,
		.ram = c->memory.size,
		.page_size = (uint64_t)sysconf(_SC_PAGESIZE),
		.virtio_mmio = count_mmio(c),
		.test_exit = c->test_exit,
	};

	if (shape.ram % shape.page_size)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--memory size: %llu is not a multiple of the host's page size, %llu",
			(unsigned long long)shape.ram, (unsigned long long)shape.page_size);
	int r = arch_probe(&vm->res->kvm, &vm->kvm, &shape, e);
	return r < 0 ? r : arch_plan(&shape, &vm->plan, e);
}

static int make_memory(struct vm *vm, struct err *e)
{
	const struct memory_config *m = &vm->config->memory;
	const struct mem_opts opts = {
		.shared = m->shared,
		.hugepages = m->hugepages,
		.hugepage_size = m->hugepage_size,
		.thp = m->thp,
		.mergeable = m->mergeable,
		.prefault = m->prefault,
		.numa_node = m->numa_node,
		.backing_file = m->file,
	};
	struct mem_range range[PLAN_RAM_RANGES];

	for (unsigned i = 0; i < vm->plan.nram; i++)
		range[i] = (struct mem_range){vm->plan.ram[i].base, vm->plan.ram[i].size};
	int r = guest_mem_init(&vm->mem, range, vm->plan.nram, &opts, e);
	for (unsigned i = 0; i < vm->mem.n && !r; i++) {
		const struct mem_region *g = &vm->mem.region[i];
		r = kvm_vm_set_memory(&vm->kvm, i, 0, g->gpa, g->size, g->host);
		if (r < 0)
			err_set(e, ERR_HOST, r,
				"--memory size: KVM refuses a memory slot this large: %s; allowed: less",
				strerrordesc_np(-r));
	}
	return r;
}

static int make_cpus(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->config->cpus.max; i++) {
		vm->nvcpus = i + 1; /* vcpu_fini copes with a half-made one */
		int r = vcpu_init(&vm->vcpus[i], &vm->kvm, vm->arch, i, &vm->requests, &vm->mmio,
			&vm->pio, e);
		if (r < 0)
			return r;
	}
	return arch_vm_seal(vm->arch, e);
}

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
		struct virtio_blk_opts o = {.queue_size = (uint16_t)c->queue_size};
		struct virtio_dev *dev = NULL;
		if (c->serial)
			memcpy(o.serial, c->serial, MIN(strlen(c->serial), sizeof(o.serial) - 1));
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
		struct virtio_net_opts o = {
			.mtu = (uint16_t)c->mtu, .queue_size = (uint16_t)c->queue_size};
		struct virtio_dev *dev = NULL;
		memcpy(o.mac, c->mac, sizeof(o.mac));
		r = virtio_net_new(&vm->host, c->id, vm->res->net[i], &o, &dev);
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

static int make_devices(struct vm *vm, struct err *e)
{
	int r = make_platform(vm, e);

	if (!r)
		r = make_pci(vm, e);
	if (!r)
		r = make_disks(vm, e);
	if (!r)
		r = make_nets(vm, e);
	return r ? r : make_others(vm, e);
}

/* ---- kernel and tables ---- */

static unsigned describe_devices(struct vm *vm, struct dev_desc *desc, unsigned max)
{
	unsigned n = 0;

	list_for_each (it, &vm->devices) {
		struct device *d = container_of(it, struct device, link);
		if (d->ops->describe && n < max)
			n += d->ops->describe(d, desc + n, max - n);
	}
	return n;
}

static int load(struct vm *vm, struct err *e)
{
	const struct vm_config *c = vm->config;
	struct dev_desc desc[MACHINE_DESCS];
	struct machine m = {
		.dev = desc,
		.ndev = describe_devices(vm, desc, MACHINE_DESCS),
		.vcpus = c->cpus.boot,
		.cmdline = c->payload.cmdline ? c->payload.cmdline : "",
		.facts = arch_vm_facts(vm->arch),
	};

	int r = arch_load(
		&vm->mem, &vm->plan, vm->res->kernel_fd, vm->res->initrd_fd, &vm->boot, e);
	if (r < 0)
		return r;
	if (getrandom(m.rng_seed, sizeof(m.rng_seed), 0) != sizeof(m.rng_seed))
		memset(m.rng_seed, 0, sizeof(m.rng_seed));
	r = arch_describe(&vm->mem, &vm->plan, &m, &vm->boot, e);
	for (unsigned i = 0; i < vm->nvcpus && !r; i++)
		r = arch_vcpu_boot(vm->vcpus[i].arch, &vm->boot, e);
	return r;
}

/* ---- the whole ---- */

static int build(struct vm *vm, struct ev_loop *control, struct err *e)
{
	struct host_res *res = vm->res;
	int r = kvm_vm_new(&res->kvm, arch_vm_type(&res->kvm), &vm->kvm);

	if (r < 0)
		return err_set(
			e, ERR_HOST, r, "/dev/kvm: cannot create a VM: %s", strerrordesc_np(-r));
	if ((r = check_vcpus(vm, e)) < 0 || (r = make_plan(vm, e)) < 0 ||
		(r = make_memory(vm, e)) < 0)
		return r;

	const struct arch_vm_opts opts = {
		.cpu_baseline = res->cpu_baseline,
		.log = res->log,
		.control = control,
		.mmio = &vm->mmio,
		.pio = &vm->pio,
		.mem = &vm->mem,
	};
	if ((r = arch_vm_new(&vm->kvm, &vm->plan, &opts, &vm->arch, e)) < 0 ||
		(r = make_cpus(vm, e)) < 0)
		return r;
	vm->host = (struct dev_host){
		.ops = &host_ops,
		.dma = &vm->mem,
		.mmio = &vm->mmio,
		.pio = &vm->pio,
		.irqs = arch_vm_irqs(vm->arch),
		.control = control,
		.log = res->log,
		.dma_limit = UINT64_MAX,
	};
	r = make_devices(vm, e);
	return r ? r : load(vm, e);
}

int vm_new(const struct vm_config *c, struct host_res *res, struct ev_loop *control,
	void (*on_request)(struct ev_msg *m), struct vm **ret_vm, struct err *e)
{
	struct vm *vm = calloc(1, sizeof(*vm) + c->cpus.max * sizeof(vm->vcpus[0]));

	if (!vm)
		return -ENOMEM;
	vm->config = c;
	vm->res = res;
	vm->kvm.fd = -1;
	list_init(&vm->devices);
	vm->requests.control = control;
	vm->requests.msg.handle = on_request;
	atomic_store(&vm->requests.crash_vcpu, -1);

	int r = build(vm, control, e);
	if (r < 0) {
		vm_free(vm);
		return r;
	}
	*ret_vm = vm;
	return 0;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	for (unsigned i = vm->nvcpus; i-- > 0;)
		if (vm->vcpus[i].started)
			vcpu_end(&vm->vcpus[i]);
	while (!list_empty(&vm->devices)) {
		struct device *d = container_of(vm->devices.prev, struct device, link);
		list_del(&d->link);
		device_free(d);
	}
	for (unsigned i = vm->nvcpus; i-- > 0;)
		vcpu_fini(&vm->vcpus[i]);
	arch_vm_free(vm->arch);
	kvm_vm_close(&vm->kvm);
	guest_mem_fini(&vm->mem);
	free(vm);
}

struct vm_requests *vm_requests(struct vm *vm)
{
	return &vm->requests;
}

int vm_start(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		int r = vcpu_start(&vm->vcpus[i]);
		if (r < 0)
			return err_set(e, ERR_HOST, r,
				"--cpus boot: cannot start a thread for vCPU %u: %s", i,
				strerrordesc_np(-r));
		vm->started = true;
	}
	return 0;
}

void vm_stop_begin(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpus[i].started && !vm->vcpus[i].parked)
			vcpu_kick(&vm->vcpus[i]);
}

bool vm_parked(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpus[i].started && !vm->vcpus[i].parked)
			return false;
	return true;
}

bool vm_resume(struct vm *vm, uint32_t served)
{
	if (atomic_fetch_and(&vm->requests.bits, ~served) & ~served)
		return false;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpus[i].started)
			vcpu_resume(&vm->vcpus[i]);
	return true;
}

void vm_remap(struct vm *vm)
{
	pci_root_remap(vm->pci);
}
