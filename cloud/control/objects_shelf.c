/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/objects_shelf.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a. */
static unsigned hash_more(unsigned h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h;
}

static struct shelf_obj **id_slot(const struct shelf *s, const char *id)
{
	return &s->by_id[hash_more(2166136261u, id) & (s->size - 1)];
}

static struct shelf_obj **name_slot(const struct shelf *s, const char *project, const char *name)
{
	unsigned h = hash_more(2166136261u, project ? project : "");

	return &s->by_name[hash_more(h * 31 + 1, name) & (s->size - 1)];
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

struct obj *shelf_by_id(const struct shelf *s, const char *id)
{
	if (!s->size)
		return NULL;
	for (struct shelf_obj *n = *id_slot(s, id); n; n = n->same_id)
		if (!strcmp(n->o.id, id))
			return &n->o;
	return NULL;
}

struct obj *shelf_by_name(const struct shelf *s, const char *project, const char *name)
{
	if (!s->size || !*name)
		return NULL;
	for (struct shelf_obj *n = *name_slot(s, project, name); n; n = n->same_name)
		if (!strcmp(n->o.name, name) && same_text(n->o.project, project))
			return &n->o;
	return NULL;
}

static void hash_in(struct shelf *s, struct shelf_obj *n)
{
	struct shelf_obj **slot = id_slot(s, n->o.id);

	n->same_id = *slot;
	*slot = n;
	slot = name_slot(s, n->o.project, n->o.name);
	n->same_name = *slot;
	*slot = n;
}

static void hash_out(struct shelf *s, struct shelf_obj *n)
{
	struct shelf_obj **at = id_slot(s, n->o.id);

	while (*at != n)
		at = &(*at)->same_id;
	*at = n->same_id;
	at = name_slot(s, n->o.project, n->o.name);
	while (*at != n)
		at = &(*at)->same_name;
	*at = n->same_name;
}

static int grow(struct shelf *s)
{
	unsigned size = s->size ? 2 * s->size : 16;
	struct shelf_obj **by_id = calloc(size, sizeof(*by_id));
	struct shelf_obj **by_name = calloc(size, sizeof(*by_name));

	if (!by_id || !by_name) {
		free(by_id);
		free(by_name);
		return -ENOMEM;
	}
	free(s->by_id);
	free(s->by_name);
	s->by_id = by_id;
	s->by_name = by_name;
	s->size = size;
	for (struct shelf_obj *n = s->first; n; n = n->next)
		hash_in(s, n);
	return 0;
}

/* From the end: new ids are nearly always the largest. */
static void list_in(struct shelf *s, struct shelf_obj *n)
{
	struct shelf_obj *before = s->last;

	while (before && strcmp(before->o.id, n->o.id) > 0)
		before = before->prev;
	n->prev = before;
	n->next = before ? before->next : s->first;
	*(n->next ? &n->next->prev : &s->last) = n;
	*(before ? &before->next : &s->first) = n;
}

static void set_doc(struct obj *o, json_t *doc, uint64_t revision)
{
	const char *name = json_string_value(json_object_get(doc, "name"));

	o->doc = doc;
	o->revision = revision;
	o->id = json_string_value(json_object_get(doc, "id"));
	o->name = name ? name : "";
	o->project = kind_in_project(o->kind) ? json_string_value(json_object_get(doc, "project"))
					      : NULL;
}

int shelf_set(struct shelf *s, json_t *doc, uint64_t revision, struct obj **ret_obj)
{
	struct shelf_obj *n = (void *)shelf_by_id(s, json_string_value(json_object_get(doc, "id")));
	json_t *old = NULL;

	if (n) {
		hash_out(s, n);
		old = n->o.doc;
	} else {
		n = s->count == s->size && grow(s) ? NULL : calloc(1, sizeof(*n));
		if (!n) {
			json_decref(doc);
			return -ENOMEM;
		}
		n->o.kind = s->kind;
		s->count++;
	}
	set_doc(&n->o, doc, revision);
	hash_in(s, n);
	if (!old)
		list_in(s, n);
	json_decref(old);
	*ret_obj = &n->o;
	return 0;
}

void shelf_remove(struct shelf *s, struct obj *o)
{
	struct shelf_obj *n = (void *)o;

	hash_out(s, n);
	*(n->prev ? &n->prev->next : &s->first) = n->next;
	*(n->next ? &n->next->prev : &s->last) = n->prev;
	s->count--;
}

void shelf_free(struct obj *o)
{
	json_decref(o->doc);
	free(o);
}

void shelf_fini(struct shelf *s)
{
	while (s->first) {
		struct obj *o = &s->first->o;

		shelf_remove(s, o);
		shelf_free(o);
	}
	free(s->by_id);
	free(s->by_name);
}
