/* SPDX-License-Identifier: Apache-2.0 */
/* TLS in front of the HTTP server: accepts connections, and gives the server one end of a socket
 * pair for each whose handshake is done. The server itself then speaks plain HTTP, also after an
 * upgrade: libmicrohttpd 0.9.75 copies what is upgraded under its own TLS four bytes at a time,
 * since by then the answer's buffer has taken its whole memory pool. One thread. */
#ifndef CLOUD_CONTROL_FRONT_H
#define CLOUD_CONTROL_FRONT_H

#include <sys/socket.h>
#include "vmm/base/err.h"
#include "vmm/base/ev.h"

struct front;
struct front_opts {
	int fd;			/* listening, non-blocking; taken, also on failure */
	const char *cert, *key; /* PEM */
	/* A client is there: fd is non-blocking and now the callee's. */
	void (*opened)(void *arg, int fd, const struct sockaddr *a, socklen_t len);
	void *arg;
};

int front_new(
	struct ev_loop *loop, const struct front_opts *o, struct front **ret_front, struct err *e);
/* Ends all connections. NULL is fine. */
void front_free(struct front *f);

#endif
