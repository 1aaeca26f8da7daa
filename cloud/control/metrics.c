/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics: what the control plane counts. Labels are rows of the API, kinds and states, never
 * names that users give, so that the number of series is bounded. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/meta.h"
#include "cloud/control/nodes.h"
#include "cloud/control/reconcile.h"
#include "cloud/control/server_internal.h"
#include "vmm/http/metrics.h"

static void row_labels(FILE *f, const struct server *s, unsigned i)
{
	metrics_label(f, "method", i < s->router.n ? s->router.row[i]->method : "");
	fputc(',', f);
	metrics_label(f, "path", i < s->router.n ? s->router.row[i]->path : "");
}

static void write_answers(FILE *f, const struct server *s)
{
	metrics_family(f, "polycloud_http_responses_total", "counter", "Answers by row and class.");
	for (unsigned i = 0; i <= s->router.n; i++)
		for (unsigned k = 1; k < 6; k++) {
			if (!s->stats[i].by_class[k])
				continue;
			fputs("polycloud_http_responses_total{", f);
			row_labels(f, s, i);
			fprintf(f, ",class=\"%uxx\"} %" PRIu64 "\n", k, s->stats[i].by_class[k]);
		}
}

static void write_seconds(FILE *f, const struct server *s)
{
	static const char *const le[BUCKETS] = {
		"0.001", "0.003", "0.01", "0.03", "0.1", "0.3", "1", "+Inf"};

	metrics_family(f, "polycloud_http_seconds", "histogram", "From request line to answer.");
	for (unsigned i = 0; i <= s->router.n; i++) {
		const struct route_stats *st = &s->stats[i];
		uint64_t sum = 0;

		for (unsigned b = 0; b < BUCKETS; b++)
			sum += st->bucket[b];
		if (!sum)
			continue;
		sum = 0;
		for (unsigned b = 0; b < BUCKETS; b++) {
			sum += st->bucket[b];
			fputs("polycloud_http_seconds_bucket{", f);
			row_labels(f, s, i);
			fprintf(f, ",le=\"%s\"} %" PRIu64 "\n", le[b], sum);
		}
		fputs("polycloud_http_seconds_sum{", f);
		row_labels(f, s, i);
		fputc('}', f);
		metrics_seconds(f, st->ns);
		fputs("polycloud_http_seconds_count{", f);
		row_labels(f, s, i);
		fprintf(f, "} %" PRIu64 "\n", sum);
	}
}

static void one(FILE *f, const char *name, const char *type, const char *help, uint64_t value)
{
	metrics_family(f, name, type, help);
	fprintf(f, "%s %" PRIu64 "\n", name, value);
}

static void write_instances(FILE *f, struct objects *os)
{
	static const char *const states[] = {"pending", "scheduled", "preparing", "starting",
		"running", "paused", "stopping", "stopped", "crashed", "failed", "unknown",
		"deleting"};
	uint64_t n[sizeof(states) / sizeof(*states)] = {0};

	for (struct obj *o = NULL; (o = obj_next(os, KIND_INSTANCE, o));) {
		const char *state = json_string_value(
			json_object_get(json_object_get(o->doc, "observed"), "state"));

		for (unsigned i = 0; i < sizeof(states) / sizeof(*states); i++)
			n[i] += state && !strcmp(state, states[i]);
	}
	metrics_family(f, "polycloud_instances", "gauge", "Instances by observed state.");
	for (unsigned i = 0; i < sizeof(states) / sizeof(*states); i++)
		fprintf(f, "polycloud_instances{state=\"%s\"} %" PRIu64 "\n", states[i], n[i]);
}

static void write_objects(FILE *f, struct objects *os)
{
	metrics_family(f, "polycloud_objects", "gauge", "Objects by kind.");
	for (unsigned k = 0; k < KIND_COUNT; k++)
		fprintf(f, "polycloud_objects{kind=\"%s\"} %u\n", kind_name(k), obj_count(os, k));
}

static void write_reconciler(FILE *f, const struct control *c)
{
	struct reconcile_stats s = {0};

	if (!c->reconciler)
		return;
	reconcile_stats(c->reconciler, &s);
	one(f, "polycloud_reconcile_queued", "gauge", "Items to look at.", s.queued);
	one(f, "polycloud_reconcile_waiting", "gauge", "Items that back off.", s.waiting);
	one(f, "polycloud_instances_unplaced", "gauge", "Instances without a host.", s.unplaced);
	one(f, "polycloud_reconcile_turns_total", "counter", "Looks at an item.", s.turns);
	one(f, "polycloud_reconcile_calls_total", "counter", "Calls to nodes.", s.calls);
	one(f, "polycloud_reconcile_failures_total", "counter", "Calls that failed.", s.failures);
	one(f, "polycloud_placements_total", "counter", "Hosts chosen.", s.placements);
	metrics_family(
		f, "polycloud_schedule_seconds_total", "counter", "Spent in choosing hosts.");
	fputs("polycloud_schedule_seconds_total", f);
	metrics_seconds(f, s.decide_ns);
}

static void write_process(FILE *f)
{
	one(f, "process_resident_memory_bytes", "gauge", "Of polycloud.", metrics_resident_bytes());
	metrics_family(f, "process_cpu_seconds_total", "counter", "Of polycloud.");
	fputs("process_cpu_seconds_total", f);
	metrics_seconds(f, metrics_cpu_ns());
}

void metrics_write(struct call *c)
{
	const struct control *control = c->control;
	const struct server *s = control->server;
	unsigned followers = 0;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f) {
		call_problem(c, 500, NULL, "out of memory");
		return;
	}
	for (const struct follower *w = s->followers; w; w = follower_next(w))
		followers++;
	write_answers(f, s);
	write_seconds(f, s);
	one(f, "polycloud_http_bad_tokens_total", "counter", "Requests with an unknown token.",
		s->bad_token);
	one(f, "polycloud_event_followers", "gauge", "Event streams that are open.", followers);
	write_objects(f, control->objects);
	write_instances(f, control->objects);
	if (control->nodes)
		one(f, "polycloud_nodes_connected", "gauge", "Nodes that are connected.",
			nodes_count(control->nodes));
	write_reconciler(f, control);
	write_process(f);
	if (fclose(f) == 0)
		call_reply_text(c, 200, METRICS_TYPE, text, len);
	else
		call_problem(c, 500, NULL, "out of memory");
	free(text);
}
