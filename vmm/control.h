/* SPDX-License-Identifier: Apache-2.0 */
/* Control: the one owner of the machine and the one door into it. Command line, REST and tests all
 * submit a struct vm_cmd; a state table says which is legal when. Control runs the main loop, never
 * waits for a vCPU, a queue or a peer, and ends with the process's exit status.
 *
 *   none ──create──► created ──boot──► running ◄──resume── paused
 *     ▲                 │                 │  └────pause─────►│
 *     └──────delete─────┴──shutdown◄──────┴──────────────────┘
 *
 * A coredump stops a running or paused machine and holds it in `dumping` while a job thread writes;
 * then it goes back to where it was. News (struct vm_event) is posted to one subscriber. */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include <stdbool.h>
#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/base/list.h"
#include "vmm/base/log.h"
#include "vmm/config.h"
#include "vmm/info.h"

enum vm_state { VM_NONE, VM_CREATED, VM_RUNNING, VM_PAUSED, VM_DUMPING, VM_STATES };

enum vm_op {
	VM_CREATE, /* takes config; resolves it and opens the host's resources */
	VM_BOOT,   /* builds the machine and starts the vCPUs */
	VM_PAUSE,  /* returns when all vCPUs are parked and all queues have stopped */
	VM_RESUME,
	VM_REBOOT,   /* as the guest's own reset */
	VM_SHUTDOWN, /* ends the machine, keeps its configuration and resources: back to created */
	VM_DELETE,   /* gives everything back */
	VM_POWER_BUTTON, /* asks the guest to switch itself off */
	VM_NMI,		 /* interrupts every vCPU; -EOPNOTSUPP where the chip has none */
	VM_ADD,		 /* before boot: takes config, of which one disk, net or vsock is added */
	VM_INFO,	 /* fills info */
	VM_COUNTERS,	 /* fills counters */
	VM_DEVICE,	 /* fills dump and pause_ns for the device `id` */
	VM_COREDUMP,	 /* an ELF core of the stopped machine to `path` */
	VM_CRASH,	 /* writes a crash report and ends the process with 3 */
	VMM_QUIT,	 /* ends the process with 0 */
	VM_OPS,
};

struct control;

/* Plain data; made by anybody, moved by the submit, moved back by the reply. Whatever a field of it
 * still points to after the reply is the submitter's to free. */
struct vm_cmd {
	enum vm_op op;
	struct vm_config *config; /* VM_CREATE, VM_ADD: malloc'ed, taken (NULL afterwards) */
	const char *why;	  /* VM_CRASH: static text */
	char id[32];		  /* VM_DEVICE: which; VM_ADD: out, the id it got */
	char *path;		  /* VM_COREDUMP: a file that must not exist, or "fd=N" */

	int result; /* 0 or negative errno, err says more */
	struct err err;
	struct vm_info *info;	      /* VM_INFO: out, vm_info_free() */
	struct vm_counters *counters; /* VM_COUNTERS: out, free() */
	char *dump;		      /* VM_DEVICE: out, the visitor's JSON object, free() */
	uint64_t pause_ns;	      /* VM_DEVICE: how long the guest stood still */

	void (*done)(struct vm_cmd *); /* on reply_to's thread; frees the command */
	struct ev_loop *reply_to;      /* NULL = control's own */
	struct control *control;       /* internal, as the rest */
	struct ev_msg msg;
	struct list link;
};

/* What happened, for outside listeners: cloud-hypervisor's event monitor names ("vm" "booted",
 * "virtio-device" "activated"). Posted to the subscriber's loop; its handler frees it. */
struct vm_event {
	struct ev_msg msg;
	void *arg;	    /* the subscriber's */
	uint64_t since_ns;  /* CLOCK_MONOTONIC since the process's control was made */
	const char *source; /* static: "vmm", "vm", "virtio-device", "guest",
			       "offload" */
	const char *event;  /* static */
	char id[32];	    /* of the device, or "" */
	pid_t pid;	    /* of a process that was started; 0 = none is meant */
};

/* Where events go. loop outlives control_run(). */
struct vm_events {
	struct ev_loop *loop; /* NULL = nobody listens */
	void (*handle)(struct ev_msg *m);
	void *arg;
};

struct control_opts {
	struct log *log;
	const char *crash_path; /* where a crash report goes; NULL = none is written */
	bool exit_on_reboot;	/* a guest's reset ends the process instead */
	bool no_shutdown;	/* a guest that switches itself off goes back to created */
	struct vm_events events;
	struct supervisor *supervisor; /* for offload=auto; NULL = that is not offered */
	const char *offload_api;       /* where its process answers polyctl offload; NULL */
	/* How long vm.pause, vm.devices and vm.coredump wait for a device that is busy with I/O (a
	 * network file system that is away); then they fail and the guest goes on. 0 = 10000. */
	unsigned patience_ms;
};

/* o is copied, its pointers are borrowed. Signals SIGINT, SIGTERM, SIGHUP, SIGQUIT are taken over:
 * block them before (control_signals_block) so that every thread inherits it. SIGPIPE is blocked
 * with them: whoever reads our log or a guest's output may leave, and the machine goes on. */
int control_new(const struct control_opts *o, struct control **ret_control);
void control_free(struct control *c);
struct ev_loop *control_loop(struct control *c);
int control_signals_block(void);

/* Any thread. */
void control_submit(struct control *c, struct vm_cmd *cmd);

/* The state table, and names for messages: "vm.pause", "paused". Pure. */
bool control_legal(enum vm_op op, enum vm_state s);
const char *control_op_name(enum vm_op op);
const char *control_state_name(enum vm_state s);

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
