/* SPDX-License-Identifier: Apache-2.0 */
/* Errors for people. Inside, functions return a negative errno and pass it on. At the edges (option
 * parsing, opening what the user named, control) a function also fills a `struct err`: what went
 * wrong, in one line that names the flag and field and says what is allowed. The kind picks the
 * exit status (and later the HTTP code). */
#ifndef VMM_BASE_ERR_H
#define VMM_BASE_ERR_H

#include <errno.h>

enum err_kind {
	ERR_NONE,
	ERR_USAGE,     /* a flag or value outside what is allowed: exit 2, HTTP 400 */
	ERR_NOT_FOUND, /* no such id: exit 1, HTTP 404 */
	ERR_CONFLICT,  /* a duplicate, or not legal in this state: exit 1, HTTP 409 */
	ERR_UNOFFERED, /* this build, chip or host does not do that: exit 1, HTTP 501 */
	ERR_HOST,      /* the host refused or lacks something: exit 1, HTTP 500 */
};

struct err {
	enum err_kind kind;
	char text[320]; /* one line, no newline */
};

/* Fills e (which may be NULL) unless it is already filled, the first error being the cause, and
 * returns code, a negative errno, so that callers write `return err_set(e, …)`. */
int err_set(struct err *e, enum err_kind kind, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The process exit status for e: 2 for usage, else 1. */
int err_exit_status(const struct err *e);

#endif
