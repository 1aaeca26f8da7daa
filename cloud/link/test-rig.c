/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/link/test_rig.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void answer_fn(void *arg, unsigned status, json_t *body, const char *error)
{
	struct answer *a = arg;

	a->times++;
	a->status = status;
	a->body = json_incref(body);
	snprintf(a->error, sizeof(a->error), "%s", error ? error : "");
	if (a->then)
		a->then(a->arg);
}

/* ---- the client's stream ---- */

static void got_answered(struct link_stream *s, unsigned status, void *arg)
{
	((struct got *)arg)->status = status;
}

static void got_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	struct got *t = arg;

	if (t->bytes + n < sizeof(t->first))
		memcpy(t->first + t->bytes, p, n);
	t->bytes += n;
	if (!t->hold)
		link_stream_took(s, n);
}

static void got_writable(struct link_stream *s, void *arg)
{
	((struct got *)arg)->writable++;
}

static void got_eof(struct link_stream *s, void *arg)
{
	((struct got *)arg)->eof++;
}

static void got_closed(struct link_stream *s, int error, void *arg)
{
	struct got *t = arg;

	t->closed++;
	t->error = error;
	t->s = NULL;
}

const struct link_stream_ops got_ops = {got_answered, got_data, got_writable, got_eof, got_closed};

/* ---- the node's streams ---- */

static void pipe_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	struct rig *g = arg;

	if (link_stream_write(s, p, n) < 0)
		abort(); /* never more than a window is held */
	g->pipe_held += n;
}

static void pipe_writable(struct link_stream *s, void *arg)
{
	struct rig *g = arg;

	link_stream_took(s, g->pipe_held);
	g->pipe_held = 0;
}

static void pipe_eof(struct link_stream *s, void *arg)
{
	link_stream_end(s);
}

static void pipe_closed(struct link_stream *s, int error, void *arg)
{
	((struct rig *)arg)->pipe_closed++;
}

static const struct link_stream_ops pipe_ops = {
	NULL, pipe_data, pipe_writable, pipe_eof, pipe_closed};

static void sink_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	((struct rig *)arg)->sink_bytes += n;
}

static void sink_eof(struct link_stream *s, void *arg)
{
	((struct rig *)arg)->sink_eof++;
}

static void sink_closed(struct link_stream *s, int error, void *arg)
{
	struct rig *g = arg;

	g->sink_closed++;
	g->sink_error = error;
	g->sink = NULL;
}

static const struct link_stream_ops sink_ops = {NULL, sink_data, NULL, sink_eof, sink_closed};

static void put_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	((struct rig *)arg)->put_bytes += n;
	link_stream_took(s, n);
}

static void put_eof(struct link_stream *s, void *arg)
{
	struct rig *g = arg;
	json_t *doc = json_pack("{s:I}", "size", (json_int_t)g->put_bytes);

	link_reply(g->put, 201, doc);
	g->put = NULL;
	json_decref(doc);
}

static void put_closed(struct link_stream *s, int error, void *arg)
{
	struct rig *g = arg;

	g->sink_closed++;
	if (g->put)
		link_problem(g->put, 400, "broken off");
	g->put = NULL;
}

static const struct link_stream_ops put_ops = {NULL, put_data, NULL, put_eof, put_closed};

/* ---- the handler ---- */

static bool stream_ok(const char *method, const char *path, void *arg)
{
	static const char *const paths[] = {"/pipe", "/sink", "/put", "/no", "/hold"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (strcmp(path, paths[i]) == 0)
			return true;
	return false;
}

static void reply_big(struct link_req *r, size_t size)
{
	char *text = malloc(size + 1);
	json_t *doc;

	memset(text, 'x', size);
	text[size] = '\0';
	doc = json_pack("{s:s}", "text", text);
	link_reply(r, 200, doc);
	json_decref(doc);
	free(text);
}

static void request(struct link_req *r, void *arg)
{
	struct rig *g = arg;

	g->requests++;
	snprintf(g->query, sizeof(g->query), "%s", r->query ? r->query : "");
	snprintf(g->request_id, sizeof(g->request_id), "%s", r->request_id ? r->request_id : "");
	if (strcmp(r->path, "/echo") == 0)
		link_reply(r, 200, r->body);
	else if (strcmp(r->path, "/big") == 0)
		reply_big(r, strtoul(r->query, NULL, 10));
	else if (strcmp(r->path, "/late") == 0 || strcmp(r->path, "/hold") == 0)
		g->late = r;
	else if (strcmp(r->path, "/pipe") == 0)
		link_accept(r, &pipe_ops, g);
	else if (strcmp(r->path, "/sink") == 0)
		g->sink = link_accept(r, &sink_ops, g);
	else if (strcmp(r->path, "/put") == 0)
		g->put = link_take_body(r, &put_ops, g) ? r : NULL;
	else
		link_problem(r, 404, "no %s here", r->path);
}

static void server_gone(struct link *l, const char *why, void *arg)
{
	struct rig *g = arg;

	g->server_gone++;
	snprintf(g->server_why, sizeof(g->server_why), "%s", why);
}

static void client_gone(struct link *l, const char *why, void *arg)
{
	struct rig *g = arg;

	g->client_gone++;
	snprintf(g->client_why, sizeof(g->client_why), "%s", why);
}

void rig_server(struct rig *g, int fd)
{
	const struct link_handler h = {stream_ok, request, server_gone, g};
	int r = link_server_new(g->loop, link_wire_socket(fd), &h, &g->server);

	assert(r == 0);
}

void rig_client(struct rig *g, int fd)
{
	const struct link_events ev = {client_gone, g};
	int r = link_client_new(g->loop, link_wire_socket(fd), &ev, &g->client);

	assert(r == 0);
}

void rig_loop(struct rig *g)
{
	int r;

	*g = (struct rig){0};
	r = ev_loop_new(&g->loop);
	assert(r == 0);
}

void rig_start(struct rig *g)
{
	int fd[2], r;

	rig_loop(g);
	r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd);
	assert(r == 0);
	rig_server(g, fd[0]);
	rig_client(g, fd[1]);
}

void rig_stop(struct rig *g)
{
	if (g->late)
		link_reply(g->late, 204, NULL);
	link_free(g->client);
	link_free(g->server);
	ev_loop_free(g->loop);
}

bool rig_until(struct rig *g, bool (*done)(void *arg), void *arg)
{
	uint64_t end = ev_now_ns() + 20ull * 1000000000;

	while (!done(arg)) {
		if (ev_now_ns() > end)
			return false;
		ev_run_once(g->loop, 100);
	}
	return true;
}

void rig_rounds(struct rig *g, unsigned n)
{
	while (n--)
		ev_run_once(g->loop, 0);
}
