/* SPDX-License-Identifier: Apache-2.0 */
/* "fd=N" where a path is taken: N was opened by whoever started us, or came with a request, and
 * stays theirs to close; what we start does not inherit it. */
#ifndef VMM_BASE_FD_ARG_H
#define VMM_BASE_FD_ARG_H

#include <fcntl.h>
#include "vmm/base/err.h"

/* access is O_RDONLY or O_WRONLY. A descriptor of our own, closed on exec; -ENOENT with e untouched
 * when text is a path; or a negative errno with e naming the flag. */
int fd_arg(const char *flag, const char *text, int access, struct err *e);

/* A duplicate of fd, closed on exec; or a negative errno with e naming flag and id. */
int fd_duplicate(const char *flag, const char *id, int fd, struct err *e);

#endif
