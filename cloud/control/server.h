/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server of the API: libmicrohttpd's epoll descriptor inside our loop, so that handlers
 * run on the control thread and answer now or, with the connection suspended, later.
 *
 *   request line ► uri ► headers ► who is it ► row ► body, checked ► handler ► answer
 *
 * One daemon for the unix socket and one for TCP, which is always TLS. */
#ifndef CLOUD_CONTROL_SERVER_H
#define CLOUD_CONTROL_SERVER_H

#include "cloud/control/route.h"
#include "vmm/base/log.h"

#define BODY_MAX (1u << 20) /* bytes of a request's body, except where a row streams */

struct server;
struct server_opts {
	int unix_fd;	    /* listening; taken. -1: none */
	int tcp_fd;	    /* listening; taken. -1: none */
	const char *cert;   /* PEM of the certificate and of its key, for tcp_fd; borrowed */
	const char *key;    /* for as long as the server lives */
	const char *url;    /* "https://HOST:PORT" for token files; NULL: none */
	const char *pinned; /* the certificate's SHA-256; NULL: none */
};

struct route_table {
	const struct route *rows;
	unsigned n;
};

/* tables ends with rows NULL. c->server is set by the caller. */
int server_new(struct control *c, const struct route_table *tables, const struct server_opts *o,
	struct server **ret_server, struct err *e);
/* Ends connections; every call that is not answered yet goes nowhere, pipes are closed. Whoever
 * still holds a call must have been freed before. */
void server_free(struct server *s);

/* Where other hosts reach the API and the SHA-256 of its certificate (64 hexadecimal digits); NULL
 * without TCP. */
const char *server_url(const struct control *c);
const char *server_fingerprint(const struct control *c);

#endif
