/* SPDX-License-Identifier: Apache-2.0 */
/* polyctl events: what has happened, and with -f what happens, a line each. When the connection
 * breaks it goes on behind the last event that came (Last-Event-ID, WHATWG HTML §9.2.4). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tools/polyctl/cloud.h"
#include "tools/polyctl/sse.h"
#include "vmm/base/cleanup.h"

#define RETRY_S 1

struct follow {
	struct call *c;
	struct sse sse;
	long long seq; /* of the last one, 0 = none yet */
	bool heard;    /* something came on this connection */
};

static bool print_event(struct call *c, const json_t *event)
{
	char time[40], name[80], what[64], text[200], kind[24], full[90];

	cloud_cell(event, "time", time, sizeof(time));
	cloud_cell(event, "kind", kind, sizeof(kind));
	cloud_cell(event, json_object_get(event, "name") ? "name" : "id", name, sizeof(name));
	cloud_cell(event, "event", what, sizeof(what));
	cloud_cell(event, "text", text, sizeof(text));
	snprintf(full, sizeof(full), "%s.%s", kind, what);
	if (c->json) {
		json_dumpf(event, c->out, JSON_COMPACT);
		putc('\n', c->out);
	} else {
		fprintf(c->out, "%-24s  %-9s %-20s %-12s %s\n", time, kind, name, what, text);
	}
	return c->until && !strcmp(c->until, full);
}

static int on_event(void *arg, const char *data)
{
	struct follow *f = arg;
	json_t *event = json_loads(data, 0, NULL);
	bool last = false;

	f->heard = true;
	if (json_is_object(event)) {
		f->seq = json_integer_value(json_object_get(event, "seq"));
		last = print_event(f->c, event);
	}
	json_decref(event);
	return fflush(f->c->out) || last;
}

static int take(void *arg, const char *p, size_t n)
{
	struct follow *f = arg;

	return sse_feed(&f->sse, p, n, on_event, f);
}

/* One connection. 0: it ended, or broke after it had been good. */
static int follow_once(struct follow *f, const char *path, struct err *e)
{
	char header[64];
	struct client_reply reply = {0};
	struct err why = {0};
	struct cloud_req q = {.method = "GET", .path = path, .take = take, .arg = f};

	if (f->seq) {
		snprintf(header, sizeof(header), "Last-Event-ID: %lld", f->seq);
		q.header = header;
	}
	f->heard = false;
	int r = cloud_request(f->c->end, &q, &reply, &why);
	if (r == 0 && reply.status != 200)
		r = cloud_refused(&reply, e);
	else if (r < 0 && f->heard)
		r = 0;
	else if (r < 0)
		err_set(e, why.kind, r, "%s", why.text);
	free(reply.body);
	return r;
}

static int list(struct call *c, const char *path, struct err *e)
{
	json_t *answer = NULL, *event;
	size_t i;
	int r = cloud_json(c, "GET", path, NULL, &answer, e);

	if (r == 0)
		json_array_foreach (json_object_get(answer, "items"), i, event)
			print_event(c, event);
	json_decref(answer);
	return r;
}

int run_cloud_events(struct call *c, struct err *e)
{
	struct follow f = {.c = c};
	bool follows = c->follow || c->until;
	cleanup_free char *path = NULL;
	unsigned used;
	int r = cloud_begin(c, e);

	if (!follows)
		snprintf(c->query, sizeof(c->query), "&follow=0");
	if (r == 0)
		r = cloud_path(c, c->nwords ? "/v1/instances/{name}/events" : "/v1/events", c->word,
			c->nwords, &used, &path, e);
	if (r == 0 && !follows)
		r = list(c, path, e);
	while (r == 0 && follows) {
		r = follow_once(&f, path, e);
		sse_fini(&f.sse);
		if (f.sse.stopped)
			break;
		f.sse = (struct sse){0};
		if (r == 0)
			sleep(RETRY_S);
	}
	cloud_done(c);
	return r;
}
