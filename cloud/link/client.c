/* SPDX-License-Identifier: Apache-2.0 */
/* The control plane's end: calls with a JSON body and answer, and streams. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/link/internal.h"

int link_client_new(struct ev_loop *loop, struct link_wire *w, const struct link_events *ev,
	struct link **ret_link)
{
	struct link *l;
	int r = link_new(loop, w, false, &l);

	if (r < 0)
		return r;
	l->ev = *ev;
	*ret_link = l;
	return 0;
}

/* Hands the headers to the session, which also queues them when the peer's limit of streams is
 * reached. bytes: something follows. */
static int submit(struct link_stream *s, const char *method, const char *path,
	const char *request_id, bool bytes)
{
	nghttp2_data_provider source = link_stream_source(s);
	nghttp2_nv nv[6] = {
		link_nv(":method", method),
		link_nv(":scheme", "https"),
		link_nv(":path", path),
		link_nv(":authority", "node"),
	};
	size_t n = 4;
	int32_t id;

	if (request_id)
		nv[n++] = link_nv("x-request-id", request_id);
	if (s->done && bytes)
		nv[n++] = link_nv("content-type", "application/json");
	id = nghttp2_submit_request(s->l->h2, NULL, nv, n, bytes ? &source : NULL, s);
	if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE)
		link_break(s->l, "2^30 streams are used up"); /* the node dials again */
	if (id < 0)
		return id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EAGAIN;
	s->id = id;
	link_kick(s->l);
	return 0;
}

static const char *call_body(struct link_stream *s, const json_t *body)
{
	char *text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
	int r = -ENOMEM;

	if (text && strlen(text) > LINK_BODY_MAX) {
		free(text);
		return "the request's body is too large";
	}
	if (text)
		r = link_buf_add(&s->out, text, strlen(text));
	free(text);
	s->out_end = true;
	return r < 0 ? "no memory" : NULL;
}

static const char *start_call(struct link_stream *s, const char *method, const char *path,
	const json_t *body, const char *request_id)
{
	const char *why = body ? call_body(s, body) : NULL;

	if (why)
		return why;
	if (s->l->broken)
		return s->l->why;
	if (s->l->nstreams > LINK_STREAMS)
		return "too many calls are under way to this node";
	return submit(s, method, path, request_id, body != NULL) < 0 ? "the call could not be sent"
								     : NULL;
}

void link_call(struct link *l, const char *method, const char *path, const json_t *body,
	const char *request_id, link_reply_fn *done, void *arg)
{
	struct link_stream *s = link_stream_new(l);

	if (!s) {
		done(arg, 0, NULL, "no memory"); /* the one case where there is no later */
		return;
	}
	s->done = done;
	s->done_arg = arg;
	s->fail = start_call(s, method, path, body, request_id);
	if (s->fail)
		link_stream_ready(s);
}

static void answer(struct link_stream *s)
{
	const char *why = NULL;
	json_t *body = NULL;
	unsigned status = s->status;

	if (s->in.len)
		body = json_loadb(s->in.p + s->in.off, s->in.len, JSON_DECODE_ANY, NULL);
	if (s->in.len && !body) {
		why = "the answer is not JSON";
		status = status >= 400 ? status : 0;
	}
	s->done(s->done_arg, status, body, why);
	json_decref(body);
}

void link_call_over(struct link_stream *s, int error)
{
	if (s->fail)
		s->done(s->done_arg, 0, NULL, s->fail);
	else if (s->whole && s->status)
		answer(s);
	else
		s->done(s->done_arg, 0, NULL,
			s->l->broken	     ? s->l->why
			: error == -EMSGSIZE ? "the answer is too large"
			: error == -EAGAIN   ? "the node refused the call"
					     : "the node broke off its answer");
}

int link_open(struct link *l, const char *method, const char *path, const char *request_id,
	const struct link_stream_ops *ops, void *arg, struct link_stream **ret_stream)
{
	struct link_stream *s;
	int r;

	if (l->broken)
		return -ENOTCONN;
	if (l->nstreams >= LINK_STREAMS)
		return -EAGAIN;
	s = link_stream_new(l);
	if (!s)
		return -ENOMEM;
	r = submit(s, method, path, request_id, true);
	if (r < 0) {
		link_stream_over(s, r);
		return r;
	}
	s->ops = ops;
	s->arg = arg;
	*ret_stream = s;
	return 0;
}
