/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/operation.h"
#include <errno.h>
#include <string.h>

static const char *state_of(const struct obj *o)
{
	const char *s = json_string_value(json_object_get(o->doc, "state"));

	return s ? s : "";
}

int operation_new(struct objects *os, const char *project, const char *kind, const char *target,
	const char *actor, const char *request_id, struct obj **ret_obj)
{
	struct change c = {
		.event = "started", .text = target, .actor = actor, .request_id = request_id};
	char id[32];
	json_t *doc;

	obj_new_id(KIND_OPERATION, id);
	doc = json_pack("{s:s, s:s, s:s, s:{}, s:s, s:s*, s:s, s:i, s:n, s:s*, s:s*}", "id", id,
		"name", id, "project", project, "labels", "kind", kind, "target", target, "state",
		"running", "progress", 0, "error", "actor", actor, "request_id", request_id);
	return doc ? obj_put(os, KIND_OPERATION, doc, &c, ret_obj) : -ENOMEM;
}

static struct obj *running(struct objects *os, const char *id)
{
	struct obj *o = obj_get(os, KIND_OPERATION, id);

	return o && !strcmp(state_of(o), "running") ? o : NULL;
}

void operation_progress(struct objects *os, const char *id, unsigned percent)
{
	struct obj *o = running(os, id);
	json_t *doc;
	unsigned was;

	if (!o || percent > 100)
		return;
	was = (unsigned)json_integer_value(json_object_get(o->doc, "progress"));
	if (percent < was + 5)
		return;
	doc = json_deep_copy(o->doc);
	json_object_set_new(doc, "progress", json_integer(percent));
	obj_put(os, KIND_OPERATION, doc, &(struct change){.lazy = true}, NULL);
}

/* Deletes the oldest finished ones beyond what is kept. */
static void trim(struct objects *os)
{
	struct obj *o = obj_next(os, KIND_OPERATION, NULL), *next;
	unsigned n = obj_count(os, KIND_OPERATION);

	for (; o && n > OPERATIONS_KEEP; o = next) {
		next = obj_next(os, KIND_OPERATION, o);
		if (strcmp(state_of(o), "running") && !obj_delete(os, o, NULL))
			n--;
	}
}

static int finish(struct objects *os, struct obj *o, const char *error, json_t *result)
{
	struct change c = {.event = error ? "failed" : "done", .text = error};
	json_t *doc = json_deep_copy(o->doc);

	c.actor = json_string_value(json_object_get(o->doc, "actor"));
	c.request_id = json_string_value(json_object_get(o->doc, "request_id"));
	json_object_set_new(doc, "state", json_string(error ? "failed" : "done"));
	json_object_set_new(doc, "error", error ? json_string(error) : json_null());
	if (!error)
		json_object_set_new(doc, "progress", json_integer(100));
	if (result)
		json_object_set_new(doc, "result", result);
	return obj_put(os, KIND_OPERATION, doc, &c, NULL);
}

void operation_finish(struct objects *os, const char *id, const char *error, json_t *result)
{
	struct obj *o = running(os, id);

	if (!o) {
		json_decref(result);
		return;
	}
	finish(os, o, error, result);
	trim(os);
}

int operations_init(struct objects *os)
{
	int r = 0;

	for (struct obj *o = obj_next(os, KIND_OPERATION, NULL); !r && o;
		o = obj_next(os, KIND_OPERATION, o))
		if (!strcmp(state_of(o), "running"))
			r = finish(os, o, "the control plane was stopped", NULL);
	return r;
}
