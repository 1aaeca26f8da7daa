/* SPDX-License-Identifier: Apache-2.0 */
/* A bridge joins a client's pipe and a node's stream. The node is asked first, and only when it
 * agrees does the client get its 101: until then a refusal is a problem document.
 *
 *   client ═ pipe_end ═► link_stream_write … link's writable() ► pipe_took   ═► node
 *   client ◄═ pipe_write … pipe's writable() ► link_stream_took ◄═ link_stream ◄═ node
 *
 * Each side's queue and the other's window have the same size, so what one may have outstanding
 * always fits the other. */
#include "cloud/control/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/nodes.h"

#define LOG_MAX (4u << 20) /* bytes of a log in one answer */

struct bridge {
	struct call *c;	       /* not answered yet */
	struct pipe_end *pipe; /* NULL: not there yet, or over */
	struct link_stream *s; /* NULL: over */
	size_t to_client,
		to_node; /* bytes queued and not gone; the other side has not taken them */
	bool closing;	 /* pipe_close() was called */
	bool leaving;	 /* the client has gone, what it said is still on its way */
	bool log;
	char *text; /* of a log */
	size_t len, cap;
	char what[48]; /* "console of NAME" in problems */
};

/* The last one out frees it. */
static void bridge_leave(struct bridge *b)
{
	if (b->c || b->pipe || b->s)
		return;
	free(b->text);
	free(b);
}

/* ---- the client's side ---- */

static void pipe_data(struct pipe_end *p, const void *buf, size_t n, void *arg)
{
	struct bridge *b = arg;

	if (!b->s || link_stream_write(b->s, buf, n) < 0) {
		pipe_took(p, n); /* nobody is there to hear it */
		return;
	}
	b->to_node += n;
}

static void pipe_writable(struct pipe_end *p, void *arg)
{
	struct bridge *b = arg;
	size_t n = b->to_client;

	b->to_client = 0;
	if (b->s)
		link_stream_took(b->s, n);
}

static void pipe_closed(struct pipe_end *p, void *arg)
{
	struct bridge *b = arg;

	b->pipe = NULL;
	b->leaving = b->to_node > 0;
	if (b->s && !b->leaving)
		link_stream_reset(b->s);
	bridge_leave(b);
}

static const struct pipe_ops pipe_ops = {pipe_data, pipe_writable, pipe_closed};

static void hang_up(struct bridge *b)
{
	if (b->pipe && !b->closing) {
		b->closing = true;
		pipe_close(b->pipe);
	}
}

/* ---- the node's side ---- */

static void bridge_problem(struct bridge *b, unsigned status)
{
	struct call *c = b->c;

	b->c = NULL;
	if (status == 404 || status == 409)
		call_problem(c, 409, NULL, "%s: the instance does not run on its host", b->what);
	else if (status)
		call_problem(c, 502, NULL, "%s: its node answered %u", b->what, status);
	else
		call_problem(c, 503, NULL, "%s: its node is away", b->what);
}

static void stream_answered(struct link_stream *s, unsigned status, void *arg)
{
	struct bridge *b = arg;
	struct call *c = b->c;

	if (status != 200) {
		bridge_problem(b, status);
		link_stream_reset(s);
		return;
	}
	if (b->log)
		return;
	b->c = NULL;
	b->pipe = call_upgrade(c, &pipe_ops, b);
	if (!b->pipe)
		link_stream_reset(s);
}

static bool log_keep(struct bridge *b, const void *p, size_t n)
{
	size_t cap = b->cap ? b->cap : 4096;
	char *grown;

	if (b->len + n > LOG_MAX)
		return false;
	while (cap < b->len + n)
		cap *= 2;
	grown = cap == b->cap ? b->text : realloc(b->text, cap);
	if (!grown)
		return false;
	b->text = grown;
	b->cap = cap;
	memcpy(b->text + b->len, p, n);
	b->len += n;
	return true;
}

static void stream_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	struct bridge *b = arg;

	if (b->log) {
		link_stream_took(s, n);
		if (!log_keep(b, p, n))
			link_stream_reset(s);
	} else if (b->leaving) {
		link_stream_took(s, n);
	} else if (!b->pipe || pipe_write(b->pipe, p, n) < 0) {
		link_stream_reset(s);
	} else {
		b->to_client += n;
	}
}

static void stream_writable(struct link_stream *s, void *arg)
{
	struct bridge *b = arg;
	size_t n = b->to_node;

	b->to_node = 0;
	if (b->pipe)
		pipe_took(b->pipe, n);
	else if (b->leaving)
		link_stream_reset(s);
}

static void stream_eof(struct link_stream *s, void *arg)
{
	struct bridge *b = arg;

	if (b->log && b->c) {
		struct call *c = b->c;

		b->c = NULL;
		call_reply_text(
			c, 200, "text/plain; charset=utf-8", b->text ? b->text : "", b->len);
	}
	link_stream_end(s);
	hang_up(b);
}

static void stream_closed(struct link_stream *s, int error, void *arg)
{
	struct bridge *b = arg;

	b->s = NULL;
	if (b->c)
		bridge_problem(b, error == -ECONNRESET ? 0 : 502);
	hang_up(b); /* its closed() comes later, and leaves */
	bridge_leave(b);
}

static const struct link_stream_ops stream_ops = {
	stream_answered, stream_data, stream_writable, stream_eof, stream_closed};

/* ---- handlers ---- */

/* The link to the instance's node, or NULL after answering. */
static struct link *link_of(struct call *c, struct obj **ret_instance)
{
	struct obj *o = call_obj(c, KIND_INSTANCE, c->param[0]);
	const char *host = o ? json_string_value(json_object_get(o->doc, "host_id")) : NULL;
	struct link *l = host ? nodes_link(c->control->nodes, host) : NULL;

	if (!o)
		return NULL;
	if (!host)
		call_problem(c, 409, NULL, "instance %s is on no host yet", o->name);
	else if (!l)
		call_problem(c, 503, NULL, "the host of instance %s is away", o->name);
	*ret_instance = o;
	return l;
}

static void bridge_start(struct call *c, const char *method, const char *what, const char *query)
{
	struct obj *o = NULL;
	struct link *l = link_of(c, &o);
	struct bridge *b = l ? calloc(1, sizeof(*b)) : NULL;
	char path[160];

	if (!l)
		return;
	if (!b) {
		call_problem(c, 503, NULL, "no memory");
		return;
	}
	b->c = c;
	b->log = strcmp(what, "log") == 0;
	snprintf(b->what, sizeof(b->what), "%s of %.32s", what, o->name);
	snprintf(path, sizeof(path), "/v1/instances/%s/%s%s", o->id, what, query);
	if (link_open(l, method, path, c->request_id, &stream_ops, b, &b->s) < 0) {
		free(b);
		call_problem(c, 503, NULL, "the host of instance %s cannot take more", o->name);
	} else if (b->log) {
		link_stream_end(b->s);
	}
}

static void console(struct call *c)
{
	bridge_start(c, "POST", "console", "");
}

/* ?key=N from least to most, or false after answering. */
static bool query_number(
	struct call *c, const char *key, unsigned long least, unsigned long most, char ret[48])
{
	const char *text = call_query(c, key);
	unsigned long n = 0;
	char *end = NULL;

	if (text && *text >= '0' && *text <= '9')
		n = strtoul(text, &end, 10);
	if (!end || *end || n < least || n > most) {
		call_problem(c, 400, key, "%s: %.40s is not allowed; allowed: %lu to %lu", key,
			text ? text : "nothing", least, most);
		return false;
	}
	snprintf(ret, 48, "?%s=%lu", key, n);
	return true;
}

static void tunnel(struct call *c)
{
	char query[48];

	if (query_number(c, "port", 1, 65535, query))
		bridge_start(c, "POST", "tunnel", query);
}

static void get_log(struct call *c)
{
	char query[48] = "";

	if (!call_query(c, "tail") || query_number(c, "tail", 1, LOG_MAX, query))
		bridge_start(c, "GET", "log", query);
}

static void asked_done(void *arg, unsigned status, json_t *body, const char *error)
{
	struct call *c = arg;

	if (status == 200)
		call_reply(c, 200, json_incref(body));
	else if (status == 404 || status == 409)
		call_problem(c, 409, NULL, "the instance does not run on its host");
	else if (status)
		call_problem(c, 502, NULL, "the instance's node answered %u", status);
	else
		call_problem(c, 503, NULL, "the instance's node is away: %s", error);
}

/* What the node answers by itself, passed on. */
static void ask(struct call *c, const char *what)
{
	struct obj *o = NULL;
	struct link *l = link_of(c, &o);
	char path[128];

	if (!l)
		return;
	snprintf(path, sizeof(path), "/v1/instances/%s/%s", o->id, what);
	link_call(l, "GET", path, NULL, c->request_id, asked_done, c);
}

static void info(struct call *c)
{
	ask(c, "info");
}

static void stats(struct call *c)
{
	ask(c, "stats");
}

#define ROW(last, fn, text, ...)                                                                   \
	{                                                                                          \
		.method = "GET", .path = "/v1/instances/{id}/" last, .handle = fn,                 \
		.role = ROLE_PROJECT, .summary = text, __VA_ARGS__                                 \
	}

const struct route stream_routes[] = {
	ROW("console", console, "the serial console (WebSocket, or Upgrade: polycloud-stream)",
		.action = true),
	ROW("tunnel", tunnel, "a connection to ?port= of the instance (as console)",
		.action = true),
	ROW("log", get_log, "the end of what the console said, ?tail= bytes of it"),
	ROW("info", info, "what the instance's VMM tells about itself"),
	ROW("stats", stats, "counters: CPU time, memory, disks, networks"),
};
const unsigned stream_nroutes = sizeof(stream_routes) / sizeof(stream_routes[0]);
