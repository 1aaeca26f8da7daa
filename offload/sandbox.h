/* SPDX-License-Identifier: Apache-2.0 */
/* What a back-end process gives up once its devices are open, so that a guest or a front-end that
 * broke into it holds the descriptors it has and no more:
 *
 *   privileges   no_new_privs, no capabilities, nothing executable mapped from here on
 *   system calls a seccomp filter: a list of those that serving needs. exec, fork, ptrace, mounts,
 *                modules … end the process; opening a path and making a socket are refused; what
 *                is in neither list does not exist (ENOSYS), so that a newer C library falls back
 *                instead of dying
 *   files        where the kernel has Landlock: no path can be opened, by io_uring either, which
 *                no filter of system calls sees; nor a TCP port, nor an abstract socket
 *   network      where the process may (root): it moves to an empty one
 *
 * With `opens` (a control socket adds devices later, by path) files may be opened, unix sockets
 * made, and signals sent to nobody; exec is forbidden all the same. */
#ifndef OFFLOAD_SANDBOX_H
#define OFFLOAD_SANDBOX_H

#include <stdbool.h>
#include "vmm/base/err.h"

enum sandbox_mode {
	SANDBOX_OFF,
	SANDBOX_ON,
	SANDBOX_LOG, /* refuses no system call: the kernel's log names those that would be */
};

struct sandbox_opts {
	enum sandbox_mode mode;
	bool opens;    /* devices may be added by path */
	bool children; /* there are some, to be ended and waited for: passt */
};

/* "off", "on" or "log", as the value of --sandbox. 0, or -EINVAL with e. */
int sandbox_parse(const char *text, enum sandbox_mode *ret_mode, struct err *e);
/* What --sandbox is when it is not given: on; off in a build with a sanitizer, whose runtime does
 * all that is forbidden here. */
enum sandbox_mode sandbox_default(void);

/* Closes every descriptor above stderr but the n of `keep`: what a careless parent left open. To
 * be called first of all. 0 or a negative errno. */
int sandbox_close_others(const int *keep, unsigned n);

/* For good, for this thread and all it will make: before the first worker. 0, or a negative errno
 * with e; then the process must end. A kernel without Landlock is no error, one without seccomp
 * is. */
int sandbox_enter(const struct sandbox_opts *o, struct err *e);

#endif
