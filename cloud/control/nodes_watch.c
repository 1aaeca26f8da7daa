/* SPDX-License-Identifier: Apache-2.0 */
/* The watch: a stream of JSON lines, each one piece of news, at least one in 5 s.
 *   {"instance":{observed}}  {"host":{facts, load}}  {"event":{"instance","event","text"}} */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "cloud/control/nodes_internal.h"

static void event_line(struct node_conn *n, const json_t *event)
{
	struct objects *os = n->all->c->objects;
	const char *id = json_string_value(json_object_get(event, "instance"));
	const char *what = json_string_value(json_object_get(event, "event"));
	const char *text = json_string_value(json_object_get(event, "text"));
	struct obj *o = id ? obj_get(os, KIND_INSTANCE, id) : NULL;
	const char *host = o ? json_string_value(json_object_get(o->doc, "host_id")) : NULL;
	char actor[80];
	const struct change c = {
		.event = what, .text = text, .actor = actor, .expect = STORE_ANY, .lazy = true};

	/* A node speaks of its own instances only. */
	if (!what || !host || strcmp(host, n->host_id) != 0 || strlen(what) > 64 ||
		(text && strlen(text) > 400))
		return;
	snprintf(actor, sizeof(actor), "node:%s", n->name);
	obj_put(os, KIND_INSTANCE, json_deep_copy(o->doc), &c, NULL);
}

static void one_line(struct node_conn *n, const json_t *line)
{
	const json_t *instance = json_object_get(line, "instance");
	const json_t *host = json_object_get(line, "host");
	const json_t *event = json_object_get(line, "event");

	if (json_is_object(instance))
		reconcile_observed(n->all->c->reconciler, n->host_id, instance);
	if (json_is_object(host))
		node_facts_line(n, host);
	if (json_is_object(event))
		event_line(n, event);
}

static void line_came(struct node_conn *n, const char *p, size_t len)
{
	json_t *line;

	n->heard_ns = ev_now_ns();
	if (len == 0)
		return;
	line = json_loadb(p, len, 0, NULL);
	if (!json_is_object(line))
		node_conn_drop(n, "a line of its watch is not a JSON object");
	else if (n->up)
		one_line(n, line);
	else if (json_array_size(n->early) >= NODE_EARLY_MAX)
		node_conn_drop(n, "too much news before its state");
	else
		json_array_append(n->early, line);
	json_decref(line);
}

void node_watch_replay(struct node_conn *n)
{
	json_t *early = n->early, *line;
	size_t i;

	n->early = NULL;
	json_array_foreach (early, i, line)
		one_line(n, line);
	json_decref(early);
}

/* ---- bytes ---- */

static bool keep(struct node_conn *n, const char *p, size_t len)
{
	size_t cap = n->line_cap ? n->line_cap : 1024;
	char *grown;

	if (n->line_len + len > NODE_LINE_MAX)
		return false;
	while (cap < n->line_len + len)
		cap *= 2;
	if (cap != n->line_cap) {
		grown = realloc(n->line, cap);
		if (!grown)
			return false;
		n->line = grown;
		n->line_cap = cap;
	}
	memcpy(n->line + n->line_len, p, len);
	n->line_len += len;
	return true;
}

static void watch_data(struct link_stream *s, const void *buf, size_t len, void *arg)
{
	struct node_conn *n = arg;
	const char *p = buf, *end = p + len, *nl;

	link_stream_took(s, len);
	for (; !n->drop && (nl = memchr(p, '\n', (size_t)(end - p))); p = nl + 1) {
		if (n->line_len == 0) {
			line_came(n, p, (size_t)(nl - p));
		} else if (keep(n, p, (size_t)(nl - p))) {
			line_came(n, n->line, n->line_len);
			n->line_len = 0;
		} else {
			node_conn_drop(n, "a line of its watch is too long");
		}
	}
	if (!n->drop && p < end && !keep(n, p, (size_t)(end - p)))
		node_conn_drop(n, "a line of its watch is too long");
}

static void watch_answered(struct link_stream *s, unsigned status, void *arg)
{
	if (status != 200)
		node_conn_drop(arg, "its answer to POST /v1/watch is %u", status);
}

static void watch_closed(struct link_stream *s, int error, void *arg)
{
	struct node_conn *n = arg;

	n->watch = NULL;
	if (error != -ECONNRESET) /* else the link's end says why */
		node_conn_drop(n, "its watch has ended");
}

static const struct link_stream_ops watch_ops = {
	.answered = watch_answered, .data = watch_data, .closed = watch_closed};

int node_watch_open(struct node_conn *n)
{
	return link_open(n->link, "POST", "/v1/watch", NULL, &watch_ops, n, &n->watch);
}
