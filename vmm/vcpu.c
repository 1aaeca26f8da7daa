/* SPDX-License-Identifier: Apache-2.0 */
/* See vcpu.h. The kick is a signal with an empty handler plus kvm_run.immediate_exit, which closes
 * the race between looking at the requests and entering the guest (KVM API, 5. "The kvm_run
 * structure"). */
#include "vmm/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "vmm/base/list.h"
#include "vmm/base/num.h"

static int kick_signal(void)
{
	return SIGRTMIN;
}

static void on_kick(int sig)
{
	(void)sig;
}

int vcpu_signals_init(void)
{
	struct sigaction sa = {.sa_handler = on_kick}; /* no SA_RESTART: KVM_RUN must return */

	return sigaction(kick_signal(), &sa, NULL) < 0 ? -errno : 0;
}

static const char *const exit_names[] = {
	[KVM_EXIT_UNKNOWN] = "unknown",
	[KVM_EXIT_EXCEPTION] = "exception",
	[KVM_EXIT_IO] = "io",
	[KVM_EXIT_DEBUG] = "debug",
	[KVM_EXIT_HLT] = "hlt",
	[KVM_EXIT_MMIO] = "mmio",
	[KVM_EXIT_IRQ_WINDOW_OPEN] = "irq-window-open",
	[KVM_EXIT_SHUTDOWN] = "shutdown",
	[KVM_EXIT_FAIL_ENTRY] = "fail-entry",
	[KVM_EXIT_INTR] = "intr",
	[KVM_EXIT_INTERNAL_ERROR] = "internal-error",
	[KVM_EXIT_SYSTEM_EVENT] = "system-event",
	[KVM_EXIT_ARM_NISV] = "arm-nisv",
	[KVM_EXIT_X86_RDMSR] = "rdmsr",
	[KVM_EXIT_X86_WRMSR] = "wrmsr",
	[KVM_EXIT_RISCV_SBI] = "riscv-sbi",
	[36] = "riscv-csr", /* KVM_EXIT_RISCV_CSR, newer than Debian 12's headers */
};

const char *vcpu_exit_name(uint32_t reason, char buf[24])
{
	if (reason < ARRAY_SIZE(exit_names) && exit_names[reason])
		return exit_names[reason];
	snprintf(buf, 24, "exit-%u", reason);
	return buf;
}

static void record(struct vcpu *v)
{
	const struct kvm_run *run = v->kvm.run;
	/* Counted by this thread alone, so no locked instruction. */
	uint64_t n = atomic_load_explicit(&v->nexits, memory_order_relaxed);
	struct vcpu_exit *x = &v->exits[n % VCPU_EXITS];

	atomic_store_explicit(&v->nexits, n + 1, memory_order_relaxed);
	*x = (struct vcpu_exit){.ns = ev_now_ns(), .reason = run->exit_reason};
	if (run->exit_reason == KVM_EXIT_MMIO) {
		x->addr = run->mmio.phys_addr;
		x->size = (uint8_t)run->mmio.len;
		x->write = run->mmio.is_write;
		if (x->write)
			memcpy(&x->data, run->mmio.data, MIN(run->mmio.len, 8u));
	} else if (run->exit_reason == KVM_EXIT_IO) {
		x->addr = run->io.port;
		x->size = run->io.size;
		x->write = run->io.direction == KVM_EXIT_IO_OUT;
		if (x->write)
			memcpy(&x->data, (char *)run + run->io.data_offset, MIN(run->io.size, 8));
	}
}

static void serve_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->kvm.run;
	unsigned len = MIN(run->mmio.len, 8u);
	uint64_t value;

	if (run->mmio.is_write) {
		bus_write(v->mmio, run->mmio.phys_addr, len, load_le(run->mmio.data, len),
			&v->mmio_hint);
		return;
	}
	bus_read(v->mmio, run->mmio.phys_addr, len, &value, &v->mmio_hint);
	store_le(run->mmio.data, len, value);
}

/* A string instruction arrives as `count` accesses to one port. */
static void serve_io(struct vcpu *v)
{
	struct kvm_run *run = v->kvm.run;
	unsigned size = MIN((unsigned)run->io.size, 8u);
	uint8_t *p = (uint8_t *)run + run->io.data_offset;
	uint64_t value;

	for (uint32_t i = 0; i < run->io.count; i++, p += size) {
		if (run->io.direction == KVM_EXIT_IO_OUT) {
			bus_write(v->pio, run->io.port, size, load_le(p, size), &v->pio_hint);
			continue;
		}
		bus_read(v->pio, run->io.port, size, &value, &v->pio_hint);
		store_le(p, size, value);
	}
}

static void crash(struct vcpu *v, const char *why)
{
	int none = -1;

	/* The first vCPU to crash is the one the report is about. */
	if (atomic_compare_exchange_strong(&v->requests->crash_vcpu, &none, (int)v->index))
		atomic_store(&v->requests->crash_why, why);
	vm_request(v->requests, REQ_CRASH);
}

static void serve_other(struct vcpu *v)
{
	const char *why = "an exit that cannot be served";

	switch (arch_vcpu_exit(v->arch, &why)) {
	case EXIT_AGAIN:
		break;
	case EXIT_POWEROFF:
		vm_request(v->requests, REQ_POWEROFF);
		break;
	case EXIT_RESET:
		vm_request(v->requests, REQ_RESET);
		break;
	case EXIT_CRASH:
		crash(v, why);
		break;
	}
}

static void serve_exit(struct vcpu *v)
{
	record(v);
	switch (v->kvm.run->exit_reason) {
	case KVM_EXIT_MMIO:
		serve_mmio(v);
		break;
	case KVM_EXIT_IO:
		serve_io(v);
		break;
	case KVM_EXIT_INTR:
		break;
	default:
		serve_other(v);
	}
}

/* Written by control and by the vCPU's own thread, read by the kernel. */
static void set_immediate_exit(struct vcpu *v, uint8_t on)
{
	__atomic_store_n(&v->kvm.run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

/* Returns false when the thread shall end. */
static bool park(struct vcpu *v)
{
	/* The access that led here completes only at the next KVM_RUN (KVM API, KVM_EXIT_MMIO):
	 * enter once without running the guest, so that the registers are those after the
	 * instruction. Not after a crash: the exit information must survive for the report. */
	if (!(atomic_load(&v->requests->bits) & REQ_CRASH)) {
		set_immediate_exit(v, 1);
		kvm_vcpu_run(&v->kvm);
	}
	ev_post(v->requests->control, &v->parked_msg);

	pthread_mutex_lock(&v->lock);
	while (!v->go && !v->end)
		pthread_cond_wait(&v->cond, &v->lock);
	v->go = false;
	bool end = v->end;
	pthread_mutex_unlock(&v->lock);
	set_immediate_exit(v, 0);
	return !end;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, kick_signal());
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);

	for (;;) {
		/* Not before park() has cleared immediate_exit, or a kick might be lost. */
		if (atomic_load(&v->requests->bits)) {
			if (!park(v))
				return NULL;
			continue;
		}
		int r = kvm_vcpu_run(&v->kvm);
		if (r == 0)
			serve_exit(v);
		else if (r != -EINTR && r != -EAGAIN)
			crash(v, strerrordesc_np(-r));
	}
}

static void on_parked(struct ev_msg *m)
{
	container_of(m, struct vcpu, parked_msg)->parked = true;
}

int vcpu_init(struct vcpu *v, const struct kvm_vm *vm, struct arch_vm *arch, unsigned index,
	struct vm_requests *requests, const struct bus *mmio, const struct bus *pio, struct err *e)
{
	*v = (struct vcpu){
		.kvm = {.fd = -1},
		.index = index,
		.requests = requests,
		.mmio = mmio,
		.pio = pio,
		.parked_msg = {.handle = on_parked},
	};
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->cond, NULL);

	int r = kvm_vcpu_new(vm, index, &v->kvm);
	if (r < 0)
		return err_set(e, ERR_HOST, r, "--cpus boot: KVM cannot create vCPU %u: %s", index,
			strerrordesc_np(-r));
	return arch_vcpu_new(arch, &v->kvm, index, &v->arch, e);
}

void vcpu_fini(struct vcpu *v)
{
	if (!v->requests)
		return;
	arch_vcpu_free(v->arch);
	kvm_vcpu_close(&v->kvm);
	pthread_cond_destroy(&v->cond);
	pthread_mutex_destroy(&v->lock);
}

int vcpu_start(struct vcpu *v, const cpu_set_t *cpus)
{
	pthread_attr_t attr;
	char name[16];
	int r = -pthread_attr_init(&attr);

	if (r < 0)
		return r;
	if (cpus)
		r = -pthread_attr_setaffinity_np(&attr, sizeof(*cpus), cpus);
	if (!r)
		r = -pthread_create(&v->thread, &attr, vcpu_thread, v);
	pthread_attr_destroy(&attr);
	v->started = r == 0;
	/* From here, and not by the thread itself: whoever was told that the machine is booted
	 * looks for vCPUs by their names. */
	snprintf(name, sizeof(name), "vcpu%u", v->index);
	if (v->started)
		pthread_setname_np(v->thread, name);
	return r;
}

int vcpu_cpus(const struct vcpu *v, cpu_set_t *ret_cpus)
{
	return -pthread_getaffinity_np(v->thread, sizeof(*ret_cpus), ret_cpus);
}

void vcpu_kick(struct vcpu *v)
{
	set_immediate_exit(v, 1);
	pthread_kill(v->thread, kick_signal());
}

void vcpu_resume(struct vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	v->parked = false;
	v->go = true;
	pthread_cond_signal(&v->cond);
	pthread_mutex_unlock(&v->lock);
}

void vcpu_end(struct vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	v->end = true;
	pthread_cond_signal(&v->cond);
	pthread_mutex_unlock(&v->lock);
	pthread_join(v->thread, NULL);
	v->started = false;
}
