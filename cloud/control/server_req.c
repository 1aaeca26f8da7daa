/* SPDX-License-Identifier: Apache-2.0 */
/* A request on its way to its handler. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include "cloud/control/server_internal.h"

struct req *req_new(struct listener *l, const char *target)
{
	struct req *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->server = l->server;
	r->listener = l;
	r->row = ~0u;
	r->start_ns = ev_now_ns();
	r->refused = uri_parse(&r->uri, target) < 0;
	r->target = strndup(target, strcspn(target, "?"));
	if (!r->target || !r->uri.text) {
		uri_fini(&r->uri);
		free(r->target);
		free(r);
		return NULL;
	}
	r->call.control = l->server->control;
	r->call.path = r->target;
	r->next = l->server->reqs;
	r->at = &l->server->reqs;
	if (r->next)
		r->next->at = &r->next;
	l->server->reqs = r;
	return r;
}

void req_free(struct req *r)
{
	*r->at = r->next;
	if (r->next)
		r->next->at = r->at;
	if (r->response)
		MHD_destroy_response(r->response);
	json_decref(r->call.body);
	json_decref(r->doc);
	uri_fini(&r->uri);
	free(r->target);
	free(r->body);
	free(r);
}

/* ---- the headers ---- */

const char *call_header(const struct call *c, const char *name)
{
	const struct req *r = (const struct req *)c;

	return r->conn ? MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name) : NULL;
}

const char *call_query(const struct call *c, const char *key)
{
	return uri_query(&((const struct req *)c)->uri, key);
}

/* Unlike any other's, also after a restart. */
static void new_id(char *ret, size_t cap)
{
	uint64_t random[2] = {0};

	if (getrandom(random, sizeof(random), 0) < 0)
		random[0] = ev_now_ns();
	snprintf(ret, cap, "r-%016llx%08x", (unsigned long long)random[0], (unsigned)random[1]);
}

/* The client's own, where it is a word that any log can take; else a new one. */
static void take_id(struct req *r)
{
	const char *given = call_header(&r->call, "X-Request-Id");
	size_t n = given ? strlen(given) : 0;

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)given[i]) && !strchr("-_.:", given[i]))
			n = 0;
	if (n > 0 && n <= 64)
		memcpy(r->id, given, n + 1);
	else
		new_id(r->id, sizeof(r->id));
	r->call.request_id = r->id;
}

/* A browser cannot set headers on a WebSocket: there the token is one of the sub-protocols that it
 * offers ("polycloud-stream, bearer.pv_…"). */
static const char *bearer(struct req *r, char buf[TOKEN_LEN + 8])
{
	const char *text = call_header(&r->call, "Authorization");
	const char *offer = call_header(&r->call, "Sec-WebSocket-Protocol");
	size_t n;

	if (text && !strncasecmp(text, "Bearer ", 7)) {
		text += 7 + strspn(text + 7, " ");
	} else if (!text && offer && (offer = strstr(offer, "bearer."))) {
		text = offer + 7;
	} else {
		return text;
	}
	n = strcspn(text, ", ");
	snprintf(buf, TOKEN_LEN + 8, "%.*s", (int)(n < TOKEN_LEN ? n : TOKEN_LEN), text);
	return buf;
}

static void take_identity(struct req *r)
{
	char buf[TOKEN_LEN + 8];
	struct peer peer = {.local = r->listener->local, .uid = ~0u, .bearer = bearer(r, buf)};
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (peer.local && info &&
		!getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		peer.uid = cred.uid;
	identify(r->server->control->objects, &peer, &r->who);
	if (peer.bearer && r->who.role == ROLE_NONE)
		r->server->bad_token++;
	r->call.role = r->who.role;
	r->call.actor = r->who.actor;
	r->call.token_id = r->who.token;
}

/* True, or false after answering. */
static bool take_project(struct req *r)
{
	const char *asked = call_query(&r->call, "project");

	if (!asked)
		asked = call_header(&r->call, "X-Project");
	if (r->who.project && asked && strcmp(asked, r->who.project)) {
		call_problem(&r->call, 404, "project",
			"no project \"%s\"; this token is for \"%s\"", asked, r->who.project);
		return false;
	}
	if (r->who.project)
		asked = r->who.project;
	if (r->call.role == ROLE_ADMIN && asked) {
		struct obj *o = obj_find(r->server->control->objects, KIND_PROJECT, NULL, asked);

		if (!o) {
			call_problem(&r->call, 404, "project", "no project \"%s\"", asked);
			return false;
		}
		asked = o->name;
	}
	snprintf(r->project, sizeof(r->project), "%s", asked ? asked : "default");
	r->call.project = r->project;
	return true;
}

/* Sets the row; true, or false after answering. */
static bool find_row(struct req *r)
{
	char allow[128];
	const struct route *row = router_find(&r->server->router, r->call.method, &r->uri, allow);

	if ((r->who.role == ROLE_NONE || r->who.once) && !(row && row->role == ROLE_NONE)) {
		call_problem(&r->call, 401, NULL, "%s",
			r->who.once ? "this token is good once, for POST /v1/session"
			: r->listener->local
				? "this socket is root's and the daemon's own user's; others "
				  "send a token: Authorization: Bearer pv_…"
				: "send a token that is known and has not expired: Authorization: "
				  "Bearer pv_…");
		return false;
	}
	if (!row) {
		r->call.priv = *allow ? allow : NULL; /* call_problem() sends it */
		if (*allow)
			call_problem(&r->call, 405, NULL, "%s is not for %s; allowed: %s",
				r->call.method, r->target, allow);
		else
			call_problem(&r->call, 404, NULL,
				"no path %s; GET /v1/openapi.json lists all", r->target);
		r->call.priv = NULL;
		return false;
	}
	if (!role_may(r->who.role, row->role)) {
		call_problem(&r->call, 403, NULL,
			"this token may not do that: it takes one for a%s",
			row->role == ROLE_ADMIN	 ? "n admin"
			: row->role == ROLE_NODE ? " node"
						 : " project");
		return false;
	}
	for (r->row = 0; r->server->router.row[r->row] != row;)
		r->row++;
	r->call.route = row;
	router_params(row, &r->uri, r->call.param);
	return true;
}

static bool length_fits(struct req *r)
{
	const char *length = call_header(&r->call, "Content-Length");

	if (!length || (r->call.route && r->call.route->stream) ||
		strtoull(length, NULL, 10) <= BODY_MAX)
		return true;
	call_problem(&r->call, 413, NULL, "the body has %s bytes; allowed: %u", length, BODY_MAX);
	return false;
}

static void suspend(struct req *r)
{
	if (r->answered || r->suspended)
		return;
	r->suspended = true;
	MHD_suspend_connection(r->conn);
}

static void dispatch(struct req *r)
{
	r->call.route->handle(&r->call);
}

void req_begin(struct req *r, const char *method)
{
	bool bad_target = r->refused;

	r->call.method = method;
	take_id(r);
	take_identity(r);
	r->refused = true;
	if (bad_target) {
		call_problem(&r->call, 400, NULL,
			"the path or the query is malformed: UTF-8, percent-encoded, no \"..\", at "
			"most %d segments and %d parameters",
			URI_SEGMENTS, URI_QUERIES);
		return;
	}
	if (!find_row(r) || !take_project(r) || !length_fits(r))
		return;
	r->refused = false;
	if (!r->call.route->stream)
		return;
	dispatch(r);
	if (!r->stream)
		suspend(r);
}

/* ---- the body ---- */

static int keep(struct req *r, const char *p, size_t n)
{
	if (r->body_len + n > BODY_MAX) {
		r->too_much = true;
		return 0;
	}
	if (r->body_len + n > r->body_cap) {
		size_t cap = (r->body_len + n) * 2;
		char *body = realloc(r->body, cap);

		if (!body)
			return -ENOMEM;
		r->body = body;
		r->body_cap = cap;
	}
	memcpy(r->body + r->body_len, p, n);
	r->body_len += n;
	return 0;
}

static void stream_end(struct req *r, int error)
{
	r->stream_over = true;
	r->stream->end(r->stream_arg, error);
}

int req_take(struct req *r, const char *p, size_t n)
{
	int e;

	if (r->stream) {
		/* After the end of it the rest is read and dropped, so that the client, who sends
		 * before it listens, sees the answer. */
		e = r->stream_over ? 0 : r->stream->piece(r->stream_arg, p, n);
		if (e < 0)
			stream_end(r, e);
		return 0;
	}
	/* A length that was not announced: there is no way to answer before the end of it. */
	if (r->too_much || r->answered)
		return (r->body_len += n) > 8 * BODY_MAX ? -EFBIG : 0;
	return keep(r, p, n);
}

void call_take_body(struct call *c, const struct body_ops *ops, void *arg)
{
	struct req *r = req_of(c);

	r->stream = ops;
	r->stream_arg = arg;
	if (!r->conn) {
		stream_end(r, -ECONNRESET);
	} else if (r->suspended) {
		r->suspended = false;
		MHD_resume_connection(r->conn);
		server_kick(r->server);
	}
}

/* Parses and checks the body; true, or false after answering. */
static bool check_body(struct req *r)
{
	const struct route *row = r->call.route;
	const char *type = call_header(&r->call, "Content-Type");
	char field[64] = "";
	struct err e = {0};
	json_error_t je;

	/* What curl -d says when nobody tells it is let through. */
	if (r->body_len && type && !strcasestr(type, "json") &&
		strncasecmp(type, "application/x-www-form-urlencoded", 33)) {
		call_problem(
			&r->call, 415, NULL, "Content-Type %s; allowed: application/json", type);
		return false;
	}
	if (r->body_len) {
		r->call.body = json_loadb(r->body, r->body_len, JSON_REJECT_DUPLICATES, &je);
		if (!json_is_object(r->call.body)) {
			call_problem(&r->call, 400, NULL, "the body is not a JSON object: %s",
				r->call.body ? "it is another value" : je.text);
			return false;
		}
	}
	if (!row->body) {
		if (!r->call.body || !json_object_size(r->call.body))
			return true;
		call_problem(&r->call, 400, NULL, "%s %s takes no body", row->method, row->path);
		return false;
	}
	if (!r->call.body)
		r->call.body = json_object();
	if (fields_check(row->body, r->call.body, row->patch, r->call.role == ROLE_ADMIN, field,
		    &e) == 0)
		return true;
	call_problem(&r->call, 400, *field ? field : NULL, "%s", e.text);
	return false;
}

void req_whole(struct req *r)
{
	if (r->stream) {
		if (!r->stream_over)
			stream_end(r, 0);
	} else if (!r->answered && r->too_much) {
		call_problem(&r->call, 413, NULL, "the body has more than %u bytes", BODY_MAX);
	} else if (!r->answered && check_body(r) && !idempotency_seen(r)) {
		free(r->body);
		r->body = NULL;
		dispatch(r);
	}
	if (r->response) { /* was made before it could be sent */
		MHD_queue_response(r->conn, r->status, r->response);
		MHD_destroy_response(r->response);
		r->response = NULL;
	} else {
		suspend(r);
	}
}

void req_gone(struct req *r)
{
	struct pipe_end *pipe = r->pipe;

	r->conn = NULL;
	r->done = true;
	r->suspended = false;
	r->pipe = NULL;
	if (pipe)
		pipe_gone(pipe);
	if (!r->answered && r->stream && !r->stream_over) {
		stream_end(r, -ECONNRESET); /* may answer, which frees */
		return;
	}
	/* Never reached a handler, or it has answered. */
	if (r->answered || r->refused || !r->call.route || (r->phase != REQ_WHOLE && !r->stream))
		req_free(r);
}
