/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of struct control, for control.c (the loop), commands.c (what each command does) and
 * states.c (when it is legal). */
#ifndef VMM_CONTROL_INTERNAL_H
#define VMM_CONTROL_INTERNAL_H

#include "vmm/control.h"
#include "vmm/coredump.h"
#include "vmm/events.h"
#include "vmm/host.h"
#include "vmm/vm.h"

/* How still the world stands. */
enum world {
	WORLD_ANY,
	WORLD_PARKED, /* no vCPU runs */
	WORLD_QUIET,  /* nor does a queue: memory and state hold still */
};

struct op_row {
	const char *name;
	uint8_t legal; /* a bit a state */
	enum world need;
	const char *before, *after; /* events of "vm", NULL = none */
	bool question;		    /* answered while another command waits for the world */
	bool gives_up;		    /* lets the guest go on when a device stays busy for too long */
};
extern const struct op_row op_rows[VM_OPS];

/* Fills e for a command that is not legal in s and returns its code. */
int control_refuse(enum vm_op op, enum vm_state s, struct err *e);

struct control {
	struct control_opts opts;
	struct events events;
	struct log_limit reboots; /* a guest may do nothing else */
	struct log_limit offload_log;
	struct ev_loop *loop;
	struct ev_fd signals, offload_news;
	struct list queue; /* struct vm_cmd */
	enum vm_state state;
	struct vm_config *config; /* resolved; NULL in VM_NONE */
	struct host_res res;
	struct vm *vm; /* exists in running, paused and dumping */

	bool stopping;		  /* vCPUs were asked to park */
	bool quieting;		  /* devices were asked to pause */
	struct vm_cmd *begun;	  /* the command that the world is being stopped for */
	uint64_t stop_ns;	  /* since when */
	struct ev_timer patience; /* armed while a command that gives up is waiting */
	bool impatient;		  /* it fired */

	struct vm_cmd *dump_cmd; /* in dumping: to be answered when it has ended */
	struct coredump *dump;
	enum vm_state dump_from;
	bool dump_done;

	bool quit;
	struct control_end end;
};

/* ---- commands.c ---- */

/* Does what the command says; its needs are met. IN_PROGRESS: it is answered later. */
#define IN_PROGRESS 1
int control_execute(struct control *c, struct vm_cmd *cmd);

/* Ends the machine, if there is one, and goes back to created. */
void control_shut_down(struct control *c);
int control_reboot(struct control *c, struct err *e);
void control_give_back(struct control *c); /* everything, back to none */
void control_crash(struct control *c, const char *why);
void control_finish(struct control *c, int status); /* of the process */
/* The job of VM_COREDUMP has ended: goes back to where it was. Returns the command's result. */
int control_dump_end(struct control *c, struct err *e);

/* ---- control.c ---- */

void control_on_request(struct ev_msg *m);
/* Lets a running machine's devices and vCPUs go on. True: something wants it stopped again. */
bool control_let_go(struct control *c);

#endif
