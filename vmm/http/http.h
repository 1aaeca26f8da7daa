/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 on a unix socket (RFC 9112), enough for an API: requests with a body, keep-alive, file
 * descriptors that came with the bytes (SCM_RIGHTS), replies now or later, and open-ended streams.
 * It knows sockets and HTTP, not the API. One thread, one loop; nothing a client does blocks it.
 *
 *   idle ──first byte──► reading ──whole──► handler ──http_reply──► writing ──► idle, or closed
 *                          │ too slow, too large, malformed: an error reply, closed          */
#ifndef VMM_HTTP_HTTP_H
#define VMM_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

#define HTTP_BODY_MAX (4u << 20)	    /* bytes; larger is 413 */
#define HTTP_HEAD_MAX (16u << 10)	    /* bytes of request line and headers; larger is 431 */
#define HTTP_FDS      16		    /* with one request; more is 400 */
#define HTTP_CLIENTS  2048		    /* one more is answered 503 and closed */
#define HTTP_READ_NS  UINT64_C(10000000000) /* from the first byte to the last; then 408 */

struct http_server;

/* One request, owned by the server until it is answered. The client may be gone meanwhile; answers
 * then go nowhere. */
struct http_req {
	char method[16];
	const char *path;  /* without the query */
	const char *query; /* "" when none */
	const char *body;  /* NUL-terminated behind len bytes */
	size_t len;
	const char *last_event_id; /* header, or NULL */
	int fds[HTTP_FDS]; /* what the handler wants of them it takes, setting -1; the rest is
			      closed with the answer */
	unsigned nfds;
	void *priv; /* the server's */
};

struct http_handler {
	/* A whole request. Answer with http_reply() or http_stream(), now or later. Nothing in here
	 * calls it but the loop: an answer never leads to the next request before it returns. */
	void (*request)(struct http_req *r, void *arg);
	/* A stream that http_stream() began has ended: its client left, or is too slow. The pointer
	 * is dead afterwards. */
	void (*stream_gone)(struct http_req *r, void *arg);
	void *arg;
};

/* Serves the listening unix stream socket fd, which it takes, also on error. Loop thread, or before
 * it runs. */
int http_server_new(struct ev_loop *loop, int fd, const struct http_handler *h, struct log *log,
	struct http_server **ret_server);
/* Sends what can be sent within a second and closes everything; each stream_gone is called, and
 * requests without an answer are dead. While loop exists: from a handler of it, or when it does not
 * run. NULL is fine. */
void http_server_free(struct http_server *s);

/* Answers and gives r back. type NULL: no body. body is copied. status 204 has none. The head and a
 * short body leave in one send. */
void http_reply(
	struct http_req *r, unsigned status, const char *type, const char *body, size_t len);
/* As http_reply, with one more header line, "Allow: GET". */
void http_reply_header(struct http_req *r, unsigned status, const char *header, const char *type,
	const char *body, size_t len);

/* Answers 200 with a body that goes on until the client leaves; r stays valid until stream_gone.
 * -EPIPE or -ENOMEM: there is no client any more, r is given back, no stream_gone comes. */
int http_stream(struct http_req *r, const char *type);
/* Sends a chunk, copied. A client that lets more than 256 KiB pile up is cut off: -EPIPE, and
 * stream_gone comes later. */
int http_stream_write(struct http_req *r, const char *text, size_t len);
/* Ends the body and gives r back; no stream_gone comes. */
void http_stream_end(struct http_req *r);

unsigned http_clients(const struct http_server *s);

#endif
