/* SPDX-License-Identifier: Apache-2.0 */
/* Objects: memory in front, the store behind. A change goes to the store first and is seen only
 * when it is there; inside a transaction an undo list brings memory back when the store cannot
 * commit. */
#include "cloud/control/objects.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/objects_shelf.h"

struct undo {
	enum kind kind;
	char *id;
	json_t *doc; /* as it was, NULL: it did not exist */
	uint64_t revision;
};

struct objects {
	struct store *store;
	struct shelf shelf[KIND_COUNT];
	struct obj_watch *watches;
	bool open; /* a transaction of the caller's */
	struct undo *undo;
	size_t nundo, undo_cap;
};

/* ---- loading ---- */

static int load_one(void *arg, const char *id, json_t *doc, uint64_t revision)
{
	struct obj *o;

	json_object_set_new(doc, "revision", json_integer((json_int_t)revision));
	return shelf_set(arg, json_incref(doc), revision, &o);
}

int objects_new(struct store *s, struct objects **ret_objects, struct err *e)
{
	struct objects *os = calloc(1, sizeof(*os));
	int r = os ? 0 : -ENOMEM;

	for (unsigned k = 0; !r && k < KIND_COUNT; k++) {
		os->shelf[k].kind = k;
		r = store_each(s, kind_name(k), load_one, &os->shelf[k]);
	}
	if (r) {
		objects_free(os);
		return err_set(e, ERR_HOST, r, "the database cannot be read: %s", strerror(-r));
	}
	os->store = s;
	*ret_objects = os;
	return 0;
}

static void undo_clear(struct objects *os)
{
	for (size_t i = 0; i < os->nundo; i++) {
		free(os->undo[i].id);
		json_decref(os->undo[i].doc);
	}
	os->nundo = 0;
}

void objects_free(struct objects *os)
{
	if (!os)
		return;
	undo_clear(os);
	free(os->undo);
	for (unsigned k = 0; k < KIND_COUNT; k++)
		shelf_fini(&os->shelf[k]);
	free(os);
}

struct store *objects_store(struct objects *os)
{
	return os->store;
}

/* ---- finding ---- */

struct obj *obj_get(struct objects *os, enum kind k, const char *id)
{
	return shelf_by_id(&os->shelf[k], id);
}

struct obj *obj_find(struct objects *os, enum kind k, const char *project, const char *id_or_name)
{
	struct obj *o = shelf_by_id(&os->shelf[k], id_or_name);

	if (!kind_in_project(k))
		return o ? o : shelf_by_name(&os->shelf[k], NULL, id_or_name);
	if (o && (!project || !strcmp(o->project, project)))
		return o;
	return project ? shelf_by_name(&os->shelf[k], project, id_or_name) : NULL;
}

struct obj *obj_next(struct objects *os, enum kind k, struct obj *after)
{
	struct shelf_obj *n =
		after ? ((struct shelf_obj *)(void *)after)->next : os->shelf[k].first;

	return n ? &n->o : NULL;
}

unsigned obj_count(struct objects *os, enum kind k)
{
	return os->shelf[k].count;
}

/* ---- watching ---- */

void objects_watch(struct objects *os, struct obj_watch *w)
{
	w->next = os->watches;
	os->watches = w;
}

void objects_unwatch(struct objects *os, struct obj_watch *w)
{
	for (struct obj_watch **at = &os->watches; *at; at = &(*at)->next) {
		if (*at == w) {
			*at = w->next;
			return;
		}
	}
}

static void tell(struct objects *os, struct obj *o, bool deleted)
{
	for (struct obj_watch *w = os->watches; w; w = w->next)
		w->changed(w, o, deleted);
}

/* ---- transactions ---- */

static int undo_note(struct objects *os, enum kind k, const char *id, const struct obj *old)
{
	struct undo u = {.kind = k, .id = strdup(id)};

	if (os->nundo == os->undo_cap) {
		size_t cap = os->undo_cap ? 2 * os->undo_cap : 16;
		struct undo *more = reallocarray(os->undo, cap, sizeof(*more));

		if (more) {
			os->undo = more;
			os->undo_cap = cap;
		}
	}
	if (!u.id || os->nundo == os->undo_cap) {
		free(u.id);
		return -ENOMEM;
	}
	if (old) {
		u.doc = json_incref(old->doc);
		u.revision = old->revision;
	}
	os->undo[os->nundo++] = u;
	return 0;
}

static void undo_one(struct objects *os, struct undo *u)
{
	struct shelf *shelf = &os->shelf[u->kind];
	struct obj *o = shelf_by_id(shelf, u->id);

	if (u->doc) {
		if (!shelf_set(shelf, json_incref(u->doc), u->revision, &o))
			tell(os, o, false);
	} else if (o) {
		shelf_remove(shelf, o);
		tell(os, o, true);
		shelf_free(o);
	}
}

int objects_begin(struct objects *os)
{
	int r = store_begin(os->store);

	if (!r)
		os->open = true;
	return r;
}

void objects_rollback(struct objects *os)
{
	if (!os->open)
		return;
	store_rollback(os->store);
	os->open = false;
	while (os->nundo) {
		struct undo u = os->undo[--os->nundo];

		undo_one(os, &u);
		free(u.id);
		json_decref(u.doc);
	}
}

int objects_commit(struct objects *os)
{
	int r = os->open ? store_commit(os->store) : -EINVAL;

	if (r) {
		objects_rollback(os);
		return r;
	}
	os->open = false;
	undo_clear(os);
	return 0;
}

/* One change is a transaction too: the document and its event. */
static int one_begin(struct objects *os, const struct change *c)
{
	if (os->open)
		return 0;
	if (c && c->lazy)
		store_lazy(os->store);
	return store_begin(os->store);
}

static int one_end(struct objects *os, int r)
{
	if (os->open)
		return r;
	if (!r)
		return store_commit(os->store);
	store_rollback(os->store);
	return r;
}

/* ---- changing ---- */

static void set_text(json_t *event, const char *key, const char *value)
{
	if (value)
		json_object_set_new(event, key, json_string(value));
}

static int put_event(struct objects *os, enum kind k, const json_t *doc, uint64_t revision,
	const struct change *c)
{
	char now[32];
	json_t *event;
	int r;

	if (!c || !c->event)
		return 0;
	obj_now(now);
	event = json_pack("{s:s, s:s, s:O, s:O*, s:O*, s:s}", "time", now, "kind", kind_name(k),
		"id", json_object_get(doc, "id"), "name", json_object_get(doc, "name"), "project",
		json_object_get(doc, "project"), "event", c->event);
	if (!event)
		return -ENOMEM;
	set_text(event, "text", c->text);
	set_text(event, "actor", c->actor);
	set_text(event, "request_id", c->request_id);
	json_object_set_new(event, "revision", json_integer((json_int_t)revision));
	r = store_event(os->store, event, NULL);
	json_decref(event);
	return r;
}

static bool expected(const struct obj *o, const struct change *c)
{
	return !c || !c->expect || c->expect == STORE_ANY || (o && o->revision == c->expect);
}

static void stamp(json_t *doc, const struct obj *old)
{
	char now[32];

	obj_now(now);
	if (old)
		json_object_set(doc, "created_at", json_object_get(old->doc, "created_at"));
	else if (!json_object_get(doc, "created_at"))
		json_object_set_new(doc, "created_at", json_string(now));
	json_object_set_new(doc, "updated_at", json_string(now));
	json_object_del(doc, "revision"); /* the store's row has it */
}

static int put_stored(struct objects *os, enum kind k, const char *id, json_t *doc,
	const struct change *c, uint64_t *ret_revision)
{
	int r = one_begin(os, c);

	if (r)
		return r;
	r = store_put(os->store, kind_name(k), id, doc, STORE_ANY, ret_revision);
	if (!r)
		r = put_event(os, k, doc, *ret_revision, c);
	return one_end(os, r);
}

/* Whether doc may take the place of old (NULL: a new one). */
static int check_doc(
	struct objects *os, enum kind k, json_t *doc, struct obj *old, const struct change *c)
{
	const char *name = json_string_value(json_object_get(doc, "name"));
	const char *project = json_string_value(json_object_get(doc, "project"));
	struct obj *same;

	if (kind_in_project(k) && !project)
		return -EINVAL;
	if (!expected(old, c))
		return -ESTALE;
	same = name ? shelf_by_name(&os->shelf[k], kind_in_project(k) ? project : NULL, name)
		    : NULL;
	return same && same != old ? -EEXIST : 0;
}

int obj_put(
	struct objects *os, enum kind k, json_t *doc, const struct change *c, struct obj **ret_obj)
{
	const char *id = json_string_value(json_object_get(doc, "id"));
	struct obj *o = id ? shelf_by_id(&os->shelf[k], id) : NULL;
	uint64_t revision = 0;
	int r = id ? check_doc(os, k, doc, o, c) : -EINVAL;

	if (!r && os->open)
		r = undo_note(os, k, id, o);
	if (!r) {
		stamp(doc, o);
		r = put_stored(os, k, id, doc, c, &revision);
	}
	if (r) {
		json_decref(doc);
		return r;
	}
	json_object_set_new(doc, "revision", json_integer((json_int_t)revision));
	r = shelf_set(&os->shelf[k], doc, revision, &o);
	if (r)
		return r;
	tell(os, o, false);
	if (ret_obj)
		*ret_obj = o;
	return 0;
}

int obj_delete(struct objects *os, struct obj *o, const struct change *c)
{
	int r = expected(o, c) ? 0 : -ESTALE;

	if (!r && os->open)
		r = undo_note(os, o->kind, o->id, o);
	if (!r)
		r = one_begin(os, c);
	if (r)
		return r;
	r = store_delete(os->store, kind_name(o->kind), o->id, STORE_ANY);
	if (!r)
		r = put_event(os, o->kind, o->doc, o->revision, c);
	r = one_end(os, r);
	if (r)
		return r;
	shelf_remove(&os->shelf[o->kind], o);
	tell(os, o, true);
	shelf_free(o);
	return 0;
}
