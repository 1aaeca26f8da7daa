/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts that come, go and report. A host that is away changes nothing but what is known: its
 * instances are "unknown" and stay where they are (static stability), because nobody can tell from
 * here whether they run. */
#include "cloud/control/reconcile_internal.h"

#include <stdlib.h>
#include <string.h>

struct host_link *host_link(struct reconciler *r, const char *host_id, bool make)
{
	list_for_each (l, &r->hosts) {
		struct host_link *h = container_of(l, struct host_link, link);
		if (!strcmp(h->id, host_id))
			return h;
	}
	struct host_link *h = make ? calloc(1, sizeof(*h)) : NULL;
	if (h) {
		snprintf(h->id, sizeof(h->id), "%s", host_id);
		list_add(&r->hosts, &h->link);
	}
	return h;
}

bool host_up(struct reconciler *r, const char *host_id)
{
	struct host_link *h = host_link(r, host_id, false);
	return h && h->up && nodes_link(r->c->nodes, host_id);
}

/* A new connection: what was said on the old one may not have arrived. */
static void forget(struct reconciler *r, const char *host_id)
{
	list_for_each (l, &r->items) {
		struct item *it = container_of(l, struct item, all);
		if (strcmp(it->host, host_id))
			continue;
		it->acked = 0;
		it->volumes = 0;
		it->seen = false;
		it->ticket = 0;
	}
}

/* After a restore, the end of waiting: every host that the backup knew has told what it has, or an
 * operator said that it is gone. */
void reconcile_settle(struct reconciler *r)
{
	if (!r->settling)
		return;
	for (struct obj *o = obj_next(r->c->objects, KIND_HOST, NULL); o;
		o = obj_next(r->c->objects, KIND_HOST, o)) {
		struct host_link *h = host_link(r, o->id, false);
		if (!host_is_fenced(r, o->id) && (!h || !h->reported))
			return;
	}
	r->settling = false;
	store_delete(r->c->store, "meta", "restored", STORE_ANY);
	log_line(r->c->log, LOG_INFO, "reconcile", "every host has reported after the restore");
	list_for_each (l, &r->items)
		item_again(container_of(l, struct item, all));
}

void reconcile_host_up(struct reconciler *r, const char *host_id, const json_t *state)
{
	struct host_link *h = host_link(r, host_id, true);
	if (!h)
		return;
	forget(r, host_id);
	fleet_set_blobs(r->fleet, host_id, json_object_get(state, "blobs"));
	instances_adopt(r, host_id, state);
	h->up = h->reported = true;
	list_for_each (l, &r->items) {
		struct item *it = container_of(l, struct item, all);
		if (it->kind == KIND_VOLUME || !strcmp(it->host, host_id))
			item_again(it);
	}
	reconcile_settle(r);
	wake_unplaced(r);
}

void reconcile_host_down(struct reconciler *r, const char *host_id)
{
	struct host_link *h = host_link(r, host_id, false);
	if (!h || !h->up)
		return;
	h->up = false;
	forget(r, host_id);
	bool whole = !objects_begin(r->c->objects);
	char why[200];
	snprintf(why, sizeof(why), "host %s is offline", host_name(r, host_id));
	list_for_each (l, &r->items) {
		struct item *it = container_of(l, struct item, all);
		struct obj *o = it->kind == KIND_INSTANCE && !strcmp(it->host, host_id)
					? obj_get(r->c->objects, KIND_INSTANCE, it->id)
					: NULL;
		if (o && strcmp(doc_state(o->doc, "desired"), "deleted"))
			observe(r, o, "unknown", why, false);
		item_wake(it);
	}
	if (whole)
		objects_commit(r->c->objects);
}

void reconcile_observed(struct reconciler *r, const char *host_id, const json_t *observed)
{
	const char *id = doc_str(observed, "id");
	struct obj *o = id ? obj_get(r->c->objects, KIND_INSTANCE, id) : NULL;
	struct item *it = o ? item_find(r, id) : NULL;
	if (it)
		instance_report(r, it, o, host_id, observed);
	if (id)
		instance_stray(r, o, host_id, observed);
}
