/* SPDX-License-Identifier: Apache-2.0 */
/* The one next step of an instance:
 *
 *   no host ──place──► files on the host ──► volumes ──► assignment ──► (the node runs it)
 *   to be deleted ──► DELETE until the node confirms ──► the row goes
 *   moving ──► stopped ──► DELETE until confirmed ──► no host ──place──► …
 *   host fenced ──► no host ──place──► …
 *   host away ──► nothing: it may be running
 */
#include "cloud/control/operation.h"
#include "cloud/control/reconcile_internal.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"

static uint64_t hash_text(const char *s)
{
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	return h ? h : 1;
}

static uint64_t hash_json(const json_t *doc)
{
	cleanup_free char *text = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
	return text ? hash_text(text) : 1;
}

/* A node said no, or did not answer: say why, and try again later. */
static void refused(struct reconciler *r, struct item *it, const char *host_id, unsigned status,
	const json_t *body, const char *error)
{
	struct obj *o = obj_get(r->c->objects, KIND_INSTANCE, it->id);
	char why[256];
	act_why(r, host_id, status, body, error, why, sizeof(why));
	if (o && host_up(r, host_id)) {
		const char *state = doc_state(o->doc, "observed");
		observe(r, o, *state ? state : "preparing", why, false);
	}
	item_failed(it);
}

/* ---- assignment ---- */

static void assigned(struct reconciler *r, struct item *it, const char *host_id, unsigned status,
	json_t *body, const char *error, uint64_t hash)
{
	if (!it)
		return;
	if (status / 100 != 2) {
		/* It may lack a file that it had. */
		fleet_set_blobs(r->fleet, host_id, NULL);
		it->volumes = 0;
		refused(r, it, host_id, status, body, error);
		return;
	}
	it->acked = hash;
	it->seen = true;
	it->failures = 0;
	struct obj *o = obj_get(r->c->objects, KIND_INSTANCE, it->id);
	if (o && body)
		instance_report(r, it, o, host_id, body);
	item_wake(it);
}

static void pushed(struct reconciler *r, struct item *it, const char *host_id, unsigned status,
	json_t *body, const char *error, uint64_t tag)
{
	(void)tag;
	if (it && status != 200)
		refused(r, it, host_id, status, body, error);
	else if (it)
		item_wake(it);
}

static void volume_taken(struct reconciler *r, struct item *it, const char *host_id,
	unsigned status, json_t *body, const char *error, uint64_t count)
{
	if (it && status / 100 != 2) {
		refused(r, it, host_id, status, body, error);
	} else if (it) {
		it->volumes = (unsigned)count;
		item_wake(it);
	}
}

static bool has_files(struct reconciler *r, const char *host, const struct image_platform *p)
{
	for (unsigned i = 0; i < IMAGE_PARTS; i++) {
		if (p->part[i].digest[0] && !fleet_has_blob(r->fleet, host, p->part[i].digest))
			return false;
	}
	return true;
}

/* Tells the node of the volume that comes next. False: all are there. */
static bool volume_next(
	struct reconciler *r, struct item *it, const struct obj *o, const char *host)
{
	const json_t *disks = json_object_get(o->doc, "disks");
	if (it->volumes >= json_array_size(disks))
		return false;
	const char *id = doc_str(json_array_get(disks, it->volumes), "volume");
	struct obj *v = id ? obj_find(r->c->objects, KIND_VOLUME, o->project, id) : NULL;
	if (!v) {
		it->volumes++;
		return volume_next(r, it, o, host);
	}
	char path[96];
	snprintf(path, sizeof(path), "/v1/volumes/%s", v->id);
	json_t *body =
		json_pack("{s:I, s:I, s:b}", "size_mib", (json_int_t)doc_num(v->doc, "size_mib"),
			"generation", (json_int_t)doc_num(v->doc, "generation"), "release", 0);
	act_call(it, host, "PUT", path, body, volume_taken, it->volumes + 1);
	json_decref(body);
	return true;
}

static void assign(struct reconciler *r, struct item *it, struct obj *o, const char *host,
	json_t *a, const struct image_platform *p)
{
	uint64_t hash = hash_json(a);
	struct err e = {0};
	if (hash == it->acked)
		return;
	if (!has_files(r, host, p)) {
		if (!it->failures) /* else the reason for the last one is worth more */
			observe(r, o, "preparing", "its image goes to the host", false);
		act_push(it, host, p, pushed);
		return;
	}
	if (volume_next(r, it, o, host))
		return;
	/* A node that has the instance has its seed disk, too. */
	if (!it->seen && assignment_seed(r->c, o->doc, a, &e)) {
		observe(r, o, "preparing", e.text[0] ? e.text : "no memory for the seed disk",
			false);
		item_failed(it);
		return;
	}
	const char *request = doc_str(o->doc, "request_id");
	doc_set_str(a, "request_id", request);
	char path[96];
	snprintf(path, sizeof(path), "/v1/instances/%s", o->id);
	act_call(it, host, "PUT", path, a, assigned, hash);
}

static void assign_as(struct reconciler *r, struct item *it, struct obj *o, bool stop)
{
	struct image_platform p = {0};
	struct err e = {0};
	const char *digest = doc_str(o->doc, "platform_digest");
	char host[ID_LEN]; /* observe() replaces the document */
	snprintf(host, sizeof(host), "%s", doc_str(o->doc, "host_id"));
	if (digest && !json_object_get(o->doc, "assignment") &&
		image_pinned(r->c->images, digest, &p, &e)) {
		if (!it->seen) /* what its host has goes on without the image */
			observe(r, o, "preparing", e.text, false);
		item_failed(it);
		return;
	}
	json_t *a = assignment_make(r->c, o->doc, stop, &p, &e);
	if (a)
		assign(r, it, o, host, a, &p);
	else
		item_failed(it);
	json_decref(a);
}

void instance_assign(struct reconciler *r, struct item *it, struct obj *o)
{
	assign_as(r, it, o, false);
}

/* ---- delete ---- */

static void free_volumes(struct reconciler *r, const char *instance_id)
{
	for (struct obj *v = obj_next(r->c->objects, KIND_VOLUME, NULL), *next; v; v = next) {
		next = obj_next(r->c->objects, KIND_VOLUME, v);
		const char *at = doc_str(v->doc, "attached_to");
		if (!at || strcmp(at, instance_id))
			continue;
		json_t *doc = json_deep_copy(v->doc);
		doc_set_str(doc, "attached_to", NULL);
		doc_set_str(doc, "state", "available");
		doc_put(r, v, doc, "scheduler", "detached", NULL);
	}
}

/* A port that was made with the instance goes with it; one that somebody made stays. */
static void free_ports(struct reconciler *r, const char *instance_id)
{
	struct change c = {.actor = "scheduler"};
	for (struct obj *p = obj_next(r->c->objects, KIND_PORT, NULL), *next; p; p = next) {
		next = obj_next(r->c->objects, KIND_PORT, p);
		const char *of = doc_str(p->doc, "instance");
		if (!of || strcmp(of, instance_id))
			continue;
		if (p->name && !strcmp(p->name, p->id)) {
			obj_delete(r->c->objects, p, &c);
			continue;
		}
		json_t *doc = json_deep_copy(p->doc);
		doc_set_str(doc, "instance", NULL);
		doc_put(r, p, doc, "scheduler", NULL, NULL);
	}
}

static void delete_row(struct reconciler *r, struct obj *o)
{
	char id[ID_LEN];
	snprintf(id, sizeof(id), "%s", o->id);
	const char *request = doc_str(o->doc, "request_id");
	struct change c = {.event = "deleted", .actor = "scheduler", .request_id = request};
	if (objects_begin(r->c->objects))
		return;
	free_ports(r, id);
	free_volumes(r, id);
	obj_delete(r->c->objects, o, &c);
	int rc = objects_commit(r->c->objects);
	if (rc)
		log_line(r->c->log, LOG_ERROR, id, "is not deleted: %s", strerror(-rc));
}

static void deleted(struct reconciler *r, struct item *it, const char *host_id, unsigned status,
	json_t *body, const char *error, uint64_t tag)
{
	(void)tag;
	struct obj *o = it ? obj_get(r->c->objects, KIND_INSTANCE, it->id) : NULL;
	if (!o)
		return;
	if (status != 200 && status != 204 && status != 404)
		refused(r, it, host_id, status, body, error);
	else
		delete_row(r, o);
}

void instance_end(struct reconciler *r, struct item *it, struct obj *o)
{
	const char *host = doc_str(o->doc, "host_id");
	if (!host) {
		delete_row(r, o);
		return;
	}
	if (host_is_fenced(r, host)) {
		/* When it comes back, it deletes what it has. */
		if (host_discards(r, host, o->id))
			delete_row(r, o);
		return;
	}
	if (!host_up(r, host)) {
		char why[200];
		snprintf(why, sizeof(why), "waits for host %s, which is offline",
			host_name(r, host));
		observe(r, o, "deleting", why, false);
		return;
	}
	char path[96];
	snprintf(path, sizeof(path), "/v1/instances/%s", o->id);
	act_call(it, host, "DELETE", path, NULL, deleted, 0);
}

/* ---- move ---- */

/* The node confirmed that it has nothing of it any more: the instance is free. */
static void released(struct reconciler *r, struct item *it, const char *host_id, unsigned status,
	json_t *body, const char *error, uint64_t generation)
{
	struct obj *o = it ? obj_get(r->c->objects, KIND_INSTANCE, it->id) : NULL;
	if (!o)
		return;
	if (status != 200 && status != 204 && status != 404) {
		refused(r, it, host_id, status, body, error);
		return;
	}
	const char *now = doc_str(o->doc, "host_id");
	if (!now || strcmp(now, host_id) || (uint64_t)doc_num(o->doc, "generation") != generation)
		return;
	char text[160];
	snprintf(text, sizeof(text), "left host %s", host_name(r, host_id));
	instance_unplace(r, it, o, "released", text);
}

void instance_unplace(
	struct reconciler *r, struct item *it, struct obj *o, const char *event, const char *text)
{
	json_t *doc = json_deep_copy(o->doc);
	char now[ID_LEN];
	obj_now(now);
	doc_set_str(doc, "host_id", NULL);
	doc_set_str(doc, "host", NULL);
	json_object_set_new(doc, "observed",
		json_pack("{s:s, s:s, s:s}", "state", "pending", "reason", text, "since", now));
	it->acked = 0;
	it->volumes = 0;
	it->seen = false;
	doc_put(r, o, doc, "scheduler", event, text);
}

static bool at_rest(const char *state)
{
	return !strcmp(state, "stopped") || !strcmp(state, "crashed") || !strcmp(state, "failed");
}

void instance_move_step(struct reconciler *r, struct item *it, struct obj *o)
{
	json_t *moving = json_object_get(o->doc, "moving");
	const char *from = doc_str(moving, "from"), *host = doc_str(o->doc, "host_id");
	const char *state = doc_state(o->doc, "observed");
	if (from && host && !strcmp(from, host)) {
		if (!at_rest(state)) {
			assign_as(r, it, o, true);
			return;
		}
		char path[96];
		snprintf(path, sizeof(path), "/v1/instances/%s", o->id);
		act_call(it, host, "DELETE", path, NULL, released,
			(uint64_t)doc_num(o->doc, "generation"));
		return;
	}
	/* It is on its new host; the move ends when it is what it should be. */
	if (it->acked &&
		(!strcmp(state, "running") || !strcmp(state, "paused") || at_rest(state))) {
		cleanup_free char *op =
			doc_str(moving, "op") ? strdup(doc_str(moving, "op")) : NULL;
		char text[160];
		snprintf(text, sizeof(text), "to host %s", host_name(r, host));
		json_t *doc = json_deep_copy(o->doc);
		json_object_set_new(doc, "moving", json_null());
		if (doc_put(r, o, doc, "scheduler", "moved", text) && op)
			operation_finish(r->c->objects, op, NULL, NULL);
		return;
	}
	instance_assign(r, it, o);
}

/* ---- which ---- */

void instance_fenced(struct reconciler *r, struct item *it, struct obj *o)
{
	const char *restart = doc_str(o->doc, "restart"), *host = doc_str(o->doc, "host_id");
	char text[200];
	if (json_array_size(json_object_get(o->doc, "disks"))) {
		snprintf(text, sizeof(text), "its volumes are on host %s, which is fenced",
			host_name(r, host));
		observe(r, o, "failed", text, true);
		return;
	}
	if (restart && !strcmp(restart, "never")) {
		snprintf(text, sizeof(text), "host %s is fenced, and its restart policy is never",
			host_name(r, host));
		observe(r, o, "failed", text, true);
		return;
	}
	snprintf(text, sizeof(text), "host %s is fenced: it starts anew elsewhere",
		host_name(r, host));
	if (host_discards(r, host, o->id))
		instance_unplace(
			r, it, obj_get(r->c->objects, KIND_INSTANCE, it->id), "released", text);
}

static void unreachable(struct reconciler *r, struct obj *o, const char *host)
{
	char why[200];
	if (r->grace.loop && !host_link(r, host, false))
		return; /* just started: the node dials soon */
	snprintf(why, sizeof(why), "host %s is offline", host_name(r, host));
	observe(r, o, "unknown", why, false);
}

void instance_step(struct reconciler *r, struct item *it, struct obj *o)
{
	const char *host = doc_str(o->doc, "host_id");
	bool gone = !strcmp(doc_state(o->doc, "desired"), "deleted");
	it->unplaced = !host && !gone;
	if (it->ticket && !(gone && it->ticket_push))
		return;
	it->ticket = 0;
	if (gone && (!r->settling || it->seen || !host)) {
		instance_end(r, it, o);
		return;
	}
	if (!host) {
		instance_place(r, it, o);
		return;
	}
	if (host_is_fenced(r, host)) {
		instance_fenced(r, it, o);
		return;
	}
	if (!host_up(r, host)) {
		unreachable(r, o, host);
		return;
	}
	if (r->settling && !it->seen) {
		observe(r, o, "unknown", "restored: waits until every host has reported", false);
		return;
	}
	if (json_is_object(json_object_get(o->doc, "moving")))
		instance_move_step(r, it, o);
	else
		instance_assign(r, it, o);
}
