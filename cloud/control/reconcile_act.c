/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to nodes. An act remembers for whom it is by id and ticket, never by pointer: when its
 * answer comes the item may be gone, or may have given up waiting and be busy with something else.
 * It outlives even the reconciler, because links and images end after it. */
#include "cloud/control/reconcile_internal.h"

#include <stdlib.h>
#include <string.h>

struct act {
	struct list link;     /* reconciler.acts */
	struct reconciler *r; /* NULL: it is gone */
	char item[ID_LEN], host[ID_LEN];
	uint64_t ticket, tag;
	act_end_fn *end;
	char digest[IMAGE_PARTS][DIGEST_LEN];
};

static struct act *act_new(struct reconciler *r, struct item *it, const char *host_id)
{
	struct act *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->r = r;
	snprintf(a->host, sizeof(a->host), "%s", host_id);
	if (it) {
		snprintf(a->item, sizeof(a->item), "%s", it->id);
		a->ticket = it->ticket = ++r->tickets;
		it->ticket_push = false;
	}
	list_add(&r->acts, &a->link);
	r->stats.calls++;
	return a;
}

void acts_free(struct reconciler *r)
{
	while (!list_empty(&r->acts)) {
		struct act *a = container_of(r->acts.next, struct act, link);
		a->r = NULL;
		list_del(&a->link);
	}
}

static void act_end(struct act *a, unsigned status, json_t *body, const char *error)
{
	struct reconciler *r = a->r;
	if (r) {
		list_del(&a->link);
		struct item *it = item_find(r, a->item);
		if (it && it->ticket != a->ticket)
			it = NULL;
		if (it)
			it->ticket = 0;
		if (a->end)
			a->end(r, it, a->host, status, body, error, a->tag);
	}
	free(a);
}

static void call_done(void *arg, unsigned status, json_t *body, const char *error)
{
	act_end(arg, status, body, error);
}

void act_call(struct item *it, const char *host_id, const char *method, const char *path,
	const json_t *body, act_end_fn *end, uint64_t tag)
{
	struct reconciler *r = it->r;
	struct link *l = nodes_link(r->c->nodes, host_id);
	struct act *a = l ? act_new(r, it, host_id) : NULL;
	if (!a) {
		item_failed(it);
		return;
	}
	a->end = end;
	a->tag = tag;
	struct obj *o = obj_get(r->c->objects, it->kind, it->id);
	link_call(l, method, path, body, o ? doc_str(o->doc, "request_id") : NULL, call_done, a);
}

static void push_done(void *arg, int error, const char *why)
{
	struct act *a = arg;
	for (unsigned i = 0; a->r && !error && i < IMAGE_PARTS; i++) {
		if (a->digest[i][0])
			fleet_add_blob(a->r->fleet, a->host, a->digest[i]);
	}
	act_end(a, error ? 0 : 200, NULL, why);
}

void act_push(struct item *it, const char *host_id, const struct image_platform *p, act_end_fn *end)
{
	static const struct image_push_ops ops = {.done = push_done};
	struct reconciler *r = it->r;
	struct link *l = nodes_link(r->c->nodes, host_id);
	struct act *a = l ? act_new(r, it, host_id) : NULL;
	if (!a) {
		item_failed(it);
		return;
	}
	it->ticket_push = true;
	a->end = end;
	for (unsigned i = 0; i < IMAGE_PARTS; i++)
		memcpy(a->digest[i], p->part[i].digest, DIGEST_LEN);
	struct obj *o = obj_get(r->c->objects, it->kind, it->id);
	image_push(r->c->images, l, p, o ? doc_str(o->doc, "request_id") : NULL, &ops, a);
}

void act_discard(struct reconciler *r, const char *host_id, const char *instance_id)
{
	struct link *l = nodes_link(r->c->nodes, host_id);
	struct act *a = l ? act_new(r, NULL, host_id) : NULL;
	char path[96];
	snprintf(path, sizeof(path), "/v1/instances/%s", instance_id);
	if (a)
		link_call(l, "DELETE", path, NULL, NULL, call_done, a);
}

void act_why(struct reconciler *r, const char *host_id, unsigned status, const json_t *body,
	const char *error, char *ret_text, size_t cap)
{
	const char *detail = doc_str(body, "detail");
	if (!detail)
		detail = error && *error ? error : NULL;
	if (detail)
		snprintf(ret_text, cap, "host %s: %s", host_name(r, host_id), detail);
	else
		snprintf(ret_text, cap, "host %s answered %u", host_name(r, host_id), status);
}
