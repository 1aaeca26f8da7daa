/* SPDX-License-Identifier: Apache-2.0 */
/* Draining a host: nothing new comes, what can move moves. It is over when no instance is on its
 * way any more; what stays then is the list of what blocks. Nothing but the documents says how far
 * it is, so it goes on after a restart. */
#include <string.h>

#include "cloud/control/hosts_do.h"
#include "cloud/control/operation.h"
#include "cloud/control/reconcile_internal.h"

/* Puts the host's document with another wish; ev names the event. */
static struct obj *put_admin(
	struct call *c, struct obj *host, const char *admin, const char *ev, const char *drain)
{
	struct change ch = {.event = ev, .actor = c->actor, .request_id = c->request_id};
	struct obj *out = NULL;
	json_t *doc = json_deep_copy(host->doc);
	doc_set_str(doc, "admin", admin);
	doc_set_str(doc, "drain", drain);
	host_doc_state(doc);
	int rc = obj_put(c->control->objects, KIND_HOST, doc, &ch, &out);
	if (rc)
		call_problem(c, 500, NULL, "host %s is not stored: %s", host->name, strerror(-rc));
	return rc ? NULL : out;
}

/* A drain that another action ends. */
static void end_drain(struct call *c, struct obj *host, const char *why)
{
	const char *op = doc_str(host->doc, "drain");
	if (op)
		operation_finish(c->control->objects, op, why, NULL);
}

static void set_admin(struct call *c, struct obj *host, const char *admin, const char *ev)
{
	end_drain(c, host, "ended by another action on the host");
	struct obj *o = put_admin(c, host, admin, ev, NULL);
	if (o)
		call_reply_obj(c, 200, o);
}

void hosts_cordon(struct call *c, struct obj *host)
{
	const char *admin = doc_str(host->doc, "admin");
	if (admin && !strcmp(admin, "fenced"))
		call_problem(
			c, 409, NULL, "host %s is fenced; uncordon takes that back", host->name);
	else
		set_admin(c, host, "cordoned", "cordoned");
}

void hosts_uncordon(struct call *c, struct obj *host)
{
	set_admin(c, host, "none", "uncordoned");
}

void hosts_fence(struct call *c, struct obj *host)
{
	if (!json_is_true(json_object_get(c->body, "confirm")))
		call_problem(c, 400, "confirm",
			"fencing says that host %s runs nothing any more; allowed: true",
			host->name);
	else if (json_is_true(json_object_get(host->doc, "connected")))
		call_problem(c, 409, NULL,
			"host %s is connected and may be running instances; drain it, or stop it",
			host->name);
	else
		set_admin(c, host, "fenced", "fenced");
}

/* ---- drain ---- */

static bool is_on(const struct obj *o, const char *host_id)
{
	const char *host = doc_str(o->doc, "host_id");
	return host && !strcmp(host, host_id);
}

static bool leaves(const struct obj *o, const char *host_id)
{
	const char *from = doc_str(json_object_get(o->doc, "moving"), "from");
	bool gone = !strcmp(doc_state(o->doc, "desired"), "deleted") && is_on(o, host_id);
	return gone || (from && !strcmp(from, host_id));
}

static void begin_moves(struct reconciler *r, const char *host_id)
{
	char why[400];
	list_for_each (l, &r->items) {
		struct item *it = container_of(l, struct item, all);
		struct obj *o = it->kind == KIND_INSTANCE
					? obj_get(r->c->objects, KIND_INSTANCE, it->id)
					: NULL;
		if (o && is_on(o, host_id) && !leaves(o, host_id) &&
			!move_blocked(r, o, why, sizeof(why)))
			move_begin(r, o, NULL);
	}
}

void hosts_drain(struct call *c, struct obj *host)
{
	struct reconciler *r = c->control->reconciler;
	const char *admin = doc_str(host->doc, "admin"), *op_id = doc_str(host->doc, "drain");
	if (admin && !strcmp(admin, "fenced")) {
		call_problem(c, 409, NULL, "host %s is fenced", host->name);
		return;
	}
	struct obj *op = admin && !strcmp(admin, "draining") && op_id
				 ? obj_get(c->control->objects, KIND_OPERATION, op_id)
				 : NULL;
	char target[96];
	snprintf(target, sizeof(target), "host %s", host->name);
	if (!op) {
		if (operation_new(c->control->objects, c->project ? c->project : "default", "drain",
			    target, c->actor, c->request_id, &op)) {
			call_problem(
				c, 500, NULL, "the drain of host %s is not stored", host->name);
			return;
		}
		if (!put_admin(c, host, "draining", "draining", op->id))
			return;
	}
	begin_moves(r, host->id);
	drains_wake(r);
	call_reply_obj(c, 202, op);
}

struct rest {
	unsigned leaving, blocked;
	char text[600];
	size_t len;
	json_t *list; /* the operation's result */
};

static void add_blocker(struct reconciler *r, struct obj *o, struct rest *rest)
{
	char why[400];
	if (!move_blocked(r, o, why, sizeof(why)))
		snprintf(why, sizeof(why), "it came meanwhile; drain again");
	rest->blocked++;
	json_array_append_new(json_object_get(rest->list, "blocked"),
		json_pack("{s:s, s:s}", "instance", o->name, "reason", why));
	if (rest->len < sizeof(rest->text))
		rest->len +=
			(size_t)snprintf(rest->text + rest->len, sizeof(rest->text) - rest->len,
				"%s%s: %s", rest->len ? "; " : "", o->name, why);
}

static void look_at(struct reconciler *r, struct obj *host)
{
	struct rest rest = {.list = json_pack("{s:[]}", "blocked")};
	char error[700];
	for (struct obj *o = obj_next(r->c->objects, KIND_INSTANCE, NULL); o;
		o = obj_next(r->c->objects, KIND_INSTANCE, o)) {
		if (leaves(o, host->id))
			rest.leaving++;
		else if (is_on(o, host->id))
			add_blocker(r, o, &rest);
	}
	if (rest.leaving) {
		json_decref(rest.list);
		return;
	}
	const char *op = doc_str(host->doc, "drain");
	snprintf(error, sizeof(error), "%u stay: %s", rest.blocked, rest.text);
	if (op)
		operation_finish(r->c->objects, op, rest.blocked ? error : NULL, rest.list);
	else
		json_decref(rest.list);
	json_t *doc = json_deep_copy(host->doc);
	doc_set_str(doc, "admin", "cordoned");
	doc_set_str(doc, "drain", NULL);
	host_doc_state(doc);
	doc_put(r, host, doc, "scheduler", rest.blocked ? "drain-blocked" : "drained", rest.text);
}

void drains_look(struct reconciler *r)
{
	for (struct obj *h = obj_next(r->c->objects, KIND_HOST, NULL), *next; h; h = next) {
		next = obj_next(r->c->objects, KIND_HOST, h);
		const char *admin = doc_str(h->doc, "admin");
		if (admin && !strcmp(admin, "draining"))
			look_at(r, h);
	}
}
