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
struct events;
struct vm_info;
struct vm_counters;

/* c is resolved; c, res and events are borrowed and outlive the vm. on_request runs on the control
 * loop when the request word leaves zero. Returns 0, or a negative errno with e saying what and
 * where. */
int vm_new(const struct vm_config *c, struct host_res *res, struct ev_loop *control,
	void (*on_request)(struct ev_msg *m), struct events *events, struct vm **ret_vm,
	struct err *e);
/* All vCPUs parked or never started. NULL is fine. */
void vm_free(struct vm *vm);

struct vm_requests *vm_requests(struct vm *vm);

/* Starts the vCPU threads. When it fails those that started have parked again. Runs the control
 * loop then, so not from a handler. */
int vm_start(struct vm *vm, struct err *e);
/* Sets REQ_STOP and asks every vCPU to park; their messages arrive on the control loop. */
void vm_stop_begin(struct vm *vm);
bool vm_parked(const struct vm *vm); /* true also before vm_start */
/* Clears the given request bits and lets the vCPUs go, unless other bits are set: then they stay
 * parked and false is returned. */
bool vm_resume(struct vm *vm, uint32_t served);

/* vCPUs parked: asks every device to pause; their ends arrive on the control loop, after which
 * vm_quiet(). Then guest memory and all state hold still, until vm_quiet_end(). */
void vm_quiet_begin(struct vm *vm);
bool vm_quiet(const struct vm *vm);
const char *vm_busy(const struct vm *vm); /* the id of a device that is not yet quiet, or NULL */
void vm_quiet_end(struct vm *vm);

/* Stopped world: brings buses and doorbells in line with the guest's PCI windows. */
void vm_remap(struct vm *vm);

/* Stopped world: the raw crash report, JSON, for polyvisor-crash. why is NULL to take the one that
 * a vCPU left. */
void vm_crash_report(struct vm *vm, const char *why, FILE *out);

/* Running. */
int vm_power_button(struct vm *vm, struct err *e);
/* vCPUs parked. ERR_UNOFFERED where the chip or its KVM has none. */
int vm_nmi(struct vm *vm, struct err *e);

/* ERR_NOT_FOUND, naming the devices that exist. */
int vm_device_check(struct vm *vm, const char *id, struct err *e);
/* World quiet: the device's state as the visitor dumps it, a JSON object; free() it. */
int vm_device_dump(struct vm *vm, const char *id, char **ret_text, struct err *e);

/* Any time. vm NULL = created only. The result's state is left to the caller. */
int vm_info(const struct vm_config *c, struct vm *vm, const struct host_res *res,
	struct vm_info **ret_info);
int vm_counters(struct vm *vm, struct vm_counters **ret_counters);

#endif
