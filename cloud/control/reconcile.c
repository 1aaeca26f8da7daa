/* SPDX-License-Identifier: Apache-2.0 */
/* Items, their queue and their time. A turn looks at a bounded number of items, so that requests
 * and nodes are served between turns however much there is to do. */
#include "cloud/control/reconcile_internal.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#define PER_TURN   64
#define BACKOFF_NS 250000000ull
#define BACKOFF_N  7 /* doublings: 32 s */

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->id, ((const struct item *)b)->id);
}

struct item *item_find(struct reconciler *r, const char *id)
{
	struct item key;
	snprintf(key.id, sizeof(key.id), "%s", id);
	void *node = tfind(&key, &r->index, by_id);
	return node ? *(struct item **)node : NULL;
}

static void retry_fire(struct ev_timer *t)
{
	struct item *it = container_of(t, struct item, retry);
	it->waiting = false;
	item_wake(it);
}

struct item *item_get(struct reconciler *r, enum kind k, const char *id)
{
	struct item *it = item_find(r, id);
	if (it)
		return it;
	it = calloc(1, sizeof(*it));
	if (!it)
		return NULL;
	snprintf(it->id, sizeof(it->id), "%s", id);
	it->kind = k;
	it->r = r;
	it->retry.fire = retry_fire;
	list_init(&it->queue);
	list_init(&it->all);
	if (!tsearch(it, &r->index, by_id)) {
		free(it);
		return NULL;
	}
	list_add(&r->items, &it->all);
	r->stats.items++;
	return it;
}

void item_free(struct item *it)
{
	struct reconciler *r = it->r;
	item_charge(it, NULL, 0, 0);
	if (it->waiting)
		ev_timer_cancel(&it->retry);
	tdelete(it, &r->index, by_id);
	list_del(&it->all);
	list_del(&it->queue);
	r->stats.items--;
	free(it);
}

static void turn_soon(struct reconciler *r)
{
	if (!r->turn.loop)
		ev_timer_arm(r->c->loop, &r->turn, 0);
}

void item_wake(struct item *it)
{
	if (it->waiting || !list_empty(&it->queue))
		return;
	list_add(&it->r->queue, &it->queue);
	turn_soon(it->r);
}

void item_again(struct item *it)
{
	it->failures = 0;
	if (it->waiting)
		ev_timer_cancel(&it->retry);
	it->waiting = false;
	item_wake(it);
}

void item_failed(struct item *it)
{
	unsigned n = it->failures < BACKOFF_N ? it->failures : BACKOFF_N;
	it->failures++;
	it->r->stats.failures++;
	/* Items that failed together do not try again together. */
	uint64_t jitter =
		(uint64_t)(unsigned char)it->id[strlen(it->id) - 1] % 16 * BACKOFF_NS / 64;
	list_del(&it->queue);
	if (it->waiting)
		ev_timer_cancel(&it->retry);
	it->waiting = true;
	ev_timer_arm(it->r->c->loop, &it->retry, ev_now_ns() + (BACKOFF_NS << n) + (jitter << n));
}

void item_charge(struct item *it, const char *host_id, uint32_t cpus, uint32_t memory_mib)
{
	const char *host = host_id ? host_id : "";
	if (!strcmp(it->host, host) && it->cpus == cpus && it->memory_mib == memory_mib)
		return;
	if (it->host[0]) {
		fleet_charge(it->r->fleet, it->host, -(int64_t)it->cpus, -(int64_t)it->memory_mib);
		wake_unplaced(it->r);
	}
	snprintf(it->host, sizeof(it->host), "%s", host);
	it->cpus = cpus;
	it->memory_mib = memory_mib;
	if (it->host[0])
		fleet_charge(it->r->fleet, it->host, cpus, memory_mib);
}

void wake_unplaced(struct reconciler *r)
{
	r->wake_unplaced = true;
	turn_soon(r);
}

static void charge_of(struct item *it, const struct obj *o)
{
	const char *host = doc_str(o->doc, "host_id");
	item_charge(it, host, (uint32_t)doc_num(o->doc, "cpus"),
		(uint32_t)doc_num(o->doc, "memory_mib"));
}

void drains_wake(struct reconciler *r)
{
	r->look_drains = true;
	turn_soon(r);
}

/* ---- turns ---- */

static void look(struct reconciler *r, struct item *it)
{
	struct obj *o = obj_get(r->c->objects, it->kind, it->id);
	r->stats.turns++;
	if (!o) {
		item_free(it);
		return;
	}
	if (it->kind == KIND_INSTANCE) {
		charge_of(it, o); /* a rollback is not told */
		instance_step(r, it, o);
	} else {
		volume_step(r, it, o);
	}
}

static void turn(struct ev_timer *t)
{
	struct reconciler *r = container_of(t, struct reconciler, turn);
	if (r->wake_unplaced) {
		r->wake_unplaced = false;
		list_for_each (l, &r->items) {
			struct item *it = container_of(l, struct item, all);
			if (it->unplaced)
				item_wake(it);
		}
	}
	for (unsigned n = 0; n < PER_TURN && !list_empty(&r->queue); n++) {
		struct item *it = container_of(r->queue.next, struct item, queue);
		list_del(&it->queue);
		look(r, it);
	}
	if (list_empty(&r->queue) && r->look_drains) {
		r->look_drains = false;
		drains_look(r);
	}
	if (!list_empty(&r->queue) || r->wake_unplaced || r->look_drains)
		turn_soon(r);
}

/* ---- objects ---- */

static void host_objects_wake(struct reconciler *r, const char *host_id)
{
	list_for_each (l, &r->items) {
		struct item *it = container_of(l, struct item, all);
		if (it->kind == KIND_VOLUME || !strcmp(it->host, host_id))
			item_again(it);
	}
}

static void host_changed(struct reconciler *r, struct obj *o, bool deleted)
{
	int more = fleet_host_changed(r->fleet, o, deleted);
	if (more > 0 || deleted) {
		host_objects_wake(r, o->id); /* fenced, or back */
		wake_unplaced(r);
		reconcile_settle(r);
	} else if (more < 0) {
		log_line(
			r->c->log, LOG_ERROR, "reconcile", "host %s: %s", o->name, strerror(-more));
	}
}

static void changed(struct obj_watch *w, struct obj *o, bool deleted)
{
	struct reconciler *r = container_of(w, struct reconciler, watch);
	struct item *it;
	switch (o->kind) {
	case KIND_HOST:
		host_changed(r, o, deleted);
		break;
	case KIND_POOL:
		fleet_pools_changed(r->fleet);
		wake_unplaced(r);
		break;
	case KIND_IMAGE:
		wake_unplaced(r);
		break;
	case KIND_VOLUME:
		wake_unplaced(r);
		__attribute__((fallthrough));
	case KIND_INSTANCE:
		r->look_drains = true;
		it = item_get(r, o->kind, o->id);
		if (it && o->kind == KIND_INSTANCE && !deleted)
			charge_of(it, o);
		/* What the reconciler itself wrote does not end a backing off. */
		if (it && r->own)
			item_wake(it);
		else if (it)
			item_again(it);
		break;
	default:
		break;
	}
}

static int read_all(struct reconciler *r, enum kind k)
{
	for (struct obj *o = obj_next(r->c->objects, k, NULL); o;
		o = obj_next(r->c->objects, k, o)) {
		struct item *it = item_get(r, k, o->id);
		if (!it)
			return -ENOMEM;
		if (k == KIND_INSTANCE)
			charge_of(it, o);
		item_wake(it);
	}
	return 0;
}

/* After a restore the store may say less than what runs: see instance_adopt.c. */
static void read_restored(struct reconciler *r)
{
	json_t *doc;
	if (store_get(r->c->store, "meta", "restored", &doc, NULL))
		return;
	const char *at = doc_str(doc, "at");
	snprintf(r->restored_at, sizeof(r->restored_at), "%s", at ? at : "~");
	r->settling = true;
	json_decref(doc);
}

#define GRACE_NS 15000000000ull

/* Hosts that are not back some time after the start are as good as lost now. */
static void grace_over(struct ev_timer *t)
{
	struct reconciler *r = container_of(t, struct reconciler, grace);
	list_for_each (l, &r->items)
		item_wake(container_of(l, struct item, all));
}

int reconciler_new(struct control *c, struct reconciler **ret_reconciler)
{
	struct reconciler *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->c = c;
	list_init(&r->items);
	list_init(&r->queue);
	list_init(&r->hosts);
	list_init(&r->acts);
	r->turn.fire = turn;
	r->grace.fire = grace_over;
	int rc = fleet_new(c->objects, &r->fleet);
	if (!rc)
		rc = read_all(r, KIND_INSTANCE);
	if (!rc)
		rc = read_all(r, KIND_VOLUME);
	if (rc) {
		reconciler_free(r);
		return rc;
	}
	read_restored(r);
	r->look_drains = true;
	turn_soon(r);
	ev_timer_arm(c->loop, &r->grace, ev_now_ns() + GRACE_NS);
	r->watch.changed = changed;
	objects_watch(c->objects, &r->watch);
	*ret_reconciler = r;
	return 0;
}

void reconciler_free(struct reconciler *r)
{
	if (!r)
		return;
	objects_unwatch(r->c->objects, &r->watch);
	acts_free(r);
	while (!list_empty(&r->items))
		item_free(container_of(r->items.next, struct item, all));
	while (!list_empty(&r->hosts)) {
		struct host_link *h = container_of(r->hosts.next, struct host_link, link);
		list_del(&h->link);
		free(h);
	}
	if (r->turn.loop)
		ev_timer_cancel(&r->turn);
	if (r->grace.loop)
		ev_timer_cancel(&r->grace);
	fleet_free(r->fleet);
	free(r);
}

void reconcile_stats(const struct reconciler *r, struct reconcile_stats *ret)
{
	*ret = r->stats;
	ret->queued = ret->waiting = ret->unplaced = ret->in_flight = 0;
	list_for_each (l, &r->items) {
		const struct item *it = container_of(l, struct item, all);
		ret->queued += !list_empty(&it->queue);
		ret->waiting += it->waiting;
		ret->unplaced += it->unplaced;
		ret->in_flight += it->ticket != 0;
	}
}
