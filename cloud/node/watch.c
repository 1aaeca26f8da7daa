/* SPDX-License-Identifier: Apache-2.0 */
/* Who watches gets each instance's newest state, not each state: every change gives the instance
 * the next number, and a watcher that has room is given what is beyond the last number it had. So
 * one that is slow, or comes late, costs no memory. */
#include <stdlib.h>
#include <string.h>
#include "cloud/node/node_priv.h"
#include "vmm/base/cleanup.h"

struct watcher {
	struct list link;
	struct node *node;
	struct link_stream *s;
	uint64_t had;
	bool full;
};

/* Takes j. */
static void send_line(struct watcher *w, json_t *j)
{
	cleanup_free char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	size_t n = text ? strlen(text) : 0;

	json_decref(j);
	if (!text)
		return;
	text[n] = '\n'; /* instead of the 0 */
	if (link_stream_write(w->s, text, n + 1) <= 0)
		w->full = true;
}

static struct instance *next_of(struct watcher *w)
{
	struct instance *next = NULL;

	list_for_each (it, &w->node->instances) {
		struct instance *in = container_of(it, struct instance, link);

		if (in->told && in->seq > w->had && (!next || in->seq < next->seq))
			next = in;
	}
	return next;
}

/* What was refused is offered again: `had` moves on only with room. */
static void pump(struct watcher *w)
{
	struct instance *in;

	while (!w->full && (in = next_of(w))) {
		cleanup_free char *text = NULL;
		json_t *j = json_pack("{s:O}", "instance", in->told);
		size_t n;
		ssize_t r;

		text = j ? json_dumps(j, JSON_COMPACT) : NULL;
		json_decref(j);
		if (!text)
			return;
		n = strlen(text);
		text[n] = '\n';
		r = link_stream_write(w->s, text, n + 1);
		if (r >= 0)
			w->had = in->seq;
		if (r <= 0)
			w->full = true;
	}
}

void watch_pump_all(struct node *n)
{
	list_for_each (it, &n->watchers) {
		pump(container_of(it, struct watcher, link));
	}
}

void watch_changed(struct instance *in)
{
	json_t *o = node_instance_observed(in);

	if (!o || (in->told && json_equal(o, in->told))) {
		json_decref(o);
		return;
	}
	json_decref(in->told);
	in->told = o;
	in->seq = ++in->node->seq;
	watch_pump_all(in->node);
}

/* ---- the stream ---- */

static void ignore(struct link_stream *s, const void *p, size_t n, void *arg)
{
	link_stream_took(s, n);
}

static void writable(struct link_stream *s, void *arg)
{
	struct watcher *w = arg;

	w->full = false;
	pump(w);
}

static void closed(struct link_stream *s, int error, void *arg)
{
	struct watcher *w = arg;

	list_del(&w->link);
	free(w);
}

static const struct link_stream_ops ops = {.data = ignore, .writable = writable, .closed = closed};

static void beat(struct ev_timer *t)
{
	struct node *n = container_of(t, struct node, beat);

	ev_timer_arm(n->loop, t, ev_now_ns() + 4000000000ull);
	list_for_each (it, &n->instances) {
		struct instance *in = container_of(it, struct instance, link);

		logs_bound(in);
		net_look(in);
	}
	list_for_each (it, &n->watchers) {
		struct watcher *w = container_of(it, struct watcher, link);

		if (!w->full)
			send_line(w, json_pack("{s:o}", "host", facts_load()));
	}
}

void watch_open(struct node *n, struct link_req *r)
{
	struct watcher *w = calloc(1, sizeof(*w));

	if (!w) {
		link_problem(r, 500, "out of memory");
		return;
	}
	w->node = n;
	w->s = link_accept(r, &ops, w);
	if (!w->s) {
		free(w);
		return;
	}
	list_add(&n->watchers, &w->link);
	send_line(w, json_pack("{s:o}", "host", facts_load()));
	pump(w);
}

void watch_begin(struct node *n)
{
	n->beat.fire = beat;
	ev_timer_arm(n->loop, &n->beat, ev_now_ns() + 1000000000ull);
}

void watch_free(struct node *n)
{
	ev_timer_cancel(&n->beat);
}
