/* SPDX-License-Identifier: Apache-2.0 */
/* vm events: follows the event stream and writes a line for each event. */
#include <string.h>
#include <stdlib.h>
#include "tools/polyctl/polyctl.h"
#include "tools/polyctl/sse.h"

struct follow {
	struct call *c;
	struct sse sse;
};

/* "id=_disk0 count=3" */
static void print_properties(const json_t *properties, FILE *out)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)properties, key, v) {
		char *text =
			json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
		fprintf(out, "  %s=%s", key, text ? text : json_string_value(v));
		free(text);
	}
}

static void print_event(const json_t *event, const char *source, const char *name, FILE *out)
{
	json_t *stamp = json_object_get(event, "timestamp");
	json_int_t secs = json_integer_value(json_object_get(stamp, "secs"));
	json_int_t nanos = json_integer_value(json_object_get(stamp, "nanos"));

	fprintf(out, "%6lld.%06lld  %-13s %s", (long long)secs, (long long)nanos / 1000, source,
		name);
	print_properties(json_object_get(event, "properties"), out);
	putc('\n', out);
}

/* One event. Not 0: the one that was waited for. */
static int on_event(void *arg, const char *data)
{
	struct follow *f = arg;
	json_t *event = json_loads(data, 0, NULL);
	const char *source = json_string_value(json_object_get(event, "source"));
	const char *name = json_string_value(json_object_get(event, "event"));
	char full[128] = "";

	if (source && name)
		snprintf(full, sizeof(full), "%s.%s", source, name);
	if (f->c->json || !*full)
		fprintf(f->c->out, "%s\n", data);
	else
		print_event(event, source, name, f->c->out);
	json_decref(event);
	if (fflush(f->c->out))
		return 1;
	return f->c->until && !strcmp(f->c->until, full);
}

static int take(void *arg, const char *p, size_t n)
{
	struct follow *f = arg;

	return sse_feed(&f->sse, p, n, on_event, f);
}

int run_events(struct call *c, struct err *e)
{
	struct follow f = {.c = c};
	struct client_req q = {.method = c->verb->method, .path = c->verb->path};
	struct client_reply reply;
	int r = client_stream(c->socket, &q, take, &f, &reply, e);

	sse_fini(&f.sse);
	if (r < 0)
		return r;
	if (reply.status != 200)
		r = call_refused(&reply, e);
	else if (c->until && !f.sse.stopped)
		r = err_set(e, ERR_HOST, -ENODATA, "polyvisor ended before %s", c->until);
	free(reply.body);
	return r;
}
