/* SPDX-License-Identifier: Apache-2.0 */
/* Between supervisor.c (the VMM's end) and supervisor_loop.c (the process): packets over a
 * SOCK_SEQPACKET pair, each request answered by one reply. */
#ifndef VMM_SUPERVISOR_PRIV_H
#define VMM_SUPERVISOR_PRIV_H

#include "vmm/supervisor.h"

enum sup_op { SUP_SERVE, SUP_KEEP, SUP_STOP, SUP_STATUS };

#define SUP_ARGS 16384 /* bytes of argv, each word with its NUL */

struct sup_request {
	uint32_t op; /* enum sup_op */
	uint32_t nargs;
	uint64_t reopen;
	uint32_t len; /* of args */
	char args[SUP_ARGS];
};

struct sup_reply {
	int32_t result;
	char why[200]; /* of a result < 0 */
	struct supervisor_status status;
};

/* The process's life; does not return before it is to end. */
void supervisor_loop(int requests, int news, int log_fd);

/* Starts words[0] with fds 3…; its stderr is err_fd. Returns the pid, or a negative errno. */
pid_t supervisor_spawn(char *const *words, const int *fd, unsigned nfds, int err_fd);

#endif
