/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/events: the log of events from a number on, and then what comes, as server-sent events
 * (HTML Living Standard §9.2). A follower holds only the number of the last event that it has sent:
 * the log is its queue, so a slow reader costs nothing, and one that comes back says where it was
 * (Last-Event-ID). */
#include <errno.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/meta.h"
#include "cloud/control/server_internal.h"

#define KEEP_ALIVE_NS 15000000000ull
#define CHUNK	      16384
#define LIST_MAX      1000

#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

struct follower {
	struct server *server;
	struct MHD_Connection *conn;
	bool suspended, ending;
	uint64_t seq, said_ns;
	char project[64]; /* "" = all */
	char token[32];	  /* id of the one that opened it; "" = none */
	char *text;	  /* made and not yet sent */
	size_t len, at;
	struct follower *next, **back;
};

/* ---- who may see what ---- */

static bool seen_by(const char *project, const json_t *event)
{
	const char *of = json_string_value(json_object_get(event, "project"));

	return !*project || (of && !strcmp(of, project));
}

/* An admin sees all unless the query names a project. */
static const char *limit_to(struct call *c)
{
	return c->role == ROLE_ADMIN && !call_query(c, "project") ? "" : c->project;
}

/* ---- one follower ---- */

static int add_event(void *arg, uint64_t seq, json_t *event)
{
	struct follower *f = arg;
	char *json, *text;
	int n;

	f->seq = seq;
	if (!seen_by(f->project, event))
		return 0;
	json = json_dumps(event, JSON_COMPACT);
	n = json ? asprintf(&text, "%.*sid: %llu\ndata: %s\n\n", (int)f->len,
			   f->text ? f->text : "", (unsigned long long)seq, json)
		 : -1;
	free(json);
	if (n < 0)
		return -ENOMEM;
	free(f->text);
	f->text = text;
	f->len = (size_t)n;
	return f->len > CHUNK; /* the rest when this has gone */
}

static void fill(struct follower *f)
{
	free(f->text);
	f->text = NULL;
	f->len = f->at = 0;
	if (store_newest_event(f->server->control->store) > f->seq)
		store_events_since(f->server->control->store, f->seq, add_event, f);
	if (!f->len && ev_now_ns() - f->said_ns >= KEEP_ALIVE_NS) {
		f->text = strdup(":\n\n");
		f->len = f->text ? 3 : 0;
	}
}

static ssize_t on_read(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct follower *f = arg;
	size_t n;

	(void)pos;
	if (f->ending)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (f->at == f->len)
		fill(f);
	n = f->len - f->at < max ? f->len - f->at : max;
	if (!n) {
		f->suspended = true;
		MHD_suspend_connection(f->conn);
		return 0;
	}
	memcpy(buf, f->text + f->at, n);
	f->at += n;
	f->said_ns = ev_now_ns();
	return (ssize_t)n;
}

static void on_free(void *arg)
{
	struct follower *f = arg;

	*f->back = f->next;
	if (f->next)
		f->next->back = f->back;
	free(f->text);
	free(f);
}

static void resume(struct follower *f)
{
	if (!f->suspended)
		return;
	f->suspended = false;
	MHD_resume_connection(f->conn);
	server_kick(f->server);
}

/* ---- all of them ---- */

static void on_wake(struct ev_timer *t)
{
	struct server *s = container_of(t, struct server, wake);

	for (struct follower *f = s->followers; f; f = f->next)
		resume(f);
	if (s->followers)
		ev_timer_arm(s->loop, &s->wake, ev_now_ns() + KEEP_ALIVE_NS);
}

void followers_revoke(struct server *s, const char *token_id)
{
	for (struct follower *f = s->followers; f; f = f->next)
		if (!strcmp(f->token, token_id))
			f->ending = true; /* when it wakes, which every change sees to */
}

/* Changes come in bursts: one turn of the loop later all of them go together. */
static void on_change(struct obj_watch *w, struct obj *o, bool deleted)
{
	struct server *s = container_of(w, struct server, watch);

	if (deleted && o->kind == KIND_TOKEN) {
		followers_revoke(s, o->id);
		pipes_revoke(s, o->id);
	}
	if (s->followers)
		ev_timer_arm(s->loop, &s->wake, ev_now_ns());
}

void followers_init(struct server *s)
{
	s->wake.fire = on_wake;
	s->watch.changed = on_change;
	objects_watch(s->control->objects, &s->watch);
}

void followers_fini(struct server *s)
{
	ev_timer_cancel(&s->wake);
	objects_unwatch(s->control->objects, &s->watch);
	for (struct follower *f = s->followers; f; f = f->next) {
		f->ending = true;
		resume(f);
	}
}

const struct follower *follower_next(const struct follower *f)
{
	return f->next;
}

static void follow(struct call *c, uint64_t seq)
{
	struct req *r = req_of(c);
	struct server *s = r->server;
	struct follower *f = calloc(1, sizeof(*f));
	struct MHD_Response *m = NULL;

	if (f) {
		f->server = s;
		f->conn = r->conn;
		f->seq = seq;
		f->said_ns = 0; /* so that the first bytes come at once */
		snprintf(f->project, sizeof(f->project), "%s", limit_to(c));
		if (c->token_id)
			snprintf(f->token, sizeof(f->token), "%s", c->token_id);
		m = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, CHUNK, on_read, f, on_free);
	}
	if (!m) {
		free(f);
		call_problem(c, 500, NULL, "out of memory");
		return;
	}
	f->next = s->followers;
	f->back = &s->followers;
	if (f->next)
		f->next->back = &f->next;
	s->followers = f;
	ev_timer_arm(s->loop, &s->wake, ev_now_ns() + KEEP_ALIVE_NS);
	MHD_add_response_header(m, "Content-Type", "text/event-stream");
	req_answer(r, 200, m);
}

/* ---- the list ---- */

struct listing {
	const char *project;
	json_t *items;
	uint64_t last;
	unsigned limit;
};

static int list_event(void *arg, uint64_t seq, json_t *event)
{
	struct listing *l = arg;
	json_t *copy;

	if (json_array_size(l->items) == l->limit)
		return 1;
	l->last = seq;
	if (!seen_by(l->project, event))
		return 0;
	copy = json_copy(event);
	json_object_set_new(copy, "seq", json_integer((json_int_t)seq));
	json_array_append_new(l->items, copy);
	return 0;
}

static void list(struct call *c, uint64_t seq)
{
	const char *limit = call_query(c, "limit");
	struct listing l = {
		limit_to(c), NULL, seq, limit ? (unsigned)strtoul(limit, NULL, 10) : 100};
	json_t *next = json_null();

	if (l.limit < 1 || l.limit > LIST_MAX) {
		json_decref(next);
		call_problem(c, 400, "limit", "limit: %s; allowed: 1 to %d", limit, LIST_MAX);
		return;
	}
	l.items = json_array();
	if (store_events_since(c->control->store, seq, list_event, &l) > 0)
		next = json_sprintf("%llu", (unsigned long long)l.last);
	call_reply(c, 200, json_pack("{s:o, s:o}", "items", l.items, "next", next));
}

/* ?follow=0: what is kept, as a list (?page= as the previous answer's next); otherwise what comes,
 * after Last-Event-ID or ?since= where one is given. */
static void get_events(struct call *c)
{
	const char *follow_it = call_query(c, "follow");
	bool once = follow_it && !strcmp(follow_it, "0");
	const char *from = call_header(c, "Last-Event-ID");
	uint64_t newest = store_newest_event(c->control->store), seq;
	char *end = NULL;

	if (!from)
		from = call_query(c, once ? "page" : "since");
	if (!from && once)
		from = call_query(c, "since");
	seq = from ? strtoull(from, &end, 10) : once ? 0 : newest;
	if (from && (!*from || *end)) {
		call_problem(c, 400, once ? "page" : "since",
			"\"%s\" is no number of an event; the newest has %llu", from,
			(unsigned long long)newest);
		return;
	}
	if (once)
		list(c, seq);
	else
		follow(c, seq > newest ? newest : seq);
}

static const struct field event_fields[] = {
	{"seq", F_INT, F_OUTPUT, .help = "number, growing; in the stream it is the event's id"},
	{"time", F_STR, F_OUTPUT, .help = "RFC 3339, UTC"},
	{"kind", F_STR, F_OUTPUT, .help = "instance, volume, …"},
	{"id", F_STR, F_OUTPUT, .help = "of the object"},
	{"name", F_STR, F_OUTPUT, .help = "of the object"},
	{"project", F_STR, F_OUTPUT | F_NULL, .help = "of the object"},
	{"event", F_STR, F_OUTPUT, .help = "created, started, …"},
	{"text", F_STR, F_OUTPUT | F_NULL, .help = "one line for people"},
	{"actor", F_STR, F_OUTPUT | F_NULL, .help = "who did it"},
	{"request_id", F_STR, F_OUTPUT | F_NULL, .help = "the same as in the logs"}, {NULL}};

const struct route event_routes[] = {
	{"GET", "/v1/events", get_events, ROLE_PROJECT, .reply = event_fields, .list = true,
		.summary = "what happens, as server-sent events; ?follow=0 lists what is kept"},
};
const unsigned event_nroutes = 1;
