/* SPDX-License-Identifier: Apache-2.0 */
/* Lists with filters, labels and pages, and what is shown of an object. A page's token is the last
 * id that it showed: ids grow with time, so pages stay right while objects come and go. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/hosts_do.h"
#include "cloud/control/resources.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX     1000

const char *doc_text(const json_t *doc, const char *key)
{
	const char *s = json_string_value(json_object_get(doc, key));

	return s ? s : "";
}

int64_t doc_int(const json_t *doc, const char *key)
{
	return json_integer_value(json_object_get(doc, key));
}

enum kind route_kind(const struct route *r)
{
	const char *word = r->path + strlen("/v1/");
	size_t n = strcspn(word, "/");

	for (unsigned k = 0; k < KIND_COUNT; k++)
		if (!strncmp(kind_plural(k), word, n) && !kind_plural(k)[n])
			return k;
	return KIND_COUNT;
}

/* What changes all the time and is therefore not in the document. */
static void put_live(json_t *v, struct control *c, const char *host_id)
{
	static const char *const keys[] = {"load", "memory_free_mib"};
	json_t *load = hosts_load(c, host_id);

	json_object_set_new(v, "allocated", hosts_allocated(c, host_id));
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (json_object_get(load, keys[i]))
			json_object_set(v, keys[i], json_object_get(load, keys[i]));
	json_decref(load);
}

json_t *res_view(struct call *c, const struct obj *o)
{
	/* Kept for those who check or reconcile, of no use to a client. */
	static const char *const hidden[] = {"hash", "identity_hash", "assignment"};
	json_t *v = json_copy(o->doc);

	for (unsigned i = 0; i < ARRAY_SIZE(hidden); i++)
		json_object_del(v, hidden[i]);
	if (o->kind == KIND_HOST)
		put_live(v, c->control, o->id);
	if (o->kind == KIND_POOL)
		json_object_set_new(v, "baseline", pools_baseline(c->control, o->name));
	return v;
}

void res_answer(struct call *c, unsigned status, const struct obj *o)
{
	struct obj shown = *o;

	shown.doc = res_view(c, o);
	call_reply_obj(c, status, &shown);
	json_decref(shown.doc);
}

/* ---- filters ---- */

static bool is(const char *wanted, const char *has)
{
	return !wanted || !strcmp(wanted, has);
}

/* "key=value" or "key" (whatever its value), several with commas between. */
static bool labels_match(const char *wanted, const json_t *labels)
{
	cleanup_free char *copy = wanted ? strdup(wanted) : NULL;
	char *rest = copy, *one;

	while (rest && (one = strsep(&rest, ","))) {
		char *value = strchr(one, '=');
		const char *has;

		if (value)
			*value++ = '\0';
		has = json_string_value(json_object_get(labels, one));
		if (!has || (value && strcmp(value, has)))
			return false;
	}
	return true;
}

static const char *state_of(const struct obj *o)
{
	return o->kind == KIND_INSTANCE ? instance_observed(o) : doc_text(o->doc, "state");
}

static bool matches(const struct call *c, const struct obj *o)
{
	const char *host = call_query(c, "host");

	if (host && strcmp(host, doc_text(o->doc, "host")) &&
		strcmp(host, doc_text(o->doc, "host_id")))
		return false;
	return is(call_query(c, "name"), o->name) && is(call_query(c, "state"), state_of(o)) &&
	       is(call_query(c, "chip"), doc_text(o->doc, "chip")) &&
	       is(call_query(c, "image"), doc_text(o->doc, "image")) &&
	       is(call_query(c, "instance"), doc_text(o->doc, "instance")) &&
	       labels_match(call_query(c, "label"), json_object_get(o->doc, "labels"));
}

/* A project role sees its own project only, in lists and by name. */
static bool visible(const struct call *c, const struct obj *o)
{
	if (o->project)
		return !strcmp(o->project, c->project);
	return o->kind != KIND_PROJECT || c->role == ROLE_ADMIN || !strcmp(o->name, c->project);
}

/* ---- pages ---- */

static bool read_limit(struct call *c, uint64_t *ret_limit)
{
	const char *text = call_query(c, "limit");

	*ret_limit = LIMIT_DEFAULT;
	if (!text || (!num_parse(text, ret_limit) && *ret_limit && *ret_limit <= LIMIT_MAX))
		return true;
	call_problem(c, 400, "limit", "limit: allowed: 1 to %d", LIMIT_MAX);
	return false;
}

static struct obj *page_start(struct objects *os, enum kind k, const char *after)
{
	struct obj *o = after ? obj_get(os, k, after) : NULL;

	if (o || !after)
		return obj_next(os, k, o);
	for (o = obj_next(os, k, NULL); o && strcmp(o->id, after) <= 0;)
		o = obj_next(os, k, o);
	return o;
}

void resource_list(struct call *c)
{
	enum kind k = route_kind(c->route);
	struct objects *os = c->control->objects;
	json_t *items = json_array(), *next = json_null();
	const char *last = NULL;
	uint64_t limit;

	if (!read_limit(c, &limit)) {
		json_decref(items);
		return;
	}
	for (struct obj *o = page_start(os, k, call_query(c, "page")); o; o = obj_next(os, k, o)) {
		if (!visible(c, o) || !matches(c, o))
			continue;
		if (json_array_size(items) == limit) {
			next = json_string(last);
			break;
		}
		json_array_append_new(items, res_view(c, o));
		last = o->id;
	}
	call_reply(c, 200, json_pack("{s:o, s:o}", "items", items, "next", next));
}

struct obj *res_named(struct call *c)
{
	struct obj *o = call_obj(c, route_kind(c->route), c->param[0]);

	if (o && !visible(c, o)) {
		call_problem(c, 404, NULL, "%s %s: there is none", kind_name(o->kind), c->param[0]);
		return NULL;
	}
	return o;
}

void resource_get(struct call *c)
{
	struct obj *o = res_named(c);

	if (o)
		res_answer(c, 200, o);
}
