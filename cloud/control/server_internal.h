/* SPDX-License-Identifier: Apache-2.0 */
/* What the files server*.c, pipe.c, sse.c and metrics.c share. */
#ifndef CLOUD_CONTROL_SERVER_INTERNAL_H
#define CLOUD_CONTROL_SERVER_INTERNAL_H

#include <microhttpd.h>
#include "cloud/control/auth.h"
#include "cloud/control/control.h"
#include "cloud/control/front.h"
#include "cloud/control/router.h"
#include "cloud/control/server.h"

struct req;
struct follower;

struct listener {
	struct server *server;
	struct MHD_Daemon *mhd; /* NULL: not there */
	struct ev_fd epoll;
	struct front *front; /* of the one with TLS */
	bool local;
};

/* What /metrics tells of a row. */
#define BUCKETS 8
struct route_stats {
	uint64_t by_class[6]; /* answers, by the first digit of the status */
	uint64_t bucket[BUCKETS];
	uint64_t ns;
};

struct server {
	struct control *control;
	struct ev_loop *loop;
	struct listener listener[2];
	struct ev_timer timer; /* when libmicrohttpd wants to be run without news */
	struct router router;
	struct route_stats *stats;   /* one for each row */
	struct req *reqs;	     /* all */
	struct pipe_end *pipes;	     /* all */
	struct follower *followers;  /* event streams */
	struct obj_watch watch;	     /* for them */
	struct ev_timer wake;	     /* likewise, and their keep-alive */
	uint64_t refused, bad_token; /* counters */
	const char *url, *pinned;
};

/* One request, from its first line until libmicrohttpd has forgotten it and it is answered. */
struct req {
	struct call call;
	struct server *server;
	struct listener *listener;
	struct req *next, **at;	     /* server->reqs */
	struct MHD_Connection *conn; /* NULL once the client has gone */
	enum { REQ_NEW, REQ_HEADERS, REQ_BODY, REQ_WHOLE } phase;
	bool in_callback; /* libmicrohttpd is asking: an answer may be queued at once */
	bool suspended, answered, done /* by libmicrohttpd */;
	bool refused;  /* before the row was reached */
	bool too_much; /* body beyond BODY_MAX */
	uint64_t start_ns;

	struct uri uri;
	char *target; /* the path as asked, for people */
	char id[72];  /* request_id */
	struct identity who;
	char project[64];
	unsigned row; /* index in router.row; ~0u = none */

	char *body;
	size_t body_len, body_cap;
	const struct body_ops *stream;
	void *stream_arg;
	bool stream_over;

	struct MHD_Response *response; /* answered while the body still comes */
	unsigned status;
	json_t *doc;	       /* of the answer, kept for the idempotency table */
	char idempotency[200]; /* its key there; "" = none */
	struct pipe_end *pipe; /* to be connected at the upgrade */
};

/* server.c */
void server_kick(struct server *s); /* something was resumed: libmicrohttpd must run */

/* server_req.c */
struct req *req_new(struct listener *l, const char *target);
void req_free(struct req *r);
/* Headers are here: who, which row, may they. Answers by itself when not. */
void req_begin(struct req *r, const char *method);
int req_take(struct req *r, const char *p, size_t n);
void req_whole(struct req *r); /* the body too: checks it and calls the handler */
void req_gone(struct req *r);  /* the client has gone, or all has been sent */

/* server_reply.c */
/* response is taken; NULL: there was no memory, and the connection is closed. */
void req_answer(struct req *r, unsigned status, struct MHD_Response *response);
struct MHD_Response *response_json(const json_t *doc, const char *type);
static inline struct req *req_of(struct call *c)
{
	return (struct req *)c;
}

/* idempotency.c: true when the request has been answered from the table, or refused. */
bool idempotency_seen(struct req *r);
void idempotency_keep(struct req *r, unsigned status);

/* sse.c */
void followers_init(struct server *s);
void followers_fini(struct server *s);
const struct follower *follower_next(const struct follower *f);
/* Whose token is no more follows no more; soon, not inside the call. */
void followers_revoke(struct server *s, const char *token_id);

/* pipe.c */
void pipe_gone(struct pipe_end *p); /* its request ended before the upgrade */
void pipes_fini(struct server *s);
void pipes_revoke(struct server *s, const char *token_id); /* as followers_revoke() */

/* audit.c */
void audit(struct req *r, unsigned status);

#endif
