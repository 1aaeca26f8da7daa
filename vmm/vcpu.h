/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual CPU: one thread around KVM_RUN. It serves MMIO and port I/O from the frozen buses and
 * gives every other exit to the arch. It never stops the VM: it sets a request bit and parks.
 *
 *    new ──start──► running ──request bits──► parked (posted) ──resume──► running
 *                                               └──end──► thread over          */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include "arch/arch.h"
#include "devices/bus.h"
#include "vmm/kvm/kvm.h"
#include "vmm/request.h"

#define VCPU_EXITS 32 /* exits remembered for the crash report; a power of two */

struct vcpu_exit {
	uint64_t ns; /* CLOCK_MONOTONIC */
	uint64_t addr, data;
	uint32_t reason;
	uint8_t size;
	bool write;
};

struct vcpu {
	struct kvm_vcpu kvm;
	struct arch_vcpu *arch;
	unsigned index;
	const struct bus *mmio, *pio;
	struct vm_requests *requests; /* the machine's */
	unsigned mmio_hint, pio_hint; /* last region hit; own thread */

	pthread_t thread;
	bool started; /* control */
	bool parked;  /* control: its message has arrived */
	struct ev_msg parked_msg;
	pthread_mutex_t lock; /* guards go and end */
	pthread_cond_t cond;
	bool go, end;

	struct vcpu_exit exits[VCPU_EXITS]; /* own thread; others read it parked */
	_Atomic uint64_t nexits;
};

/* Creates the KVM vCPU and its arch half. Control. */
int vcpu_init(struct vcpu *v, const struct kvm_vm *vm, struct arch_vm *arch, unsigned index,
	struct vm_requests *requests, const struct bus *mmio, const struct bus *pio, struct err *e);
/* A zeroed or half-made vcpu is fine; its thread must have ended. */
void vcpu_fini(struct vcpu *v);

/* Control. start makes the thread, named "vcpuN", bound to the host CPUs unless NULL. -EINVAL: none
 * of them is this process's to use. */
int vcpu_start(struct vcpu *v, const cpu_set_t *cpus);
/* The host CPUs that a started vCPU's thread may run on. */
int vcpu_cpus(const struct vcpu *v, cpu_set_t *ret_cpus);
void vcpu_kick(struct vcpu *v);	  /* leaves KVM_RUN soon and looks at the requests */
void vcpu_resume(struct vcpu *v); /* parked only */
void vcpu_end(struct vcpu *v);	  /* parked only: ends and joins the thread */

/* "io", "mmio", "internal-error"…; "exit-N" numbers unknown ones into buf. */
const char *vcpu_exit_name(uint32_t reason, char buf[24]);

/* Once in the process, before any vCPU: the kick signal's (empty) handler. */
int vcpu_signals_init(void);

#endif
