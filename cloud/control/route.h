/* SPDX-License-Identifier: Apache-2.0 */
/* What an area of the API gives to the server: rows of (method, path, handler, who may, what the
 * body may hold). The same rows route, check, and make the OpenAPI document. A handler gets a
 * `struct call`, one request in hand, and answers it now or later. It sees no HTTP library. Control
 * thread only. */
#ifndef CLOUD_CONTROL_ROUTE_H
#define CLOUD_CONTROL_ROUTE_H

#include <jansson.h>
#include "cloud/control/objects.h"
#include "vmm/base/ev.h"

struct control; /* the daemon's parts: cloud/control/control.h */

/* ---- tables ---- */

enum field_type {
	F_STR,
	F_NAME,
	F_INT,
	F_BOOL,
	F_ENUM,
	F_STRS /* of strings */,
	F_LABELS,
	F_OBJECTS,
	F_OBJECT,
	F_ANY
};
enum {
	F_REQUIRED = 1,
	F_NULL = 2 /* null is taken */,
	F_FIXED = 4 /* not by PATCH */,
	F_ADMIN = 8 /* admin only */,
	F_OUTPUT = 16 /* only in answers */
};
struct field {
	const char *name;
	enum field_type type;
	unsigned flags;
	int64_t min, max; /* F_INT: value; F_STR: bytes; F_STRS, F_OBJECTS: items; max 0 = 4096 */
	const char *const *values; /* F_ENUM, NULL-terminated */
	const struct field *of;	   /* F_OBJECT, F_OBJECTS: ends with name NULL */
	const char *help;
};
/* Checks a body against a table (ends with name NULL): unknown key, wrong type, out of range,
 * missing. -EINVAL and e ("instances.cpus: 900 is not allowed; allowed: 1 to 128"); ret_field is
 * the path. */
int fields_check(const struct field *t, const json_t *body, bool patch, bool admin,
	char ret_field[64], struct err *e);
json_t *fields_schema(const struct field *t, bool output); /* JSON Schema; new reference */

enum role { ROLE_NONE /* anyone, before authentication */, ROLE_PROJECT, ROLE_ADMIN, ROLE_NODE };

/* ---- a request ---- */

struct call {
	struct control *control;
	const char *method, *path;
	const char *param[4]; /* what {…} in the path stood for, percent-decoded */
	json_t *body;	      /* NULL when none; checked against the row's table; borrowed */
	enum role role;
	const char *project; /* name of the project it acts in; for admin what ?project= says */
	const char *actor;   /* "token:NAME", "local:UID", "node:NAME" */
	const char *request_id;
	const char *token_id; /* of the token that it came with; NULL: none, the unix socket */
	const struct route *route;
	void *priv; /* the server's */
};
const char *call_query(const struct call *c, const char *key);	 /* decoded; NULL when absent */
const char *call_header(const struct call *c, const char *name); /* NULL when absent */
/* The named object of the caller's project, or NULL after answering 404. */
struct obj *call_obj(struct call *c, enum kind k, const char *id_or_name);
/* If-Match against o: true, or false after answering 412. */
bool call_if_match(struct call *c, const struct obj *o);
uint64_t call_expect(const struct call *c); /* If-Match's revision or STORE_ANY */

/* Each answers and gives c back. doc is taken, NULL = no body. */
void call_reply(struct call *c, unsigned status, json_t *doc);
void call_reply_obj(
	struct call *c, unsigned status, const struct obj *o); /* + ETag, Location on 201 */
void call_reply_text(
	struct call *c, unsigned status, const char *type, const char *text, size_t len);
/* field NULL: none. The text is one line that says what is wrong and what is allowed. */
void call_problem(struct call *c, unsigned status, const char *field, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void call_err(struct call *c, const struct err *e); /* kind picks the status */
/* A later answer must know that the client may have gone: then answers go nowhere, c stays valid
 * until answered. */

/* ---- bytes both ways: WebSocket (RFC 6455, binary messages) or `Upgrade: polycloud-stream` ----
 */
struct pipe_end;
struct pipe_ops {
	void (*data)(struct pipe_end *p, const void *buf, size_t n, void *arg);
	void (*writable)(struct pipe_end *p, void *arg);
	void (*closed)(struct pipe_end *p, void *arg); /* once; p is dead afterwards */
};
/* Answers 101 and gives c back; NULL after answering 426 or 400. */
struct pipe_end *call_upgrade(struct call *c, const struct pipe_ops *ops, void *arg);
ssize_t pipe_write(struct pipe_end *p, const void *buf, size_t n); /* as link_stream_write */
void pipe_took(struct pipe_end *p, size_t n); /* data() pauses when 256 KiB are not taken */
void pipe_close(struct pipe_end *p);	      /* after what was written has gone; closed() comes */
/* The same for a protocol of its own that needs the bare descriptor-like wire (the nodes' link): */
struct link_wire;
struct link_wire *call_upgrade_wire(struct call *c, const char *protocol); /* gives c back */

/* A body of any length, in pieces, for rows with .stream = true; handler is called at the headers.
 */
struct body_ops {
	int (*piece)(void *arg, const void *p, size_t n); /* negative: stop reading, then end() */
	void (*end)(void *arg,
		int error); /* whole (0), client left or stopped; answer c in here or later */
};
void call_take_body(struct call *c, const struct body_ops *ops, void *arg);

/* ---- rows ---- */
struct route {
	const char *method, *path; /* "POST", "/v1/instances/{id}/actions/{action}" */
	void (*handle)(struct call *c);
	enum role role;		   /* least; admin may do what project may */
	const struct field *body;  /* NULL: no body is taken */
	const struct field *reply; /* for the OpenAPI document; NULL: none */
	const char *summary;	   /* one clause */
	bool stream;		   /* call_take_body() */
	bool patch;		   /* body holds only what changes */
	bool list;		   /* reply is {items, next} */
	bool action;		   /* goes into the audit log although it is a GET */
};

#endif
