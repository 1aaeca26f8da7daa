/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/instances/{id}/diagnose: from the control plane inwards, hop by hop, each with evidence.
 *
 *   control ─ host ─ volume ─ network ─ offload ─ vmm ─ ring ─ guest
 *
 * The node tells of its own hops; control adds itself and, when the node cannot be asked, says that
 * nothing is known beyond it. The first unhealthy hop in this order is the cause, as each hop needs
 * those before it; a hop that could not be told (null) is no cause. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/control/hosts_do.h"
#include "cloud/control/reconcile_internal.h"
#include "vmm/base/cleanup.h"

static const char *const hops[] = {
	"control", "host", "volume", "network", "offload", "vmm", "ring", "guest"};
#define HOPS (sizeof(hops) / sizeof(*hops))

static json_t *hop(const char *name, json_t *ok, const char *evidence)
{
	return json_pack("{s:s, s:o, s:s}", "hop", name, "ok", ok, "evidence", evidence);
}

static json_t *find(const json_t *list, const char *name)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *one = json_array_get(list, i);
		const char *is = doc_str(one, "hop");
		if (is && !strcmp(is, name))
			return one;
	}
	return NULL;
}

static json_t *control_hop(struct call *c, const struct obj *o)
{
	const char *host = doc_str(o->doc, "host_id");
	const char *reason = doc_str(json_object_get(o->doc, "observed"), "reason");
	char text[500];
	if (!host) {
		snprintf(text, sizeof(text), "no host: %s",
			reason && *reason ? reason : "not scheduled yet");
		return hop("control", json_false(), text);
	}
	struct item *it = item_find(c->control->reconciler, o->id);
	snprintf(text, sizeof(text), "on host %s, generation %lld, desired %s, %s",
		doc_str(o->doc, "host"), (long long)doc_num(o->doc, "generation"),
		doc_state(o->doc, "desired"),
		it && it->acked ? "told to its node" : "not told to its node yet");
	return hop("control", json_true(), text);
}

/* The hops after control: the node's, or host's state and nothing beyond. */
static void add_hops(json_t *list, const json_t *node, json_t *host)
{
	for (size_t i = 1; i < HOPS; i++) {
		json_t *one = find(node, hops[i]);
		if (i == 1 && host)
			json_array_append(list, host);
		else if (one)
			json_array_append(list, one);
		else
			json_array_append_new(
				list, hop(hops[i], json_null(),
					      node ? "its node says nothing of it"
						   : "cannot be told without its host"));
	}
}

static void answer(struct call *c, struct obj *o, const json_t *node, json_t *host)
{
	json_t *list = json_array();
	const char *first = NULL;
	json_array_append_new(list, control_hop(c, o));
	add_hops(list, node, host);
	for (size_t i = 0; i < HOPS && !first; i++) {
		if (json_is_false(json_object_get(json_array_get(list, i), "ok")))
			first = hops[i];
	}
	call_reply(c, 200,
		json_pack("{s:s, s:s, s:s, s:b, s:s?, s:o}", "instance", o->id, "name", o->name,
			"state", doc_state(o->doc, "observed"), "healthy", first == NULL,
			"first_unhealthy", first, "hops", list));
}

struct ask {
	struct call *c;
	char id[ID_LEN], host[ID_LEN];
};

static void answered(void *arg, unsigned status, json_t *body, const char *error)
{
	cleanup_free struct ask *a = arg;
	struct obj *o = obj_get(a->c->control->objects, KIND_INSTANCE, a->id);
	json_t *node = json_object_get(body, "hops");
	char why[300];
	if (!o) {
		call_problem(a->c, 404, NULL, "instance %s was deleted meanwhile", a->id);
		return;
	}
	if (status == 200 && json_is_array(node)) {
		answer(a->c, o, node, NULL);
		return;
	}
	struct item *it = item_find(a->c->control->reconciler, o->id);
	const char *reason = doc_str(json_object_get(o->doc, "observed"), "reason");
	bool waits = status == 404 && it && !it->failures;
	if (status == 404)
		snprintf(why, sizeof(why), "it has nothing of the instance yet: %s",
			reason && *reason ? reason : "it was not told");
	else
		act_why(a->c->control->reconciler, a->host, status, body, error, why, sizeof(why));
	json_t *host = hop("host", waits ? json_null() : json_false(), why);
	answer(a->c, o, NULL, host);
	json_decref(host);
}

static void diagnose(struct call *c)
{
	struct obj *o = call_obj(c, KIND_INSTANCE, c->param[0]);
	if (!o)
		return;
	struct reconciler *r = c->control->reconciler;
	const char *host_id = doc_str(o->doc, "host_id");
	struct link *l = host_id ? nodes_link(c->control->nodes, host_id) : NULL;
	struct ask *a = l ? calloc(1, sizeof(*a)) : NULL;
	if (!a) {
		char text[200];
		snprintf(text, sizeof(text), "host %s is not connected", host_name(r, host_id));
		json_t *host = hop("host", host_id ? json_false() : json_null(),
			host_id ? text : "it has no host");
		answer(c, o, NULL, host);
		json_decref(host);
		return;
	}
	char path[96];
	a->c = c;
	snprintf(a->id, sizeof(a->id), "%s", o->id);
	snprintf(a->host, sizeof(a->host), "%s", host_id);
	snprintf(path, sizeof(path), "/v1/instances/%s/diagnose", o->id);
	link_call(l, "GET", path, NULL, c->request_id, answered, a);
}

static const struct field hop_fields[] = {
	{"hop", F_STR, F_OUTPUT,
		.help = "control, host, volume, network, offload, vmm, ring, guest"},
	{"ok", F_BOOL, F_OUTPUT | F_NULL, .help = "null: it could not be told"},
	{"evidence", F_STR, F_OUTPUT},
	{0},
};
static const struct field diagnosis[] = {
	{"instance", F_STR, F_OUTPUT},
	{"name", F_STR, F_OUTPUT},
	{"state", F_STR, F_OUTPUT},
	{"healthy", F_BOOL, F_OUTPUT},
	{"first_unhealthy", F_STR, F_OUTPUT | F_NULL, .help = "the hop that is the cause"},
	{"hops", F_OBJECTS, F_OUTPUT, .of = hop_fields},
	{0},
};
const struct route diagnose_routes[] = {
	{"GET", "/v1/instances/{id}/diagnose", diagnose, ROLE_PROJECT, NULL, diagnosis,
		"walk from the control plane to the guest, and name the first unhealthy hop"},
};
const unsigned diagnose_nroutes = sizeof(diagnose_routes) / sizeof(*diagnose_routes);
