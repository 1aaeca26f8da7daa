/* SPDX-License-Identifier: Apache-2.0 */
/* Control: the one owner of the machine and the one door into it. Command line, REST and tests all
 * submit a struct vm_cmd; a state table says which is legal when. Control runs the main loop, never
 * waits for a vCPU or a peer, and ends with the process's exit status.
 *
 *   none ──create──► created ──boot──► running ◄──resume── paused
 *     ▲                 │                 │  └────pause─────►│
 *     └──────delete─────┴──shutdown◄──────┴──────────────────┘          */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include <stdbool.h>
#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/config.h"

enum vm_state { VM_NONE, VM_CREATED, VM_RUNNING, VM_PAUSED, VM_STATES };

enum vm_op {
	VM_CREATE, /* takes config; opens the host's resources, builds the machine */
	VM_BOOT,   /* starts the vCPUs */
	VM_PAUSE,  /* returns when all vCPUs are parked */
	VM_RESUME,
	VM_REBOOT,   /* as the guest's own reset */
	VM_SHUTDOWN, /* ends the machine, keeps its configuration and resources: back to created */
	VM_DELETE,   /* gives everything back */
	VM_CRASH,    /* writes a crash report and ends the process with 3 */
	VMM_QUIT,    /* ends the process with 0 */
	VM_OPS,
};

struct control;

/* Plain data; made by anybody, moved by the submit, moved back by the reply. */
struct vm_cmd {
	enum vm_op op;
	struct vm_config *config; /* VM_CREATE: malloc'ed, taken */
	const char *why;	  /* VM_CRASH: static text */
	int result;		  /* 0 or negative errno, err says more */
	struct err err;
	void (*done)(struct vm_cmd *); /* on reply_to's thread; frees the command */
	struct ev_loop *reply_to;
	struct control *control; /* internal, as the rest */
	struct ev_msg msg;
	struct list link;
};

struct control_opts {
	struct log *log;
	const char *crash_path; /* where a crash report goes; NULL = none is written */
	bool exit_on_reboot;	/* a guest's reset ends the process instead */
};

/* o is copied, its pointers are borrowed. Signals SIGINT, SIGTERM, SIGHUP, SIGQUIT are taken over:
 * block them before (control_signals_block) so that every thread inherits it. */
int control_new(const struct control_opts *o, struct control **ret_control);
void control_free(struct control *c);
struct ev_loop *control_loop(struct control *c);
int control_signals_block(void);

/* Any thread. */
void control_submit(struct control *c, struct vm_cmd *cmd);

struct control_end {
	int status;	 /* exit status of the process */
	int signal;	 /* to die of, once everything is given back; 0 = none */
	bool crashed;	 /* a crash report was written to crash_path (when there is one) */
	const char *why; /* of a crash; static text */
	struct err err;	 /* when control itself ended the process */
};
/* Runs until the end; the machine is gone and everything given back when it returns. */
void control_run(struct control *c, struct control_end *ret_end);

#endif
