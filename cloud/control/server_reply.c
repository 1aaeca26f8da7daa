/* SPDX-License-Identifier: Apache-2.0 */
/* Answers. Every one carries X-Request-Id; errors are problem documents (RFC 9457). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/server_internal.h"

/* ---- the end of a call ---- */

static void count(struct req *r, unsigned status)
{
	static const double bounds[BUCKETS - 1] = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1};
	struct server *s = r->server;
	struct route_stats *st = &s->stats[r->row == ~0u ? s->router.n : r->row];
	uint64_t ns = ev_now_ns() - r->start_ns;
	unsigned i = 0;

	while (i < BUCKETS - 1 && ns > bounds[i] * 1e9)
		i++;
	st->bucket[i]++;
	st->ns += ns;
	st->by_class[status / 100 % 6]++;
}

static const struct {
	const char *name, *value;
} on_all[] = {{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"},
	{"Referrer-Policy", "no-referrer"}};

/* An answer at the headers makes libmicrohttpd close with the body unread, which may cost the
 * client the answer: a body that is not too long is read first. */
static bool now(const struct req *r)
{
	const char *length;

	if (!r->in_callback || r->phase == REQ_WHOLE)
		return r->in_callback || r->suspended;
	if (r->phase == REQ_BODY)
		return false;
	length = call_header(&r->call, "Content-Length");
	if (length)
		return strtoull(length, NULL, 10) > BODY_MAX;
	return r->call.route && r->call.route->stream;
}

void req_answer(struct req *r, unsigned status, struct MHD_Response *response)
{
	r->answered = true;
	count(r, status);
	audit(r, status);
	if (r->idempotency[0])
		idempotency_keep(r, status);
	if (response) {
		for (unsigned i = 0; i < sizeof(on_all) / sizeof(*on_all); i++)
			if (!MHD_get_response_header(response, on_all[i].name))
				MHD_add_response_header(response, on_all[i].name, on_all[i].value);
		MHD_add_response_header(response, "X-Request-Id", r->id);
	}
	if (!r->conn) {
		if (response)
			MHD_destroy_response(response);
		if (r->done)
			req_free(r);
		return;
	}
	if (!response)
		response = MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
	if (!response || !now(r)) {
		r->response = response;
		r->status = status;
	} else {
		MHD_queue_response(r->conn, status, response);
		MHD_destroy_response(response);
	}
	if (r->suspended) {
		r->suspended = false;
		MHD_resume_connection(r->conn);
		server_kick(r->server);
	}
}

/* ---- bodies ---- */

struct MHD_Response *response_json(const json_t *doc, const char *type)
{
	char *text = doc ? json_dumps(doc, JSON_COMPACT) : strdup("");
	struct MHD_Response *m;

	if (!text)
		return NULL;
	m = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!m)
		free(text);
	else if (doc)
		MHD_add_response_header(m, "Content-Type", type);
	return m;
}

void call_reply(struct call *c, unsigned status, json_t *doc)
{
	struct req *r = req_of(c);
	struct MHD_Response *m = response_json(doc, "application/json");

	if (r->idempotency[0])
		r->doc = json_incref(doc);
	json_decref(doc);
	req_answer(r, status, m);
}

/* Without what is only ours. */
static json_t *shown(const struct obj *o)
{
	json_t *doc = json_copy(o->doc);

	json_object_set_new(doc, "revision", json_integer((json_int_t)o->revision));
	if (o->kind == KIND_TOKEN)
		json_object_del(doc, "hash");
	return doc;
}

void call_reply_obj(struct call *c, unsigned status, const struct obj *o)
{
	struct req *r = req_of(c);
	json_t *doc = shown(o);
	struct MHD_Response *m;
	char text[160];

	snprintf(text, sizeof(text), "\"%llu\"", (unsigned long long)o->revision);
	if (!strcmp(c->method, "GET") && call_header(c, "If-None-Match") &&
		!strcmp(call_header(c, "If-None-Match"), text)) {
		json_decref(doc);
		doc = NULL;
		status = 304;
	}
	m = response_json(doc, "application/json");
	if (m)
		MHD_add_response_header(m, "ETag", text);
	if (m && status == 201) {
		snprintf(text, sizeof(text), "/v1/%s/%s", kind_plural(o->kind), o->id);
		MHD_add_response_header(m, "Location", text);
	}
	if (r->idempotency[0])
		r->doc = json_incref(doc);
	json_decref(doc);
	req_answer(r, status, m);
}

void call_reply_text(
	struct call *c, unsigned status, const char *type, const char *text, size_t len)
{
	struct MHD_Response *m =
		MHD_create_response_from_buffer(len, (void *)text, MHD_RESPMEM_MUST_COPY);

	if (m)
		MHD_add_response_header(m, "Content-Type", type);
	req_answer(req_of(c), status, m);
}

/* ---- problems ---- */

static const struct {
	unsigned status;
	const char *title;
} titles[] = {{400, "Bad request"}, {401, "Not authenticated"}, {403, "Not allowed"},
	{404, "Not found"}, {405, "Method not allowed"}, {409, "Conflict"},
	{412, "Precondition failed"}, {413, "Body too large"}, {415, "Not JSON"},
	{422, "Cannot be done as asked"}, {426, "Upgrade required"}, {428, "Precondition required"},
	{429, "Too many requests"}, {500, "The host refused"}, {501, "Not offered"},
	{502, "The node answered badly"}, {503, "Not now"}, {504, "The node did not answer"},
	{507, "No space"}};

static const char *title_of(unsigned status)
{
	for (unsigned i = 0; i < sizeof(titles) / sizeof(*titles); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return "Error";
}

/* What is allowed stands at the end of the line, by custom of all our errors. */
static void add_allowed(json_t *doc, const char *text)
{
	const char *at = strstr(text, "; allowed: ");

	if (at)
		json_object_set_new(doc, "allowed", json_string(at + strlen("; allowed: ")));
}

/* One line, whatever a client's own words in it are: no control characters, and nothing but ASCII
 * when it is not UTF-8. */
static json_t *printable(char *text)
{
	json_t *s;

	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	s = json_string(text);
	for (char *p = text; !s && *p; p++)
		if ((unsigned char)*p > 0x7e)
			*p = '?';
	return s ? s : json_string(text);
}

void call_problem(struct call *c, unsigned status, const char *field, const char *fmt, ...)
{
	struct req *r = req_of(c);
	json_t *doc = json_object();
	struct MHD_Response *m;
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_object_set_new(doc, "type", json_string("about:blank"));
	json_object_set_new(doc, "title", json_string(title_of(status)));
	json_object_set_new(doc, "status", json_integer(status));
	json_object_set_new(doc, "detail", printable(text));
	if (field)
		json_object_set_new(doc, "field", json_string(field));
	add_allowed(doc, text);
	json_object_set_new(doc, "request_id", json_string(r->id));
	m = response_json(doc, "application/problem+json");
	if (m && status == 401)
		MHD_add_response_header(m, "WWW-Authenticate", "Bearer");
	if (m && status == 426)
		MHD_add_response_header(m, "Upgrade", "websocket, polycloud-stream");
	if (m && status == 405 && c->priv)
		MHD_add_response_header(m, "Allow", c->priv);
	if (m && status == 503)
		MHD_add_response_header(m, "Retry-After", "1");
	json_decref(doc);
	r->server->refused++;
	req_answer(r, status, m);
}

void call_err(struct call *c, const struct err *e)
{
	static const unsigned status[] = {[ERR_NONE] = 500,
		[ERR_USAGE] = 400,
		[ERR_NOT_FOUND] = 404,
		[ERR_CONFLICT] = 409,
		[ERR_UNOFFERED] = 501,
		[ERR_HOST] = 500};

	call_problem(c, status[e->kind], NULL, "%s", *e->text ? e->text : "out of memory");
}

/* ---- objects ---- */

struct obj *call_obj(struct call *c, enum kind k, const char *id_or_name)
{
	struct obj *o = obj_find(
		c->control->objects, k, kind_in_project(k) ? c->project : NULL, id_or_name);

	/* By id a project's token must not reach further than by name; an admin may. */
	if (o && kind_in_project(k) && c->role != ROLE_ADMIN &&
		strcmp(o->project ? o->project : "", c->project))
		o = NULL;
	if (!o)
		call_problem(c, 404, NULL, "no %s \"%s\"%s%s%s", kind_name(k), id_or_name,
			kind_in_project(k) ? " in project \"" : "",
			kind_in_project(k) ? c->project : "", kind_in_project(k) ? "\"" : "");
	return o;
}

uint64_t call_expect(const struct call *c)
{
	const char *tag = call_header(c, "If-Match");
	unsigned long long revision;

	if (!tag || !strcmp(tag, "*"))
		return STORE_ANY;
	if (!strncmp(tag, "W/", 2))
		tag += 2;
	/* One that is no tag of ours matches nothing: 0 is nobody's revision. */
	return sscanf(tag, "\"%llu\"", &revision) == 1 ? revision : 0;
}

bool call_if_match(struct call *c, const struct obj *o)
{
	uint64_t expect = call_expect(c);

	if (expect == STORE_ANY || expect == o->revision)
		return true;
	call_problem(c, 412, "If-Match", "%s \"%s\" has changed: its ETag is \"%llu\"",
		kind_name(o->kind), o->name ? o->name : o->id, (unsigned long long)o->revision);
	return false;
}
