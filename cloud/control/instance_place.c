/* SPDX-License-Identifier: Apache-2.0 */
/* Gives an instance a host: the choice, and with it its chip, its image's digest and its volumes,
 * is one transaction in the store before the node hears of it. */
#include "cloud/control/reconcile_internal.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"

static void waits(struct reconciler *r, struct obj *o, const char *reason)
{
	observe(r, o, "pending", reason, false);
}

/* A volume that another instance has keeps this one waiting. */
static bool volumes_free(struct reconciler *r, struct obj *o)
{
	size_t i;
	json_t *disk;
	json_array_foreach (json_object_get(o->doc, "disks"), i, disk) {
		const char *id = doc_str(disk, "volume");
		struct obj *v = id ? obj_find(r->c->objects, KIND_VOLUME, o->project, id) : NULL;
		const char *at = v ? doc_str(v->doc, "attached_to") : NULL;
		const char *state = v ? doc_str(v->doc, "state") : NULL;
		if ((!at || !strcmp(at, o->id)) && (!state || strcmp(state, "deleting")))
			continue;
		char why[160];
		snprintf(why, sizeof(why), "volume %s is %s", v->name ? v->name : v->id,
			at && strcmp(at, o->id) ? "attached to another instance" : "being deleted");
		waits(r, o, why);
		return false;
	}
	return true;
}

/* Ownership of a volume carries a generation: the node opens it only for the newest. */
static bool attach_volumes(struct reconciler *r, struct obj *o, const struct host_facts *h)
{
	size_t i;
	json_t *disk;
	json_array_foreach (json_object_get(o->doc, "disks"), i, disk) {
		const char *id = doc_str(disk, "volume");
		struct obj *v = id ? obj_find(r->c->objects, KIND_VOLUME, o->project, id) : NULL;
		if (!v)
			return false;
		json_t *doc = json_deep_copy(v->doc);
		json_object_set_new(
			doc, "generation", json_integer(doc_num(doc, "generation") + 1));
		doc_set_str(doc, "attached_to", o->id);
		doc_set_str(doc, "host_id", h->id);
		doc_set_str(doc, "host", h->name);
		doc_set_str(doc, "state", "attached");
		if (!doc_put(r, v, doc, "scheduler", "attached", o->name))
			return false;
	}
	return true;
}

static bool pin_image(struct reconciler *r, json_t *doc, unsigned chip, struct err *e)
{
	struct image_platform p;
	const char *image = doc_str(doc, "image");
	doc_set_str(doc, "chip", chip_text(chip));
	if (!image || doc_str(doc, "platform_digest"))
		return true;
	if (image_resolve(r->c->images, doc_str(doc, "project"), image, chip_text(chip), &p, e))
		return false;
	doc_set_str(doc, "image_digest", p.index);
	doc_set_str(doc, "platform_digest", p.platform);
	return true;
}

static void take(struct reconciler *r, struct item *it, struct obj *o, const struct host_facts *h)
{
	struct err e = {0};
	char text[160], now[ID_LEN];
	json_t *doc = json_deep_copy(o->doc);
	if (!pin_image(r, doc, h->chip, &e)) {
		json_decref(doc);
		waits(r, o, e.text);
		return;
	}
	obj_now(now);
	doc_set_str(doc, "host_id", h->id);
	doc_set_str(doc, "host", h->name);
	json_object_set_new(doc, "generation", json_integer(doc_num(doc, "generation") + 1));
	json_object_set_new(doc, "observed",
		json_pack("{s:s, s:s, s:s, s:s}", "state", "scheduled", "reason", "", "host",
			h->name, "since", now));
	snprintf(text, sizeof(text), "on host %s", h->name);
	if (objects_begin(r->c->objects)) {
		json_decref(doc);
		item_failed(it);
		return;
	}
	if (attach_volumes(r, o, h) && doc_put(r, o, doc, "scheduler", "scheduled", text)) {
		if (objects_commit(r->c->objects)) {
			item_failed(it);
			return;
		}
		it->unplaced = false;
		it->acked = 0;
		it->volumes = 0;
		r->stats.placements++;
		return;
	}
	objects_rollback(r->c->objects);
	item_failed(it);
}

/* After a restore an instance without a host may have got one after the backup. */
static bool must_settle(struct reconciler *r, const struct obj *o)
{
	const char *made = doc_str(o->doc, "created_at");
	return r->settling && (!made || strcmp(made, r->restored_at) <= 0);
}

void instance_place(struct reconciler *r, struct item *it, struct obj *o)
{
	struct sched_want *w = malloc(sizeof(*w));
	struct err e = {0};
	unsigned n;
	if (!w) {
		item_failed(it);
		return;
	}
	if (must_settle(r, o)) {
		waits(r, o, "restored: waits until every host has reported");
	} else if (want_read(r->c, o->project, o->doc, w, &e)) {
		waits(r, o, e.text);
	} else if (volumes_free(r, o)) {
		w->req.avoid = doc_str(json_object_get(o->doc, "moving"), "from");
		const struct host_facts *facts = fleet_facts(r->fleet, &n);
		uint64_t begin = ev_now_ns();
		int i = schedule(facts, n, &w->req);
		r->stats.decide_ns += ev_now_ns() - begin;
		if (i >= 0) {
			take(r, it, o, &facts[i]);
		} else {
			char why[400];
			schedule_why_not(facts, n, &w->req, why, sizeof(why));
			waits(r, o, why);
		}
	}
	free(w);
}
