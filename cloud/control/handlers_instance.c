/* SPDX-License-Identifier: Apache-2.0 */
/* Instances. A handler only writes down what is wanted; the reconciler sees the change and makes it
 * so. Making one writes the instance, its network port and its volumes' attachment as one
 * transaction. */
#include <errno.h>
#include <string.h>
#include "cloud/control/hosts_do.h"
#include "cloud/control/resources.h"

#define EVENTS_SHOWN 1000

const char *instance_desired(const struct obj *o)
{
	return doc_text(json_object_get(o->doc, "desired"), "state");
}

const char *instance_observed(const struct obj *o)
{
	return doc_text(json_object_get(o->doc, "observed"), "state");
}

static bool being_deleted(struct call *c, const struct obj *o)
{
	if (strcmp(instance_desired(o), "deleted"))
		return false;
	call_problem(c, 409, NULL, "instance %s: is being deleted", o->name);
	return true;
}

static unsigned status_of(const struct err *e, int r)
{
	static const unsigned status[] = {
		[ERR_USAGE] = 400, [ERR_NOT_FOUND] = 404, [ERR_CONFLICT] = 409, [ERR_HOST] = 500};

	if (r == -EPERM)
		return 403;
	return e->kind && e->kind <= ERR_HOST && status[e->kind] ? status[e->kind] : 500;
}

/* ---- making ---- */

/* The port it was given, or a new one. */
static int put_port(struct call *c, json_t *doc, struct change *change)
{
	struct objects *os = c->control->objects;
	struct obj *o = obj_get(os, KIND_PORT, doc_text(doc, "port_id"));
	json_t *port;
	int r = 0;

	if (json_is_null(json_object_get(doc, "network_id")))
		return 0;
	if (o) {
		port = json_deep_copy(o->doc);
		json_object_set(port, "instance", json_object_get(doc, "id"));
	} else {
		o = obj_get(os, KIND_NETWORK, doc_text(doc, "network_id"));
		r = o ? port_draft(os, o, doc, &port) : -ENOENT;
	}
	return r ? r : obj_put(os, KIND_PORT, port, change, NULL);
}

static int put_disks(struct call *c, json_t *doc, struct change *change)
{
	json_t *disk, *v;
	size_t i;
	int r = 0;

	json_array_foreach (json_object_get(doc, "disks"), i, disk) {
		struct obj *o = obj_get(c->control->objects, KIND_VOLUME, doc_text(disk, "volume"));

		if (!o)
			return -ENOENT;
		v = json_deep_copy(o->doc);
		json_object_set(v, "attached_to", json_object_get(doc, "id"));
		json_object_set_new(v, "state", json_string("attached"));
		r = obj_put(c->control->objects, KIND_VOLUME, v, change, NULL);
		if (r)
			return r;
	}
	return r;
}

/* All or nothing; doc is taken. */
static int put_all(struct call *c, json_t *doc, struct obj **ret_obj)
{
	struct objects *os = c->control->objects;
	struct change quiet = call_change(c, NULL, NULL), made = call_change(c, "created", NULL);
	int r = objects_begin(os);

	if (c->request_id)
		json_object_set_new(doc, "request_id", json_string(c->request_id));
	if (!r)
		r = put_port(c, doc, &quiet);
	if (!r)
		r = put_disks(c, doc, &quiet);
	if (r)
		json_decref(doc);
	else
		r = obj_put(os, KIND_INSTANCE, doc, &made, ret_obj);
	if (!r)
		return objects_commit(os);
	objects_rollback(os);
	return r;
}

void instance_post(struct call *c)
{
	struct err e = {0};
	char field[64];
	struct obj *o;
	json_t *doc;
	int r;

	/* Before anything else: the name is what is most often wrong. */
	if (obj_find(c->control->objects, KIND_INSTANCE, c->project, body_text(c, "name"))) {
		res_failed(c, -EEXIST);
		return;
	}
	r = instance_draft(c, c->body, &doc, field, &e);
	if (r) {
		call_problem(c, status_of(&e, r), *field ? field : NULL, "%s", e.text);
		return;
	}
	r = put_all(c, doc, &o);
	if (r == -EADDRNOTAVAIL)
		call_problem(c, 409, "network", "network: no address is free");
	else if (r)
		res_failed(c, r);
	else
		res_answer(c, 201, o);
}

/* ---- changing ---- */

static json_t *desire(const struct obj *o, const char *state)
{
	json_t *doc = json_deep_copy(o->doc), *desired = json_object_get(doc, "desired");

	json_object_set_new(desired, "state", json_string(state));
	json_object_del(desired, "force");
	return doc;
}

static void one_more_boot(json_t *doc)
{
	json_t *desired = json_object_get(doc, "desired");

	json_object_set_new(desired, "reboots", json_integer(doc_int(desired, "reboots") + 1));
}

static bool has_ended(const struct obj *o)
{
	const char *s = instance_observed(o);

	return !strcmp(s, "stopped") || !strcmp(s, "crashed") || !strcmp(s, "failed");
}

/* To start what was to run and ended by itself is to boot it once more. */
static json_t *desire_running(const struct obj *o)
{
	json_t *doc = desire(o, "running");

	if (!strcmp(instance_desired(o), "running") && has_ended(o))
		one_more_boot(doc);
	return doc;
}

void instance_patch_handler(struct call *c)
{
	const char *state = body_text(c, "state");
	struct obj *o = res_named(c);
	json_t *doc, *merged;

	if (!o || !call_if_match(c, o) || being_deleted(c, o))
		return;
	if (!state)
		doc = json_deep_copy(o->doc);
	else
		doc = strcmp(state, "running") ? desire(o, state) : desire_running(o);
	merged = res_merge(doc, c->body);
	json_decref(doc);
	json_object_del(merged, "state");
	o = res_put(c, KIND_INSTANCE, merged, "changed", NULL);
	if (o)
		res_answer(c, 200, o);
}

void instance_delete(struct call *c)
{
	struct obj *o = res_named(c);

	if (!o || !call_if_match(c, o))
		return;
	if (json_is_true(json_object_get(o->doc, "protected"))) {
		call_problem(c, 409, "protected",
			"instance %s: is protected; set protected to false first", o->name);
		return;
	}
	if (strcmp(instance_desired(o), "deleted"))
		o = res_put(c, KIND_INSTANCE, desire(o, "deleted"), "deleting", NULL);
	if (o)
		res_answer(c, 202, o);
}

/* ---- actions ---- */

static bool refuse_state(struct call *c, const struct obj *o, const char *action)
{
	call_problem(c, 409, NULL, "instance %s: cannot %s, it is to be %s", o->name, action,
		instance_desired(o));
	return false;
}

/* The document that the action wants, or false after answering. */
static bool act(struct call *c, struct obj *o, const char *action, json_t **ret_doc)
{
	const char *now = instance_desired(o);

	if (!strcmp(action, "start")) {
		*ret_doc = desire_running(o);
	} else if (!strcmp(action, "stop")) {
		*ret_doc = desire(o, "stopped");
		if (json_is_true(json_object_get(c->body, "force")))
			json_object_set_new(
				json_object_get(*ret_doc, "desired"), "force", json_true());
	} else if (!strcmp(action, "reboot")) {
		if (strcmp(now, "running"))
			return refuse_state(c, o, action);
		*ret_doc = desire(o, "running");
		one_more_boot(*ret_doc);
	} else if (!strcmp(action, "pause")) {
		if (strcmp(now, "running") && strcmp(now, "paused"))
			return refuse_state(c, o, action);
		*ret_doc = desire(o, "paused");
	} else if (!strcmp(action, "resume")) {
		if (strcmp(now, "running") && strcmp(now, "paused"))
			return refuse_state(c, o, action);
		*ret_doc = desire(o, "running");
	} else {
		call_problem(c, 404, "action",
			"action: allowed: start, stop, reboot, pause, resume, move");
		return false;
	}
	return true;
}

void instance_action(struct call *c)
{
	static const char *const events[][2] = {{"start", "starting"}, {"stop", "stopping"},
		{"reboot", "rebooting"}, {"pause", "pausing"}, {"resume", "resuming"}};
	struct obj *o = res_named(c);
	const char *event = "changed";
	json_t *doc = NULL;

	if (!o || being_deleted(c, o))
		return;
	if (!strcmp(c->param[1], "move")) {
		instance_move(c, o);
		return;
	}
	if (!act(c, o, c->param[1], &doc))
		return;
	for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (!strcmp(events[i][0], c->param[1]))
			event = events[i][1];
	o = res_put(c, KIND_INSTANCE, doc, event, NULL);
	if (o)
		res_answer(c, 202, o);
}

/* ---- events ---- */

static int add_event(void *arg, uint64_t seq, json_t *event)
{
	json_object_set_new(event, "seq", json_integer((json_int_t)seq));
	json_array_append(arg, event);
	return 0;
}

void instance_events(struct call *c)
{
	struct obj *o = res_named(c);
	json_t *items;
	int r;

	if (!o)
		return;
	items = json_array();
	r = store_events_of(c->control->store, o->id, EVENTS_SHOWN, add_event, items);
	if (!r) {
		call_reply(c, 200, json_pack("{s:o, s:n}", "items", items, "next"));
		return;
	}
	json_decref(items);
	res_failed(c, r);
}
