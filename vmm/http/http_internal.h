/* SPDX-License-Identifier: Apache-2.0 */
/* What http.c (the server), http_conn.c (connections), http_request.c (bytes in) and http_reply.c
 * (bytes out) share.
 *
 * A connection that waits for a request is one struct http_conn. The first byte brings a struct
 * http_work, which goes with the answer. A connection is freed in http_conn_end() only, which its
 * own events, its deadline and answers call as the last thing that they do with it. What must wait
 * until the caller is off the stack goes through http_conn_later(). */
#ifndef VMM_HTTP_HTTP_INTERNAL_H
#define VMM_HTTP_HTTP_INTERNAL_H

#include <http_parser.h>
#include <sys/uio.h>
#include "vmm/http/http.h"
#include "vmm/base/list.h"

#define HTTP_READ_BYTES	     (16u << 10)  /* of one recvmsg */
#define HTTP_BACKLOG_MAX     (256u << 10) /* of a stream's client */
#define HTTP_HELD_MAX	     (64u << 20)  /* bytes of requests, over all clients; then 503 */
#define HTTP_ACCEPT_AGAIN_NS UINT64_C(100000000)
#define HTTP_FLUSH_NS	     UINT64_C(1000000000)

enum http_state {
	HTTP_READING,	/* waits for a request, or (with work) for the rest of it */
	HTTP_HANDLING,	/* the request is the handler's */
	HTTP_STREAMING, /* likewise, and its answer goes on */
	HTTP_WRITING,	/* the answer's rest waits for the client */
	HTTP_LINGERING, /* answered and closed for writing, while the client may still be sending:
			   a close now would take the answer from it (RFC 9112 §9.6) */
};

/* Bytes of the next request that came with the last bytes of this one. */
struct http_rest {
	int fds[HTTP_FDS];
	unsigned nfds;
	size_t len;
	char bytes[];
};

struct http_conn {
	struct ev_fd w; /* fd -1: the client has left, its request is still being handled */
	struct http_server *server;
	struct list link;  /* in server->conns */
	struct list due;   /* in server->due while something is expected of the client */
	struct list later; /* in server->later */
	uint64_t due_ns;
	struct http_work *work;
	struct http_rest *rest;
	char *out; /* what the socket did not take: out_len bytes from out_at */
	uint32_t out_at, out_len, out_cap;
	uint32_t watched; /* epoll events */
	uint8_t state;
	bool close;  /* after this answer */
	bool linger; /* not all of the request was read */
	bool cut;    /* the stream has failed; stream_gone is on its way */
};

/* One request. buf holds URL, Last-Event-ID and body, in the order in which they come, each with a
 * NUL behind it. */
struct http_work {
	struct http_req req;
	http_parser parser;
	struct http_conn *conn;
	char *buf;
	size_t len, cap;
	size_t head;	 /* bytes of the request line and headers so far */
	size_t value_at; /* in buf, of the header at hand */
	size_t id_at;	 /* Last-Event-ID, 0 = none */
	size_t body_at;
	char name[24]; /* of the header at hand; longer ones are none of ours */
	uint8_t name_len;
	uint8_t hosts;
	bool in_value, head_done, whole, expects, keep_alive, began;
	unsigned status; /* of the refusal; 0 = none */
	const char *why;
};

#define HTTP_CROWD 256 /* clients at once that are worth a trim */

struct http_server {
	struct ev_loop *loop;
	struct ev_fd listener;
	struct http_handler handler;
	struct log *log;
	struct log_limit refused, full;
	struct list conns;
	unsigned nconns, peak; /* peak: since the heap was last trimmed */
	size_t held;	       /* of HTTP_HELD_MAX */
	uint64_t patience_ns;  /* HTTP_READ_NS, and shorter in tests */
	struct list due;       /* by due_ns: each waits equally long */
	struct list later;
	struct ev_timer due_timer, later_timer, accept_timer;
};

/* http_conn.c */
int http_conn_new(struct http_server *s, int fd); /* takes fd on success only */
void http_conn_watch(struct http_conn *c, uint32_t events);
/* The client owes us progress from now on; none in patience_ns ends the connection. */
void http_conn_expect(struct http_conn *c);
void http_conn_expect_nothing(struct http_conn *c);
/* Looks after c at the end of this round of the loop. */
void http_conn_later(struct http_conn *c);
/* The answer is sent, or there is nobody to send it to: what comes next? May free c. */
void http_conn_answered(struct http_conn *c);
/* Closes and frees, with its work. */
void http_conn_end(struct http_conn *c);
/* Closes; c stays until its request is answered. */
void http_conn_lost(struct http_conn *c);
/* For a stream whose client is gone or given up: tells its owner, then as http_conn_end(). */
void http_conn_end_stream(struct http_conn *c);
/* What the timers do with c; may free it. */
void http_conn_look_after(struct http_conn *c);
void http_conn_overdue(struct http_conn *c);

/* http_request.c */
/* Takes n bytes of c's request and the fds that came with them, which it owns from now on. The
 * last thing to do with c: calls the handler, or refuses the request. */
void http_feed(struct http_conn *c, const char *p, size_t n, const int *fds, unsigned nfds);
void http_work_free(struct http_work *w); /* closes the fds, too; NULL is fine */
void http_rest_free(struct http_conn *c);

/* http_reply.c */
/* An error answer to c, which is then closed. May free c. */
void http_refuse(struct http_conn *c, unsigned status, const char *why);
/* Sends what waits: 0, 1 when some still does, or negative: the client has gone. */
int http_flush(struct http_conn *c);
/* Sends iov now or keeps it for later: 0, 1 (some is kept), -ENOMEM, or the client has gone. */
int http_send(struct http_conn *c, struct iovec *iov, unsigned n);
/* Ends the stream's body without waiting: as http_send. */
int http_stream_last(struct http_conn *c);
/* The refusal of a client for whom there is no http_conn. */
void http_turn_away(int fd);

#endif
