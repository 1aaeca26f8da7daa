/* SPDX-License-Identifier: Apache-2.0 */
/* A small process, forked before the first thread and before anything is forbidden, that starts one
 * program when it is told to and keeps it alive: it hands the program the descriptors it holds,
 * starts it again when it ends, with a back-off, and ends it when the VMM ends, however the VMM
 * ends. Nothing of it is left on disk. It knows nothing of devices.
 *
 *   idle ──serve──► on trial ──keep──► kept ◄──┐
 *    ▲                 │                 │ └───┘ ended: started again after 0 … 2 s
 *    └──ended, stop────┴─────stop────────┘
 *
 * All functions on the thread that owns the handle; those that ask wait for the answer, which takes
 * as long as a program takes to start or to end. */
#ifndef VMM_SUPERVISOR_H
#define VMM_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "vmm/base/err.h"

#define SUPERVISOR_FDS 64 /* that a program may be given */

struct supervisor;

/* What the program is: argv[0] is looked for beside our own binary, then in $PATH. Its descriptors
 * are numbered from 3 on in the order of `fd`. One marked in `reopen` is opened anew for each start
 * (its own file description, and so its own lock on the file), where we may. */
struct supervisor_program {
	const char *const *argv; /* ends with NULL */
	const int *fd;		 /* borrowed: duplicates are kept */
	unsigned nfds;
	uint64_t reopen; /* a bit for each of fd */
};

/* Forks. Only while there is one thread. What the program says on stderr goes to log_fd, -1 =
 * nowhere, once it is kept. */
int supervisor_new(int log_fd, struct supervisor **ret_supervisor);
/* Ends the program, and the supervisor. NULL is fine. */
void supervisor_free(struct supervisor *s);

/* Starts the program, after ending the one there was. e says why it cannot be started. It is on
 * trial: if it ends it stays so, and what it was given is closed. */
int supervisor_serve(struct supervisor *s, const struct supervisor_program *p, struct err *e);
/* It is fine: from now on it is kept alive. */
int supervisor_keep(struct supervisor *s);
/* Ends the program: SIGTERM, and SIGKILL two seconds later. */
void supervisor_stop(struct supervisor *s);

struct supervisor_status {
	pid_t pid;	   /* 0 = none runs now */
	uint64_t restarts; /* since serve() */
	int wait_status;   /* how the last one ended, as of waitpid(2) */
	char said[200];	   /* its last line on stderr while it was on trial; "" = nothing */
};
int supervisor_status(struct supervisor *s, struct supervisor_status *ret);

/* Readable when the program was started again: then supervisor_news() gives 1 and how it stands.
 * 0: nothing more; -EPIPE: the supervisor itself is gone. */
int supervisor_news_fd(const struct supervisor *s);
int supervisor_news(struct supervisor *s, struct supervisor_status *ret);

#endif
