/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of vm console that need no terminal and no machine. */
#ifndef TOOLS_POLYCTL_CONSOLE_H
#define TOOLS_POLYCTL_CONSOLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "vmm/base/err.h"

/* Takes the escapes out of what a person typed, in place: Ctrl-A x leaves, Ctrl-A and another key
 * is that key, as on polyvisor's own terminal. */
struct escape {
	bool ctrl_a; /* the last byte was one */
	bool leave;
};
size_t escape_filter(struct escape *s, char *p, size_t n);

/* Where the console of that name ("serial" or "console") can be attached to, from the answer of
 * vm.info, which the path is borrowed from. An error says what it does instead. */
int console_find(const json_t *info, const char *name, bool *ret_is_socket, const char **ret_path,
	struct err *e);

/* Our terminal, raw, and fd, until either ends; path is its name for messages. Without a terminal
 * the standard streams are copied. A signal that ends it is raised when the terminal is back. */
int console_attach(const char *path, int fd, FILE *err);

#endif
