/* SPDX-License-Identifier: Apache-2.0 */
/* The connection between a node and the control plane. The node dials out (so it may be behind
 * NAT), asks for `Upgrade: polycloud-node/1`, and from the 101 on the roles turn: HTTP/2 (RFC 9113)
 * with the control plane as its client and the node as its server. Commands, reports, consoles and
 * tunnels are streams of that one connection, each with its own flow control. In `polycloud up`
 * both ends are in one process and the bytes go over a socketpair: nothing else differs.
 *
 *   control:  link_call(), link_open()  ──► streams ──►  node: struct link_handler
 *
 * One loop, one thread; nothing blocks. */
#ifndef CLOUD_LINK_LINK_H
#define CLOUD_LINK_LINK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "vmm/base/err.h"
#include "vmm/base/ev.h"

/* Bytes of a call's or a reply's body; larger resets the stream. */
#define LINK_BODY_MAX (4u << 20)
#define LINK_STREAMS  1024 /* open at a time; one more is refused */

struct link;
struct link_stream;

/* The bytes below the link: a socket, or TLS over one. The link owns it. read and write return
 * bytes, 0 at the end of read, -EAGAIN, or a negative errno. */
struct link_wire {
	ssize_t (*read)(struct link_wire *w, void *buf, size_t cap);
	ssize_t (*write)(struct link_wire *w, const void *buf, size_t len);
	bool (*pending)(struct link_wire *w); /* bytes decrypted and not yet read */
	void (*free)(struct link_wire *w);
	int fd; /* to wait on */
};
struct link_wire *link_wire_socket(int fd); /* takes fd; NULL: no memory, fd is closed */
/* inner, of which somebody has read len bytes already: they come first. Takes inner, also when it
 * returns NULL (no memory). */
struct link_wire *link_wire_after(struct link_wire *inner, const void *first, size_t len);

/* A stream with bytes both ways. The callbacks belong to who opened or accepted it. */
struct link_stream_ops {
	/* Opener only: the answer's status came; the body follows. */
	void (*answered)(struct link_stream *s, unsigned status, void *arg);
	/* Bytes came. They count against the window until link_stream_took(). */
	void (*data)(struct link_stream *s, const void *p, size_t n, void *arg);
	/* What was queued has gone: more may be written. */
	void (*writable)(struct link_stream *s, void *arg);
	/* The other end says no more bytes come (half closed). */
	void (*eof)(struct link_stream *s, void *arg);
	/* The stream is over, by either side or with the connection; s is dead afterwards. error is
	 * 0 or a negative errno. Always called exactly once. */
	void (*closed)(struct link_stream *s, int error, void *arg);
};
/* Queues n bytes, copied; returns how many more may be queued before writable() must be awaited
 * (the queue is bounded at 256 KiB: -EAGAIN and nothing taken beyond it). -EMSGSIZE: n alone is
 * more than that; -EPIPE: this side has ended or the stream is over. */
ssize_t link_stream_write(struct link_stream *s, const void *p, size_t n);
void link_stream_took(struct link_stream *s, size_t n); /* opens the window by n again */
void link_stream_end(struct link_stream *s);		/* no more bytes from this side */
void link_stream_reset(struct link_stream *s);		/* ends it now; closed() comes later */

/* ---- control's end ---- */

struct link_events {
	/* The connection is over: every call has been answered with status 0, every stream closed.
	 * The link is freed by its owner, not before this returns. */
	void (*gone)(struct link *l, const char *why, void *arg);
	void *arg;
};
int link_client_new(struct ev_loop *loop, struct link_wire *w, const struct link_events *ev,
	struct link **ret_link);

/* A call's end. status 0: no answer (body NULL, why in error). body is parsed JSON, NULL when there
 * was none; borrowed. Always called exactly once, never from inside link_call(). */
typedef void link_reply_fn(void *arg, unsigned status, json_t *body, const char *error);
/* method and path as in HTTP ("PUT", "/v1/instances/i-…"); body NULL or JSON, borrowed. */
void link_call(struct link *l, const char *method, const char *path, const json_t *body,
	const char *request_id, link_reply_fn *done, void *arg);
/* Opens a stream: method "POST" and a path such as /v1/instances/ID/console. */
int link_open(struct link *l, const char *method, const char *path, const char *request_id,
	const struct link_stream_ops *ops, void *arg, struct link_stream **ret_stream);

/* ---- the node's end ---- */

struct link_req {
	const char *method, *path, *query, *request_id;
	json_t *body;		    /* parsed, NULL when none; borrowed until answered */
	struct link_stream *stream; /* for link_accept */
	void *priv;
};
struct link_handler {
	/* A request whose headers came. stream_ok tells whether the path takes a stream: then
	 * request() is called at once, without the body, and answers with link_accept() or
	 * link_reply(); otherwise it is called with the whole body. Answer now or later. */
	bool (*stream_ok)(const char *method, const char *path, void *arg);
	void (*request)(struct link_req *r, void *arg);
	void (*gone)(struct link *l, const char *why, void *arg);
	void *arg;
};
int link_server_new(struct ev_loop *loop, struct link_wire *w, const struct link_handler *h,
	struct link **ret_link);
/* Answers with JSON (borrowed; NULL: no body) and gives r back. */
void link_reply(struct link_req *r, unsigned status, const json_t *body);
/* Answers with a problem document (RFC 9457). */
void link_problem(struct link_req *r, unsigned status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Answers 200, and the stream goes on; gives r back. NULL: the stream has gone meanwhile, and no
 * callback is called. What came already is told after this returns. */
struct link_stream *link_accept(struct link_req *r, const struct link_stream_ops *ops, void *arg);
/* The body comes by data() and eof(), and nothing is answered yet: r stays in hand until
 * link_reply() or link_problem(), which may come at any time, also after closed(). NULL as above
 * (r is still to be answered). */
struct link_stream *link_take_body(
	struct link_req *r, const struct link_stream_ops *ops, void *arg);

/* Both ends. Closes everything; callbacks are called with the cause before it returns. NULL is
 * fine. */
void link_free(struct link *l);

#endif
