/* SPDX-License-Identifier: Apache-2.0 */
/* polycloud's commands. Which of them a build has is said by commands.c (all) or commands_node.c
 * (static and cross builds: a node alone). */
#ifndef CLOUD_PROGRAM_H
#define CLOUD_PROGRAM_H

#include <stddef.h>
#include "vmm/base/err.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

struct command {
	const char *name, *about;
	int (*run)(int argc, char **argv); /* argv[0] is the name; the exit status */
	const char *help;		   /* usage, whole */
};
extern const struct command commands[]; /* ends with name NULL */

int cmd_up(int argc, char **argv);
int cmd_control(int argc, char **argv);
int cmd_node(int argc, char **argv);
int cmd_backup(int argc, char **argv);
int cmd_restore(int argc, char **argv);
extern const char up_help[], control_help[], node_help[], backup_help[], restore_help[];

/* ---- what they share (run.c) ---- */

struct flag {
	const char *name;   /* "--data" */
	const char **value; /* or NULL: a switch */
	int *count;	    /* of a switch */
};
/* flags ends with name NULL. Words that are no flags go to rest, exactly nrest of them; wanted
 * names them in errors. */
int flags_parse(int argc, char **argv, const struct flag *flags, const char **rest, unsigned nrest,
	const char *wanted, struct err *e);
/* One line on stderr; the exit status. */
int failed(const struct err *e, int code);

/* The default places: root's under /var/lib and /run, others' in their home and $XDG_RUNTIME_DIR.
 */
const char *default_data(char *buf, size_t cap);
const char *default_socket(char *buf, size_t cap);

/* A loop that SIGTERM, SIGINT and SIGHUP end. Made before any thread: all inherit the mask. */
struct process {
	struct ev_loop *loop;
	struct ev_fd signals;
	struct log log;
};
int process_init(struct process *p, int verbose, struct err *e);
void process_fini(struct process *p);

#endif
