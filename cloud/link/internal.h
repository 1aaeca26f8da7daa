/* SPDX-License-Identifier: Apache-2.0 */
/* What the link's files share.
 *
 *   wire ─► session.c (reads, writes, keepalive, the end) ─► frames.c (nghttp2's callbacks)
 *                                                              │
 *                        client.c: calls, streams  ◄───────────┼──────► server.c: requests
 *                                        stream.c: bytes with flow control
 *
 * A user's callback may call anything here, link_free() too: `depth` counts how deep we are in
 * callbacks, and a link that is freed inside one is taken apart at once but its memory goes when
 * the last has returned. */
#ifndef CLOUD_LINK_INTERNAL_H
#define CLOUD_LINK_INTERNAL_H

#include <nghttp2/nghttp2.h>
#include "cloud/link/link.h"
#include "vmm/base/list.h"

#define LINK_WINDOW	 (256u << 10) /* of a stream, and the bound of its queue */
#define LINK_CONN_WINDOW (4u << 20)
#define LINK_HEADERS_MAX (16u << 10) /* bytes of one message's header fields */
#define LINK_BODIES_MAX	 (64u << 20) /* of all calls and requests that are under way together */

/* A queue of bytes. Zero is empty. */
struct link_buf {
	char *p;
	size_t off, len, cap; /* len bytes from p + off */
};
int link_buf_add(struct link_buf *b, const void *p, size_t n);
void link_buf_drop(struct link_buf *b, size_t n); /* from the front; n <= len */
void link_buf_fini(struct link_buf *b);

/* A request in the handler's hands; outlives its stream and its link. */
struct link_req_full {
	struct link_req pub;
	struct link *l;	       /* NULL: the link has gone */
	struct link_stream *s; /* NULL: the stream has gone */
	struct list node;      /* in l->requests */
};

struct link_stream {
	struct link *l;
	struct list node;  /* in l->streams */
	struct list ready; /* in l->ready: has something to tell at the next turn */
	int32_t id;	   /* 0: never got as far as the session */

	const struct link_stream_ops
		*ops; /* of a stream; NULL for a call and an unaccepted request */
	void *arg;
	link_reply_fn *done; /* of a call */
	void *done_arg;
	const char *fail; /* of a call that could not be sent: why; told at the next turn */

	/* server: what the headers said */
	char *method, *path, *query, *request_id;
	struct link_req_full *req; /* the request that is in the handler's hands */
	bool asked;		   /* request() was called */
	bool replied;		   /* whole answer given: the peer need not send more */

	unsigned status; /* client: of the answer */
	bool answered;
	size_t headers;	     /* bytes of header fields so far */
	struct link_buf in;  /* body of a call, or what came before link_accept() */
	struct link_buf out; /* waits for the peer's window */
	bool out_end;	     /* nothing comes after `out` */
	bool deferred;	     /* the session waits for more of `out` */
	bool drained;	     /* writable() is owed */
	bool in_end;	     /* the peer's last byte has come */
	bool eof_owed;	     /* ... and eof() is owed */
	bool reset;	     /* by us: its bytes are not told any more */
	bool whole;	     /* the call's answer is complete */
};

struct link {
	struct ev_loop *loop;
	struct link_wire *w;
	struct ev_fd fd;
	uint32_t interest;
	nghttp2_session *h2;
	bool server;
	struct link_events ev;	     /* client */
	struct link_handler handler; /* server */
	struct list streams, requests, ready;
	unsigned nstreams, nrequests;
	size_t bodies; /* bytes in the `in` of calls and requests */

	const uint8_t *out; /* the rest of what the session gave us last */
	size_t out_len;
	struct ev_timer wake;	/* work that does not wait for the wire */
	struct ev_timer ticker; /* keepalive */
	uint64_t tick_ns, dead_ns;
	uint64_t heard_ns; /* when bytes came last */
	bool ping_out;

	unsigned depth;
	bool broken; /* gone() is owed or told; nothing works any more */
	bool told, freed;
	char why[160];
};

/* session.c */
int link_new(struct ev_loop *loop, struct link_wire *w, bool server, struct link **ret_link);
void link_kick(struct link *l);			      /* there is something to send or to tell */
void link_break(struct link *l, const char *fmt, ...) /* the connection is over */
	__attribute__((format(printf, 2, 3)));
/* For tests: how often to look, and after how long without a byte the peer is dead. */
void link_keepalive(struct link *l, uint64_t tick_ns, uint64_t dead_ns);

/* frames.c */
int link_session_new(struct link *l);

/* stream.c */
struct link_stream *link_stream_new(struct link *l);
void link_stream_ready(struct link_stream *s); /* tells what is owed at the next turn */
void link_stream_tell(struct link_stream *s);  /* … which is now */
void link_stream_data(struct link_stream *s, const void *p, size_t n);
void link_stream_eof(struct link_stream *s);
void link_stream_over(struct link_stream *s, int error);	      /* tells the owner, frees */
int link_stream_keep(struct link_stream *s, const void *p, size_t n); /* into `in`, bounded */
nghttp2_data_provider link_stream_source(struct link_stream *s);
nghttp2_nv link_nv(const char *name, const char *value);

/* client.c */
void link_call_over(struct link_stream *s, int error);

/* server.c */
int link_server_headers(struct link_stream *s, bool end);
void link_server_body(struct link_stream *s); /* the body is whole */
void link_server_detach(struct link_stream *s);

#endif
