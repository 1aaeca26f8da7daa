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
#include <unistd.h>
#include "vmm/base/num.h"
#include "vmm/vm_internal.h"

#define MACHINE_DESCS (PLAN_DEVS + PLAN_VIRTIO_MMIO + 1)

/* ---- KVM, memory, vCPUs ---- */

static unsigned count_mmio(const struct vm_config *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->ndisks; i++)
		n += c->disk[i].transport == TRANSPORT_MMIO;
	for (unsigned i = 0; i < c->nnets; i++)
		n += c->net[i].transport == TRANSPORT_MMIO;
	for (unsigned i = 0; i < c->nvhost_users; i++)
		n += c->vhost_user[i].transport == TRANSPORT_MMIO;
	for (unsigned i = 0; i < c->nvdpas; i++)
		n += c->vdpa[i].transport == TRANSPORT_MMIO;
	n += strcmp(c->rng.src, "off") && c->rng.transport == TRANSPORT_MMIO;
	n += c->console.mode != CHR_OFF && c->console.transport == TRANSPORT_MMIO;
	n += c->vsock.cid && c->vsock.transport == TRANSPORT_MMIO;
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

/* ---- kernel and tables ---- */

static int load(struct vm *vm, struct err *e)
{
	const struct vm_config *c = vm->config;
	struct dev_desc desc[MACHINE_DESCS];
	struct machine m = {
		.dev = desc,
		.ndev = vm_describe_devices(vm, desc, MACHINE_DESCS),
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

static int build(struct vm *vm, struct err *e)
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
		.control = vm->control,
		.mmio = &vm->mmio,
		.pio = &vm->pio,
		.mem = &vm->mem,
	};
	if ((r = arch_vm_new(&vm->kvm, &vm->plan, &opts, &vm->arch, e)) < 0 ||
		(r = make_cpus(vm, e)) < 0)
		return r;
	vm->host = (struct dev_host){
		.ops = &vm_dev_host_ops,
		.dma = &vm->mem,
		.mmio = &vm->mmio,
		.pio = &vm->pio,
		.irqs = arch_vm_irqs(vm->arch),
		.control = vm->control,
		.log = res->log,
		.dma_limit = UINT64_MAX,
	};
	r = vm_make_devices(vm, e);
	return r ? r : load(vm, e);
}

int vm_new(const struct vm_config *c, struct host_res *res, struct ev_loop *control,
	void (*on_request)(struct ev_msg *m), struct events *events, struct vm **ret_vm,
	struct err *e)
{
	struct vm *vm = calloc(1, sizeof(*vm) + c->cpus.max * sizeof(vm->vcpus[0]));

	if (!vm)
		return -ENOMEM;
	vm->config = c;
	vm->res = res;
	vm->events = events;
	vm->kvm.fd = -1;
	vm->control = control;
	list_init(&vm->devices);
	vm->requests.control = control;
	vm->requests.msg.handle = on_request;
	atomic_store(&vm->requests.crash_vcpu, -1);

	int r = build(vm, e);
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

/* Some run already: they have to park before anything can be freed. */
static void stop_started(struct vm *vm)
{
	vm_stop_begin(vm);
	while (!vm_parked(vm))
		ev_run_once(vm->control, 100);
}

static int start_vcpu(struct vm *vm, unsigned i, struct err *e)
{
	cpu_set_t cpus;
	bool bound = vm_config_affinity(&vm->config->cpus, i, &cpus) > 0;
	int r = vcpu_start(&vm->vcpus[i], bound ? &cpus : NULL);

	if (r == -EINVAL && bound)
		return err_set(e, ERR_USAGE, r,
			"--cpus affinity: vCPU %u: this process may not use these host CPUs", i);
	if (r < 0)
		return err_set(e, ERR_HOST, r, "--cpus boot: cannot start a thread for vCPU %u: %s",
			i, strerrordesc_np(-r));
	return 0;
}

int vm_start(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		int r = start_vcpu(vm, i, e);
		if (r < 0) {
			stop_started(vm);
			return r;
		}
	}
	return 0;
}
