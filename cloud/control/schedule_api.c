/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/schedule: what the scheduler would do with an instance, host by host, and what other
 * areas ask the scheduler about hosts. */
#include <stdlib.h>
#include <string.h>

#include "cloud/control/hosts_do.h"
#include "cloud/control/nodes.h"
#include "cloud/control/reconcile_internal.h"
#include "cloud/control/resources.h"

/* A fleet's worth of explanations is more than anybody reads. */
#define CANDIDATES 200

static json_t *candidate(const struct host_facts *h, const struct sched_request *q)
{
	char reason[SCHED_REASONS][SCHED_REASON_LEN];
	struct sched_verdict v = schedule_host(h, q);
	unsigned n = schedule_reasons(h, q, reason);
	json_t *list = json_array();
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_string(reason[i]));
	return json_pack("{s:s, s:s, s:b, s:i, s:o}", "host", h->name, "chip", chip_text(h->chip),
		"fits", v.no == 0, "score", v.no ? 0 : v.score, "reasons", list);
}

static json_t *explain(struct reconciler *r, const struct sched_request *q)
{
	unsigned n;
	const struct host_facts *facts = fleet_facts(r->fleet, &n);
	int best = schedule(facts, n, q);
	json_t *list = json_array();
	if (best >= 0)
		json_array_append_new(list, candidate(&facts[best], q));
	for (unsigned i = 0; i < n && json_array_size(list) < CANDIDATES; i++) {
		if ((int)i != best)
			json_array_append_new(list, candidate(&facts[i], q));
	}
	char why[600] = "";
	if (best < 0)
		schedule_why_not(facts, n, q, why, sizeof(why));
	return json_pack("{s:s?, s:s?, s:i, s:o}", "host", best < 0 ? NULL : facts[best].name,
		"reason", best < 0 ? why : NULL, "hosts", n, "candidates", list);
}

static void schedule_post(struct call *c)
{
	struct reconciler *r = c->control->reconciler;
	struct err e = {0};
	char field[64] = "";
	json_t *doc;
	int rc = instance_draft(c, c->body, &doc, field, &e);
	if (rc) {
		call_problem(c,
			e.kind == ERR_NOT_FOUND	 ? 404
			: e.kind == ERR_CONFLICT ? 409
						 : 400,
			field[0] ? field : NULL, "%s", e.text);
		return;
	}
	struct sched_want *w = malloc(sizeof(*w));
	if (!w)
		call_problem(c, 500, NULL, "no memory");
	else if (want_read(c->control, c->project, doc, w, &e))
		call_err(c, &e);
	else
		call_reply(c, 200, explain(r, &w->req));
	free(w);
	json_decref(doc);
}

json_t *hosts_allocated(struct control *c, const char *host_id)
{
	unsigned n;
	struct fleet *f = c->reconciler->fleet;
	const struct host_facts *facts = fleet_facts(f, &n);
	int i = fleet_index(f, host_id);
	return json_pack("{s:I, s:I}", "cpus", (json_int_t)(i < 0 ? 0 : facts[i].used_cpus),
		"memory_mib", (json_int_t)(i < 0 ? 0 : facts[i].used_memory_mib));
}

json_t *hosts_load(struct control *c, const char *host_id)
{
	return c->nodes ? json_deep_copy(nodes_load(c->nodes, host_id)) : NULL;
}

json_t *pools_baseline(struct control *c, const char *pool)
{
	return fleet_pool_baseline(c->reconciler->fleet, pool);
}

static const struct field reason_list[] = {
	{"host", F_STR, F_OUTPUT, .help = "the host's name"},
	{"chip", F_STR, F_OUTPUT},
	{"fits", F_BOOL, F_OUTPUT},
	{"score", F_INT, F_OUTPUT, .max = 1100, .help = "among those that fit, the most wins"},
	{"reasons", F_STRS, F_OUTPUT, .help = "why it does not fit, or what the score is made of"},
	{0},
};
static const struct field explanation[] = {
	{"host", F_STR, F_OUTPUT | F_NULL, .help = "the choice; null when none fits"},
	{"reason", F_STR, F_OUTPUT | F_NULL, .help = "when none fits, why, in one line"},
	{"hosts", F_INT, F_OUTPUT, .max = INT32_MAX, .help = "how many there are"},
	{"candidates", F_OBJECTS, F_OUTPUT, .of = reason_list,
		.help = "the choice first; at most 200"},
	{0},
};
const struct route schedule_routes[] = {
	{"POST", "/v1/schedule", schedule_post, ROLE_PROJECT, instance_fields, explanation,
		"explain where an instance would go, without making it"},
};
const unsigned schedule_nroutes = sizeof(schedule_routes) / sizeof(*schedule_routes);
