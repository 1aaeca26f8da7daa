/* SPDX-License-Identifier: Apache-2.0 */
/* The node's end: requests come with their whole JSON body, or, where the path takes a stream, at
 * their headers. A request in the handler's hands outlives its stream and the link; an answer to
 * one whose stream has gone goes nowhere. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/link/internal.h"

int link_server_new(struct ev_loop *loop, struct link_wire *w, const struct link_handler *h,
	struct link **ret_link)
{
	struct link *l;
	int r = link_new(loop, w, true, &l);

	if (r < 0)
		return r;
	l->handler = *h;
	*ret_link = l;
	return 0;
}

static struct link_req_full *req_of(struct link_req *r)
{
	return container_of(r, struct link_req_full, pub);
}

/* The strings move from the stream into the request: either may go first. */
static struct link_req_full *req_new(struct link_stream *s)
{
	struct link_req_full *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->l = s->l;
	r->s = s;
	s->req = r;
	s->asked = true;
	list_add(&s->l->requests, &r->node);
	s->l->nrequests++;
	r->pub.method = s->method;
	r->pub.path = s->path;
	r->pub.query = s->query;
	r->pub.request_id = s->request_id;
	r->pub.stream = s;
	s->method = s->path = s->request_id = NULL;
	return r;
}

static void req_free(struct link_req_full *r)
{
	if (r->l) {
		list_del(&r->node);
		r->l->nrequests--;
	}
	if (r->s)
		r->s->req = NULL;
	json_decref(r->pub.body);
	free((char *)r->pub.method);
	free((char *)r->pub.path);
	free((char *)r->pub.request_id);
	free(r);
}

void link_server_detach(struct link_stream *s)
{
	if (!s->req)
		return;
	s->req->s = NULL;
	s->req->pub.stream = NULL;
	s->req = NULL;
}

int link_server_headers(struct link_stream *s, bool end)
{
	struct link *l = s->l;
	struct link_req_full *r;
	char *q;

	if (!s->method || !s->path || s->path[0] != '/')
		return -EINVAL;
	q = strchr(s->path, '?');
	if (q) {
		*q = '\0';
		s->query = q + 1;
	}
	if (l->handler.stream_ok && l->handler.stream_ok(s->method, s->path, l->handler.arg)) {
		r = req_new(s);
		if (!r)
			return -ENOMEM;
		l->handler.request(&r->pub, l->handler.arg);
	}
	if (end && !l->freed)
		link_stream_eof(s);
	return 0;
}

void link_server_body(struct link_stream *s)
{
	struct link *l = s->l;
	struct link_req_full *r = req_new(s);
	json_error_t e;

	if (!r) {
		link_stream_reset(s);
		return;
	}
	if (s->in.len) {
		r->pub.body =
			json_loadb(s->in.p + s->in.off, s->in.len, JSON_REJECT_DUPLICATES, &e);
		l->bodies -= s->in.len;
		link_buf_fini(&s->in);
		if (!r->pub.body) {
			link_problem(&r->pub, 400, "the body is not JSON: %s", e.text);
			return;
		}
	}
	l->handler.request(&r->pub, l->handler.arg);
}

/* ---- answers ---- */

static int respond(struct link_stream *s, unsigned status, const char *type, bool bytes)
{
	nghttp2_data_provider source = link_stream_source(s);
	char text[16];
	nghttp2_nv nv[2];

	snprintf(text, sizeof(text), "%u", status);
	nv[0] = link_nv(":status", text);
	nv[1] = link_nv("content-type", type);
	return nghttp2_submit_response(
		s->l->h2, s->id, nv, bytes && type ? 2 : 1, bytes ? &source : NULL);
}

static void reply(struct link_req *pub, unsigned status, const char *type, const json_t *body)
{
	struct link_req_full *r = req_of(pub);
	struct link_stream *s = r->s;
	char *text = s && body ? json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	if (s) {
		s->replied = true;
		s->out_end = true;
		if (text && link_buf_add(&s->out, text, strlen(text)) < 0)
			status = 500;
		if (body && !text)
			status = 500;
		if (respond(s, status, type, s->out.len > 0) < 0)
			link_stream_reset(s);
		if (s->in.len) {
			nghttp2_session_consume_stream(s->l->h2, s->id, s->in.len);
			s->l->bodies -= s->in.len;
			link_buf_fini(&s->in);
		}
		link_kick(s->l);
	}
	free(text);
	req_free(r);
}

void link_reply(struct link_req *r, unsigned status, const json_t *body)
{
	reply(r, status, status >= 400 ? "application/problem+json" : "application/json", body);
}

void link_problem(struct link_req *r, unsigned status, const char *fmt, ...)
{
	char detail[400];
	json_t *doc;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	doc = json_pack(
		"{s:s,s:i,s:s}", "type", "about:blank", "status", (int)status, "detail", detail);
	if (!doc) /* a text that is no UTF-8 */
		doc = json_pack("{s:s,s:i}", "type", "about:blank", "status", (int)status);
	reply(r, status, "application/problem+json", doc);
	json_decref(doc);
}

static struct link_stream *take(
	struct link_req_full *r, const struct link_stream_ops *ops, void *arg)
{
	struct link_stream *s = r->s;

	s->ops = ops;
	s->arg = arg;
	if (s->in.len || s->eof_owed)
		link_stream_ready(s);
	return s;
}

struct link_stream *link_accept(struct link_req *pub, const struct link_stream_ops *ops, void *arg)
{
	struct link_req_full *r = req_of(pub);
	struct link_stream *s = r->s && !r->s->reset ? take(r, ops, arg) : NULL;

	if (s && respond(s, 200, "application/octet-stream", true) < 0)
		link_stream_reset(s);
	if (s)
		link_kick(s->l);
	req_free(r);
	return s;
}

struct link_stream *link_take_body(
	struct link_req *pub, const struct link_stream_ops *ops, void *arg)
{
	struct link_req_full *r = req_of(pub);

	return r->s && !r->s->reset ? take(r, ops, arg) : NULL;
}
