/* SPDX-License-Identifier: Apache-2.0 */
/* The machine: KVM VM, guest memory, interrupt controller, buses, devices, vCPUs. vm.c is the place
 * where the order of building is written; destruction is its exact reverse. Owned by control, used
 * on control's thread only. A vm is built stopped, boots once, and is thrown away for a reboot. */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <stdbool.h>
#include <stdio.h>
#include "vmm/config.h"
#include "vmm/host.h"
#include "vmm/request.h"

struct vm;

/* c is resolved; c and res are borrowed and outlive the vm. on_request runs on the control loop
 * when the request word leaves zero. Returns 0, or a negative errno with e saying what and where.
 */
int vm_new(const struct vm_config *c, struct host_res *res, struct ev_loop *control,
	void (*on_request)(struct ev_msg *m), struct vm **ret_vm, struct err *e);
/* All vCPUs parked or never started. NULL is fine. */
void vm_free(struct vm *vm);

struct vm_requests *vm_requests(struct vm *vm);

/* Starts the vCPU threads. */
int vm_start(struct vm *vm, struct err *e);
/* Asks every vCPU to park; their messages arrive on the control loop. A request bit must be set. */
void vm_stop_begin(struct vm *vm);
bool vm_parked(const struct vm *vm); /* true also before vm_start */
/* Clears the given request bits and lets the vCPUs go, unless other bits are set: then they stay
 * parked and false is returned. */
bool vm_resume(struct vm *vm, uint32_t served);

/* Stopped world: brings buses and doorbells in line with the guest's PCI windows. */
void vm_remap(struct vm *vm);

/* Stopped world: the raw crash report, JSON, for polyvisor-crash. why is NULL to take the one that
 * a vCPU left. */
void vm_crash_report(struct vm *vm, const char *why, FILE *out);

#endif
