/* SPDX-License-Identifier: Apache-2.0 */
/* An ELF core of a stopped machine: one PT_LOAD for each region of RAM (p_paddr guest-physical),
 * notes with every vCPU's registers. gdb and crash open it. The registers are taken by control; the
 * memory is written by a job thread, which owns the stopped world's RAM meanwhile. */
#ifndef VMM_COREDUMP_H
#define VMM_COREDUMP_H

#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/vm.h"

struct coredump;

/* Control, world stopped and kept so until `done` has been posted to control. path must not exist,
 * or is "fd=N". Returns 0 when the job has begun; otherwise e says why and nothing is left behind.
 */
int coredump_begin(struct vm *vm, const char *path, struct ev_loop *control,
	void (*done)(struct ev_msg *m), void *arg, struct coredump **ret_dump, struct err *e);
void *coredump_arg(struct ev_msg *m); /* in done() */
/* After done, or before to give up: joins the thread. 0 or a negative errno with e; a file that is
 * not whole has been removed. Frees d. */
int coredump_end(struct coredump *d, struct err *e);
/* Asks the job to stop soon; done still comes. */
void coredump_cancel(struct coredump *d);

#endif
