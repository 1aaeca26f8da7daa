/* SPDX-License-Identifier: Apache-2.0 */
/* What a host has against what the store says, when the host comes and whenever it reports. An
 * equal generation on the host that the store names is the normal case. A larger one is the newer
 * truth from that host, and from any other only while a restored store waits for all: at other
 * times the store has handed out every generation itself, and a host may not take what is
 * another's. What is certainly stale is deleted there, with an event; what is not known at all (the
 * store was restored from an older backup) is adopted, never killed. */
#include "cloud/control/reconcile_internal.h"

#include <stdlib.h>
#include <string.h>

static void event_on(struct reconciler *r, struct obj *o, const char *event, const char *text)
{
	doc_put(r, o, json_deep_copy(o->doc), "scheduler", event, text);
}

/* ---- reports ---- */

static json_t *observed_of(struct reconciler *r, const char *host_id, const json_t *report)
{
	json_t *obs = json_deep_copy(report);
	json_object_del(obs, "id");
	json_object_del(obs, "generation");
	json_object_del(obs, "assignment");
	doc_set_str(obs, "host", host_name(r, host_id));
	return obs;
}

void instance_report(struct reconciler *r, struct item *it, struct obj *o, const char *host_id,
	const json_t *report)
{
	const char *host = doc_str(o->doc, "host_id"), *state = doc_str(report, "state");
	if (!host || !state || strcmp(host, host_id) ||
		doc_num(report, "generation") != doc_num(o->doc, "generation"))
		return;
	it->seen = true;
	if (host_is_fenced(r, host_id))
		return;
	if (!strcmp(doc_state(o->doc, "desired"), "deleted"))
		return;
	json_t *obs = observed_of(r, host_id, report);
	if (json_equal(obs, json_object_get(o->doc, "observed"))) {
		json_decref(obs);
		return;
	}
	bool told = strcmp(state, doc_state(o->doc, "observed")) != 0;
	char actor[96], event[32], text[200];
	const char *reason = doc_str(report, "reason");
	snprintf(actor, sizeof(actor), "node:%s", host_name(r, host_id));
	snprintf(event, sizeof(event), "%s", state);
	snprintf(text, sizeof(text), "%s", reason ? reason : "");
	json_t *doc = json_deep_copy(o->doc);
	json_object_set_new(doc, "observed", obs);
	doc_put_lazy(r, o, doc, actor, told ? event : NULL, text[0] ? text : NULL);
}

/* ---- a host that came ---- */

/* The store knows an older generation than the host: it was restored from before. */
static void catch_up(struct reconciler *r, struct obj *o, const char *host_id, int64_t generation)
{
	char text[160];
	json_t *doc = json_deep_copy(o->doc);
	snprintf(text, sizeof(text), "found on host %s", host_name(r, host_id));
	doc_set_str(doc, "host_id", host_id);
	doc_set_str(doc, "host", host_name(r, host_id));
	json_object_set_new(doc, "generation", json_integer(generation));
	if (doc_put(r, o, doc, "scheduler", "adopted", text))
		r->stats.adopted++;
}

static void discard(struct reconciler *r, struct obj *o, const char *host_id, const char *id)
{
	char text[160];
	snprintf(text, sizeof(text), "what host %s still had of it", host_name(r, host_id));
	if (o)
		event_on(r, o, "discarded", text);
	log_line(r->c->log, LOG_WARN, id, "host %s has it without right; it is deleted there",
		host_name(r, host_id));
	r->stats.discarded++;
	act_discard(r, host_id, id);
}

/* It may be running there, so it is not deleted either. */
static void claimed(struct reconciler *r, const struct obj *o, const char *host_id)
{
	struct obj *host = obj_get(r->c->objects, KIND_HOST, host_id);
	char text[200];
	snprintf(text, sizeof(text), "claims instance %s, which is not on this host: ignored",
		o->id);
	log_line(r->c->log, LOG_WARN, "reconcile", "host %s %s", host_name(r, host_id), text);
	if (host)
		event_on(r, host, "claimed", text);
}

static void known(struct reconciler *r, struct obj *o, const char *host_id, const json_t *report)
{
	int64_t theirs = doc_num(report, "generation"), ours = doc_num(o->doc, "generation");
	const char *host = doc_str(o->doc, "host_id");
	bool here = host && !strcmp(host, host_id);
	if (theirs > ours && !here && !r->settling) {
		claimed(r, o, host_id);
		return;
	}
	if (theirs > ours) {
		catch_up(r, o, host_id, theirs);
		o = obj_get(r->c->objects, KIND_INSTANCE, doc_str(report, "id"));
	} else if (!here) {
		discard(r, o, host_id, doc_str(report, "id"));
		return;
	}
	struct item *it = o ? item_find(r, o->id) : NULL;
	if (!it)
		return;
	it->seen = true;
	instance_report(r, it, o, host_id, report);
}

static json_t *orphan_doc(struct reconciler *r, const char *host_id, const json_t *report)
{
	json_t *a = json_object_get(report, "assignment");
	const char *id = doc_str(report, "id"), *name = doc_str(a, "name");
	const char *project = doc_str(a, "project");
	char unique[96], now[ID_LEN];
	obj_now(now);
	snprintf(unique, sizeof(unique), "%.40s", name ? name : id);
	if (obj_find(r->c->objects, KIND_INSTANCE, project, unique))
		snprintf(unique, sizeof(unique), "%.40s-%s", name ? name : "orphan",
			id + strlen(id) - 6);
	const char *state = doc_str(a, "state");
	return json_pack(
		"{s:s, s:s, s:s, s:O?, s:O?, s:O?, s:O?, s:s, s:s, s:I, s:{s:s, s:O?}, s:b, s:O, "
		"s:{s:s, s:s, s:s}}",
		"id", id, "name", unique, "project", project, "cpus", json_object_get(a, "cpus"),
		"memory_mib", json_object_get(a, "memory_mib"), "labels",
		json_object_get(a, "labels"), "restart", json_object_get(a, "restart"), "host_id",
		host_id, "host", host_name(r, host_id), "generation",
		(json_int_t)doc_num(report, "generation"), "desired", "state",
		state ? state : "running", "reboots", json_object_get(a, "reboots"), "orphaned", 1,
		"assignment", a, "observed", "state", "unknown", "reason", "", "since", now);
}

static void add_network(json_t *doc, const json_t *a)
{
	const json_t *net = json_object_get(a, "net");
	json_t *forwards = json_object_get(net, "forwards");
	if (json_is_object(net)) {
		json_object_set(doc, "mac", json_object_get(net, "mac"));
		json_object_set(doc, "ip", json_object_get(net, "ip"));
	}
	if (json_is_array(forwards))
		json_object_set(doc, "ports", forwards);
}

static int64_t size_of(const json_t *state, const char *id)
{
	size_t i;
	json_t *v;
	json_array_foreach (json_object_get(state, "volumes"), i, v) {
		const char *is = doc_str(v, "id");
		if (is && !strcmp(is, id))
			return doc_num(v, "size_mib");
	}
	return 0;
}

/* The volumes that an unknown instance has: those that are not known either come with it. */
static void orphan_volumes(
	struct reconciler *r, const json_t *state, const char *host_id, json_t *doc)
{
	size_t i;
	json_t *v, *disks = json_array();
	struct change c = {.event = "adopted", .actor = "scheduler"};
	json_array_foreach (json_object_get(json_object_get(doc, "assignment"), "volumes"), i, v) {
		const char *id = doc_str(v, "id");
		if (!id)
			continue;
		json_array_append_new(disks, json_pack("{s:s, s:s}", "volume", id, "name", id));
		if (!obj_get(r->c->objects, KIND_VOLUME, id))
			obj_put(r->c->objects, KIND_VOLUME,
				json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s}", "id", id,
					"name", id, "project", doc_str(doc, "project"), "size_mib",
					(json_int_t)size_of(state, id), "generation",
					(json_int_t)doc_num(v, "generation"), "attached_to",
					doc_str(doc, "id"), "host_id", host_id, "host",
					host_name(r, host_id), "state", "attached"),
				&c, NULL);
	}
	json_object_set_new(doc, "disks", disks);
}

/* An instance that the store does not know. Its project decides: it must exist. */
static void orphan(
	struct reconciler *r, const json_t *state, const char *host_id, const json_t *report)
{
	json_t *a = json_object_get(report, "assignment");
	const char *id = doc_str(report, "id"), *project = doc_str(a, "project");
	struct obj *host = obj_get(r->c->objects, KIND_HOST, host_id), *o = NULL;
	char text[200];
	r->stats.orphaned++;
	if (!project || !obj_find(r->c->objects, KIND_PROJECT, NULL, project)) {
		snprintf(text, sizeof(text), "instance %s runs here and no project has it", id);
		log_line(r->c->log, LOG_WARN, "reconcile", "host %s: %s", host_name(r, host_id),
			text);
		if (host)
			event_on(r, host, "orphaned", text);
		return;
	}
	json_t *doc = orphan_doc(r, host_id, report);
	snprintf(text, sizeof(text), "was not known, runs on host %s", host_name(r, host_id));
	struct change c = {.event = "adopted", .text = text, .actor = "scheduler"};
	const char *chip = host ? doc_str(host->doc, "chip") : NULL;
	if (doc && chip)
		doc_set_str(doc, "chip", chip);
	if (doc) {
		add_network(doc, a);
		orphan_volumes(r, state, host_id, doc);
	}
	if (!doc || obj_put(r->c->objects, KIND_INSTANCE, doc, &c, &o)) {
		log_line(r->c->log, LOG_ERROR, id, "was found on host %s and is not adopted",
			host_name(r, host_id));
		return;
	}
	r->stats.adopted++;
	struct item *it = item_find(r, o->id);
	if (it)
		instance_report(r, it, o, host_id, report);
}

/* The generation that a volume's host knows is the one that was given out last, whatever a restored
 * store says; until all have reported, that may be another host than it says. */
static void volumes_catch_up(struct reconciler *r, const char *host_id, const json_t *state)
{
	size_t i;
	json_t *theirs;
	json_array_foreach (json_object_get(state, "volumes"), i, theirs) {
		const char *id = doc_str(theirs, "id");
		struct obj *v = id ? obj_get(r->c->objects, KIND_VOLUME, id) : NULL;
		const char *on = v ? doc_str(v->doc, "host_id") : NULL;
		if (!v || doc_num(theirs, "generation") <= doc_num(v->doc, "generation"))
			continue;
		if (!r->settling && (!on || strcmp(on, host_id)))
			continue;
		json_t *doc = json_deep_copy(v->doc);
		json_object_set(doc, "generation", json_object_get(theirs, "generation"));
		doc_put(r, v, doc, "scheduler", NULL, NULL);
	}
}

static bool was_discarded(const struct obj *host, const char *id)
{
	size_t i;
	json_t *v;
	json_array_foreach (json_object_get(host->doc, "discard"), i, v) {
		if (json_is_string(v) && !strcmp(json_string_value(v), id))
			return true;
	}
	return false;
}

bool host_discards(struct reconciler *r, const char *host_id, const char *instance_id)
{
	struct obj *host = obj_get(r->c->objects, KIND_HOST, host_id);
	if (!host || was_discarded(host, instance_id))
		return true;
	json_t *doc = json_deep_copy(host->doc), *list = json_object_get(doc, "discard");
	if (!list) {
		list = json_array();
		json_object_set_new(doc, "discard", list);
	}
	json_array_append_new(list, json_string(instance_id));
	return doc_put(r, host, doc, "scheduler", NULL, NULL) != NULL;
}

/* The list of what a fenced host must not keep has done its work once the host told what it has. */
static void discards_done(struct reconciler *r, const char *host_id)
{
	struct obj *host = obj_get(r->c->objects, KIND_HOST, host_id);
	if (!host || !json_object_get(host->doc, "discard") || host_is_fenced(r, host_id))
		return;
	json_t *doc = json_deep_copy(host->doc);
	json_object_del(doc, "discard");
	doc_put(r, host, doc, "scheduler", NULL, NULL);
}

/* A report of what a host has no right to (the delete at its return failed): again. */
void instance_stray(struct reconciler *r, struct obj *o, const char *host_id, const json_t *report)
{
	struct obj *host = obj_get(r->c->objects, KIND_HOST, host_id);
	const char *id = doc_str(report, "id"), *now = o ? doc_str(o->doc, "host_id") : NULL;
	if (o && (!now || strcmp(now, host_id)) &&
		doc_num(report, "generation") <= doc_num(o->doc, "generation"))
		act_discard(r, host_id, id);
	else if (!o && host && was_discarded(host, id))
		act_discard(r, host_id, id);
}

void instances_adopt(struct reconciler *r, const char *host_id, const json_t *state)
{
	size_t i;
	json_t *report;
	bool any = false;
	volumes_catch_up(r, host_id, state);
	json_array_foreach (json_object_get(state, "instances"), i, report) {
		const char *id = doc_str(report, "id");
		if (!id || strlen(id) >= ID_LEN || strlen(id) < 8)
			continue;
		struct obj *host = obj_get(r->c->objects, KIND_HOST, host_id);
		struct obj *o = obj_get(r->c->objects, KIND_INSTANCE, id);
		bool stale = host && was_discarded(host, id);
		any |= stale;
		if (o)
			known(r, o, host_id, report);
		else if (stale)
			discard(r, NULL, host_id, id);
		else
			orphan(r, state, host_id, report);
	}
	if (!any)
		discards_done(r, host_id);
}
