/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing documents for the reconciler. */
#include "cloud/control/reconcile_internal.h"

#include <string.h>

#include "cloud/control/hosts_do.h"

const char *doc_str(const json_t *doc, const char *key)
{
	return json_string_value(json_object_get(doc, key));
}

int64_t doc_num(const json_t *doc, const char *key)
{
	return json_integer_value(json_object_get(doc, key));
}

const char *doc_state(const json_t *doc, const char *of)
{
	const char *s = doc_str(json_object_get(doc, of), "state");
	return s ? s : "";
}

bool doc_set_str(json_t *doc, const char *key, const char *value)
{
	return !json_object_set_new(doc, key, value ? json_string(value) : json_null());
}

static struct obj *put(struct reconciler *r, struct obj *o, json_t *doc, struct change *c)
{
	struct obj *out = NULL;
	char id[ID_LEN];
	snprintf(id, sizeof(id), "%s", o->id);
	c->request_id = doc_str(doc, "request_id");
	r->own = true;
	int rc = doc ? obj_put(r->c->objects, o->kind, doc, c, &out) : -ENOMEM;
	r->own = false;
	if (rc) {
		log_line(r->c->log, LOG_ERROR, id, "is not stored: %s", strerror(-rc));
		return NULL;
	}
	return out;
}

struct obj *doc_put(struct reconciler *r, struct obj *o, json_t *doc, const char *actor,
	const char *event, const char *text)
{
	struct change c = {.event = event, .text = text, .actor = actor};
	return put(r, o, doc, &c);
}

struct obj *doc_put_lazy(struct reconciler *r, struct obj *o, json_t *doc, const char *actor,
	const char *event, const char *text)
{
	struct change c = {.event = event, .text = text, .actor = actor, .lazy = true};
	return put(r, o, doc, &c);
}

void observe(struct reconciler *r, struct obj *o, const char *state, const char *reason, bool event)
{
	const json_t *old = json_object_get(o->doc, "observed");
	const char *was = doc_str(old, "state"), *why = doc_str(old, "reason");
	bool moved = !was || strcmp(was, state);
	if (!moved && !strcmp(why ? why : "", reason))
		return;
	char now[ID_LEN];
	json_t *doc = json_deep_copy(o->doc);
	json_t *obs = json_object_get(doc, "observed");
	if (!json_is_object(obs)) {
		obs = json_object();
		json_object_set_new(doc, "observed", obs);
	}
	doc_set_str(obs, "state", state);
	doc_set_str(obs, "reason", reason);
	obj_now(now);
	if (moved)
		doc_set_str(obs, "since", now);
	doc_put_lazy(r, o, doc, "scheduler", event && moved ? state : NULL, reason);
}

const char *host_name(struct reconciler *r, const char *host_id)
{
	struct obj *h = host_id ? obj_get(r->c->objects, KIND_HOST, host_id) : NULL;
	return h && h->name ? h->name : host_id ? host_id : "none";
}

bool host_is_fenced(struct reconciler *r, const char *host_id)
{
	struct obj *h = obj_get(r->c->objects, KIND_HOST, host_id);
	const char *admin = h ? doc_str(h->doc, "admin") : NULL;
	return !h || (admin && !strcmp(admin, "fenced"));
}

void host_doc_state(json_t *doc)
{
	const char *admin = doc_str(doc, "admin");
	const char *state = "online";
	if (admin && !strcmp(admin, "fenced"))
		state = admin;
	else if (!json_is_true(json_object_get(doc, "connected")))
		state = "offline";
	else if (admin && (!strcmp(admin, "cordoned") || !strcmp(admin, "draining")))
		state = admin;
	json_object_set_new(doc, "state", json_string(state));
}
