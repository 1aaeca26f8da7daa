/* SPDX-License-Identifier: Apache-2.0 */
/* See probe.h. A VM of 2 MiB with one vCPU runs arch_probe_code(): a store to an absent address
 * proves that guests run at all, a second one, after instructions that kernels need, that Linux
 * will. A timer bounds the time, so a KVM that hangs is only broken. */
#include "vmm/probe.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "arch/arch.h"
#include "devices/bus.h"
#include "vmm/base/ev.h"
#include "vmm/base/num.h"
#include "vmm/kvm/kvm.h"

#define PROBE_RAM   (32 * MIB)
#define PROBE_VALUE 0x706f6c79u /* "poly" */
#define PROBE_TRIES 64		/* exits */

static const char *const names[] = {"none", "denied", "broken", "bare-metal", "linux"};

const char *kvm_verdict_name(enum kvm_verdict v)
{
	return names[v];
}

struct probe {
	struct kvm kvm;
	struct kvm_vm vm;
	struct plan plan;
	struct guest_mem mem;
	struct bus mmio, pio;
	struct arch_vm *arch;
	struct kvm_vcpu vcpu;
	struct arch_vcpu *cpu;
	struct ev_loop *loop;
	uint64_t target; /* an address where nothing is */
};

static int build(struct probe *p, struct err *e)
{
	struct vm_shape shape = {
		.machine_version = MACHINE_VERSION,
		.vcpus = 1,
		.max_vcpus = 1,
		.ram = PROBE_RAM,
		.page_size = (uint64_t)sysconf(_SC_PAGESIZE),
	};
	const struct mem_opts mem = {.numa_node = -1};
	struct arch_vm_opts opts = {.mmio = &p->mmio, .pio = &p->pio, .mem = &p->mem};
	int r = ev_loop_new(&p->loop);

	opts.control = p->loop;
	if (r < 0 || (r = kvm_vm_new(&p->kvm, arch_vm_type(&p->kvm), &p->vm)) < 0)
		return err_set(
			e, ERR_HOST, r, "/dev/kvm: cannot create a VM: %s", strerrordesc_np(-r));
	if ((r = arch_probe(&p->kvm, &p->vm, &shape, e)) < 0 ||
		(r = arch_plan(&shape, &p->plan, e)) < 0)
		return r;
	const struct mem_range range = {p->plan.ram[0].base, p->plan.ram[0].size};
	if ((r = guest_mem_init(&p->mem, &range, 1, &mem, e)) < 0)
		return r;
	r = kvm_vm_set_memory(&p->vm, 0, 0, range.gpa, range.size, p->mem.region[0].host);
	if (r < 0)
		return err_set(
			e, ERR_HOST, r, "/dev/kvm: refuses a memory slot: %s", strerrordesc_np(-r));
	if ((r = arch_vm_new(&p->vm, &p->plan, &opts, &p->arch, e)) < 0)
		return r;
	r = kvm_vcpu_new(&p->vm, 0, &p->vcpu);
	if (r < 0)
		return err_set(
			e, ERR_HOST, r, "/dev/kvm: cannot create a vCPU: %s", strerrordesc_np(-r));
	r = arch_vcpu_new(p->arch, &p->vcpu, 0, &p->cpu, e);
	return r < 0 ? r : arch_vm_seal(p->arch, e);
}

static int load(struct probe *p, struct err *e)
{
	uint64_t at = p->plan.ram[0].base + 16 * MIB;
	uint8_t code[256];

	p->target = p->plan.pci_mmio32.base;
	size_t n = arch_probe_code(at, p->target, PROBE_VALUE, code, sizeof(code));
	int r = guest_mem_write(&p->mem, at, code, n);
	return r < 0 ? r : arch_probe_boot(p->cpu, at, e);
}

/* A timer's signal ends KVM_RUN with EINTR; the default action of the chosen one is replaced. */
static int arm_timer(timer_t *ret_timer)
{
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
	const struct itimerspec two_seconds = {
		.it_value = {.tv_sec = 2}, .it_interval = {.tv_nsec = 100000000}};

	if (timer_create(CLOCK_MONOTONIC, &ev, ret_timer) < 0)
		return -errno;
	return timer_settime(*ret_timer, 0, &two_seconds, NULL) < 0 ? -errno : 0;
}

static enum kvm_verdict run(struct probe *p, struct err *e)
{
	enum kvm_verdict v = KVM_BROKEN;
	const struct kvm_run *run = p->vcpu.run;
	const char *why = "it ran on without doing what was asked";

	for (unsigned i = 0; i < PROBE_TRIES; i++) {
		int r = kvm_vcpu_run(&p->vcpu);
		if (r == -EINTR)
			why = "an instruction took longer than two seconds";
		else if (r < 0)
			why = strerrordesc_np(-r);
		if (r < 0)
			break;
		if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write &&
			run->mmio.phys_addr == p->target) {
			uint32_t got = (uint32_t)load_le(run->mmio.data, 4);
			if (got == PROBE_VALUE)
				v = KVM_BARE_METAL;
			else if (got == PROBE_VALUE + 1)
				return v == KVM_BARE_METAL ? KVM_LINUX : v;
			continue;
		}
		if (run->exit_reason == KVM_EXIT_MMIO || run->exit_reason == KVM_EXIT_IO)
			continue;
		if (arch_vcpu_exit(p->cpu, &why) != EXIT_AGAIN)
			break;
	}
	err_set(e, ERR_HOST, -EIO, "/dev/kvm: %s: %s",
		v == KVM_BARE_METAL ? "runs small guests but cannot run Linux"
				    : "cannot run guests",
		why);
	return v;
}

static void take_apart(struct probe *p)
{
	arch_vcpu_free(p->cpu);
	kvm_vcpu_close(&p->vcpu);
	arch_vm_free(p->arch);
	kvm_vm_close(&p->vm);
	guest_mem_fini(&p->mem);
	ev_loop_free(p->loop);
	kvm_close(&p->kvm);
}

static void on_timer(int sig)
{
	(void)sig;
}

enum kvm_verdict kvm_probe(struct err *e)
{
	struct probe p = {.vm = {.fd = -1}, .vcpu = {.fd = -1}};
	struct sigaction sa = {.sa_handler = on_timer}, old;
	enum kvm_verdict v = KVM_BROKEN;
	timer_t timer;
	int r = kvm_open(&p.kvm, -1, e);

	if (r < 0)
		return r == -EACCES || r == -EPERM		     ? KVM_DENIED
		       : r == -ENOENT || r == -ENODEV || r == -ENXIO ? KVM_NONE
								     : KVM_BROKEN;
	sigaction(SIGRTMIN, &sa, &old);
	if (build(&p, e) >= 0 && load(&p, e) >= 0 && arm_timer(&timer) >= 0) {
		v = run(&p, e);
		timer_delete(timer);
	}
	sigaction(SIGRTMIN, &old, NULL);
	take_apart(&p);
	return v;
}
