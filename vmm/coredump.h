/* SPDX-License-Identifier: Apache-2.0 */
/* An ELF core of a stopped machine: one PT_LOAD for each region of RAM (p_paddr guest-physical),
 * and notes with every vCPU's registers. gdb and crash open it; docs/coredump.md. A job thread
 * reads the parked vCPUs' registers and the stopped world's RAM meanwhile, so that control keeps
 * answering. */
#ifndef VMM_COREDUMP_H
#define VMM_COREDUMP_H

#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/vm.h"

struct coredump;

/* Control, world stopped and kept so until coredump_end(). path must not exist (it is made with
 * mode 0600), or is "fd=N", a regular file open for writing, which is emptied; N, which must not be
 * close-on-exec, stays open and the caller's. done runs on control. Returns 0 when the job has
 * begun; otherwise e says why and nothing is left behind. */
int coredump_begin(struct vm *vm, const char *path, struct ev_loop *control,
	void (*done)(struct ev_msg *m), void *arg, struct coredump **ret_dump, struct err *e);
void *coredump_arg(struct ev_msg *m); /* in done() */
/* Control, in done or after it, or before to give up: then the job is cancelled and done does not
 * come. Joins the thread. 0 or a negative errno with e; a file that is not whole has been removed
 * (but not one given as fd=N). Frees d. */
int coredump_end(struct coredump *d, struct err *e);
/* Asks the job to stop soon; done still comes, and the result is -ECANCELED. */
void coredump_cancel(struct coredump *d);

#endif
