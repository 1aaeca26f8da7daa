/* SPDX-License-Identifier: Apache-2.0 */
/* Making, changing and deleting: the steps that are the same for every kind. */
#include <errno.h>
#include <string.h>
#include "cloud/control/resources.h"

const char *body_text(const struct call *c, const char *key)
{
	return json_string_value(json_object_get(c->body, key));
}

struct change call_change(const struct call *c, const char *event, const char *text)
{
	return (struct change){
		.event = event, .text = text, .actor = c->actor, .request_id = c->request_id};
}

json_t *res_draft(struct call *c, enum kind k, const char *name)
{
	json_t *labels = json_object_get(c->body, "labels"), *doc;
	char id[32];

	obj_new_id(k, id);
	doc = json_pack("{s:s, s:s}", "id", id, "name", name ? name : id);
	if (kind_in_project(k))
		json_object_set_new(doc, "project", json_string(c->project));
	json_object_set_new(doc, "labels", labels ? json_deep_copy(labels) : json_object());
	return doc;
}

void res_failed(struct call *c, int r)
{
	switch (r) {
	case -EEXIST:
		call_problem(c, 409, "name", "name: there is one of this name already");
		break;
	case -ESTALE:
		call_problem(c, 412, NULL, "it was changed meanwhile; get it again");
		break;
	case -ENOSPC:
		call_problem(c, 507, NULL, "the disk of the control plane is full");
		break;
	default:
		call_problem(c, 500, NULL, "the database: %s", strerror(-r));
	}
}

struct obj *res_put(struct call *c, enum kind k, json_t *doc, const char *event, const char *text)
{
	struct change change = call_change(c, event, text);
	struct obj *o = NULL;
	int r;

	/* The reconciler hands it on, to the node and to the VMM's log. */
	if (k == KIND_INSTANCE && c->request_id)
		json_object_set_new(doc, "request_id", json_string(c->request_id));
	change.expect = call_expect(c);
	r = obj_put(c->control->objects, k, doc, &change, &o);
	if (!r)
		return o;
	res_failed(c, r);
	return NULL;
}

void res_make(struct call *c, enum kind k, json_t *doc)
{
	struct obj *o;

	if (kind_in_project(k) && !obj_find(c->control->objects, KIND_PROJECT, NULL, c->project)) {
		json_decref(doc);
		call_problem(c, 404, "project", "project %s: there is none", c->project);
		return;
	}
	o = res_put(c, k, doc, "created", NULL);
	if (o)
		res_answer(c, 201, o);
}

void res_drop(struct call *c, struct obj *o)
{
	struct change change = call_change(c, "deleted", NULL);
	int r;

	change.expect = call_expect(c);
	r = obj_delete(c->control->objects, o, &change);
	if (r)
		res_failed(c, r);
	else
		call_reply(c, 204, NULL);
}

static void merge_labels(json_t *doc, const json_t *change)
{
	json_t *labels = json_object_get(doc, "labels"), *v;
	const char *key;

	if (!json_is_object(labels)) {
		labels = json_object();
		json_object_set_new(doc, "labels", labels);
	}
	json_object_foreach ((json_t *)change, key, v) {
		if (json_is_null(v))
			json_object_del(labels, key);
		else
			json_object_set(labels, key, v);
	}
}

/* RFC 7396, with "labels" as its only object that is merged. */
json_t *res_merge(const json_t *doc, const json_t *body)
{
	json_t *merged = json_deep_copy(doc), *v;
	const char *key;

	json_object_foreach ((json_t *)body, key, v) {
		if (!strcmp(key, "labels"))
			merge_labels(merged, v);
		else
			json_object_set_new(merged, key, json_deep_copy(v));
	}
	return merged;
}

void resource_patch(struct call *c)
{
	struct obj *o = res_named(c);

	if (!o || !call_if_match(c, o))
		return;
	o = res_put(c, o->kind, res_merge(o->doc, c->body), "changed", NULL);
	if (o)
		res_answer(c, 200, o);
}

void resource_drop(struct call *c)
{
	struct obj *o = res_named(c);

	if (o && call_if_match(c, o))
		res_drop(c, o);
}
