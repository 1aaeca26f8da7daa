/* SPDX-License-Identifier: Apache-2.0 */
/* The transport: one call of an API, over a connection of its own. Today that is HTTP on a unix
 * socket, which can carry file descriptors; callers see only these two functions. */
#ifndef TOOLS_POLYCTL_CLIENT_H
#define TOOLS_POLYCTL_CLIENT_H

#include <stddef.h>
#include "vmm/base/err.h"

#define CLIENT_FDS 16 /* with one request, as many as the server takes */

struct client_req {
	const char *method, *path; /* "PUT", "/api/v1/vm.boot" */
	const char *body;	   /* JSON text, or NULL */
	size_t len;
	const int *fds; /* go with the first byte (SCM_RIGHTS); stay the caller's */
	unsigned nfds;
	/* Called for every second that the answer is waited for; may be NULL. */
	void (*tick)(void *arg, unsigned seconds);
	void *arg;
};

struct client_reply {
	unsigned status;
	char type[64]; /* media type, "" when none */
	char *body;    /* NUL-terminated behind len bytes; NULL when there is none; free() it */
	size_t len;
};

/* Calls and waits for the whole answer, whatever its status is. A negative errno, with e naming the
 * socket and what to do, when there is no answer. */
int client_call(const char *socket, const struct client_req *q, struct client_reply *ret_reply,
	struct err *e);

/* The same for an answer that goes on: the body of a 200 is given to take() as it comes, until
 * take() does not return 0 or the server ends it. Any other status is collected as by client_call.
 */
int client_stream(const char *socket, const struct client_req *q,
	int (*take)(void *arg, const char *p, size_t n), void *arg, struct client_reply *ret_reply,
	struct err *e);

#endif
