/* SPDX-License-Identifier: Apache-2.0 */
/* The unix socket that an API is served on: made, or given by whoever started us. */
#ifndef VMM_HTTP_LISTEN_H
#define VMM_HTTP_LISTEN_H

#include <sys/types.h>
#include "vmm/base/err.h"

struct http_socket {
	int fd;	    /* -1 = none, or the HTTP server's by now */
	char *path; /* of the file that we made; NULL = somebody gave us fd */
	dev_t dev;
	ino_t ino;
};

/* where is the flag's value: "path=FILE", "FILE" or "fd=N" (taken). A stale file that nobody serves
 * is replaced; e names the flag. */
int http_socket_open(
	const char *flag, const char *where, struct http_socket *ret_socket, struct err *e);
/* Closes, and removes the file if it is still ours. */
void http_socket_close(struct http_socket *s);

#endif
