/* SPDX-License-Identifier: Apache-2.0 */
/* The table of connections, from wire to wire's end. A connection lives as long as its link; the
 * host object outlives it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/nodes_internal.h"

#define LOOK_NS (2ull * 1000000000)

static void look_soon(struct nodes *all, uint64_t in_ns)
{
	ev_timer_arm(all->c->loop, &all->timer, ev_now_ns() + in_ns);
}

void node_conn_drop(struct node_conn *n, const char *fmt, ...)
{
	va_list ap;

	if (n->drop)
		return;
	n->drop = true;
	va_start(ap, fmt);
	vsnprintf(n->why, sizeof(n->why), fmt, ap);
	va_end(ap);
	look_soon(n->all, 0);
}

/* The link has gone, or goes with this. */
static void conn_free(struct node_conn *n, const char *why)
{
	struct nodes *all = n->all;

	list_del(&n->node);
	all->count--;
	link_free(n->link);
	log_line(all->c->log, n->up ? LOG_WARN : LOG_INFO, "nodes", "node %s is gone: %s", n->name,
		why);
	if (n->up) {
		n->up = false;
		node_set_connected(n, false, "offline");
		reconcile_host_down(all->c->reconciler, n->host_id);
	}
	json_decref(n->early);
	json_decref(n->load);
	free(n->line);
	free(n);
}

static void link_gone(struct link *l, const char *why, void *arg)
{
	struct node_conn *n = arg;

	conn_free(n, n->drop ? n->why : why);
}

static void state_came(void *arg, unsigned status, json_t *body, const char *error)
{
	struct node_conn *n = arg;
	struct err e = {0};

	if (n->drop || status == 0)
		return; /* the link's end says it */
	if (status != 200 || !json_is_object(body)) {
		node_conn_drop(n, "its answer to GET /v1/state is %u", status);
		return;
	}
	if (node_join(n, body, &e) < 0) {
		node_conn_drop(n, "%s", e.text);
		return;
	}
	n->up = true;
	log_line(
		n->all->c->log, LOG_INFO, "nodes", "node %s has joined as %s", n->name, n->host_id);
	reconcile_host_up(n->all->c->reconciler, n->host_id, body);
	node_watch_replay(n);
}

int node_conn_new(struct nodes *all, struct link_wire *w, const char *name, const char *identity)
{
	struct node_conn *n = calloc(1, sizeof(*n));
	struct link_events ev = {link_gone, n};
	int r = -ENOMEM;

	if (!n) {
		w->free(w);
		return r;
	}
	n->all = all;
	n->heard_ns = ev_now_ns();
	snprintf(n->name, sizeof(n->name), "%s", name);
	snprintf(n->identity, sizeof(n->identity), "%s", identity);
	n->early = json_array();
	r = link_client_new(all->c->loop, w, &ev, &n->link);
	if (r < 0) {
		json_decref(n->early);
		free(n);
		return r;
	}
	list_add(&all->list, &n->node);
	all->count++;
	/* The watch first: what changes while the state is on its way must not be missed. */
	if (node_watch_open(n) < 0)
		node_conn_drop(n, "no watch could be opened");
	link_call(n->link, "GET", "/v1/state", NULL, NULL, state_came, n);
	return 0;
}

/* ---- the table ---- */

struct node_conn *nodes_by_name(struct nodes *all, const char *name)
{
	list_for_each (it, &all->list) {
		struct node_conn *n = container_of(it, struct node_conn, node);

		if (!n->drop && strcmp(n->name, name) == 0)
			return n;
	}
	return NULL;
}

static struct node_conn *by_host(struct nodes *all, const char *host_id)
{
	list_for_each (it, &all->list) {
		struct node_conn *n = container_of(it, struct node_conn, node);

		if (!n->drop && strcmp(n->host_id, host_id) == 0)
			return n;
	}
	return NULL;
}

struct link *nodes_link(struct nodes *all, const char *host_id)
{
	struct node_conn *n = all && host_id && host_id[0] ? by_host(all, host_id) : NULL;

	return n && n->up ? n->link : NULL;
}

const json_t *nodes_load(struct nodes *all, const char *host_id)
{
	struct node_conn *n = host_id && host_id[0] ? by_host(all, host_id) : NULL;

	return n ? n->load : NULL;
}

unsigned nodes_count(const struct nodes *all)
{
	unsigned up = 0;

	list_for_each (it, &all->list)
		up += container_of(it, struct node_conn, node)->up;
	return up;
}

void nodes_drop(struct nodes *all, const char *host_id, const char *why)
{
	struct node_conn *n = host_id && host_id[0] ? by_host(all, host_id) : NULL;

	if (n)
		node_conn_drop(n, "%s", why);
}

static void look(struct ev_timer *t)
{
	struct nodes *all = container_of(t, struct nodes, timer);
	uint64_t now = ev_now_ns();

	look_soon(all, LOOK_NS);
	list_for_each_safe (it, &all->list) {
		struct node_conn *n = container_of(it, struct node_conn, node);

		if (!n->drop && now - n->heard_ns > NODE_SILENT_NS)
			node_conn_drop(n, "it has said nothing for %llu s",
				(unsigned long long)(NODE_SILENT_NS / 1000000000));
		if (n->drop)
			conn_free(n, n->why);
	}
}

static void object_changed(struct obj_watch *w, struct obj *o, bool deleted)
{
	struct nodes *all = container_of(w, struct nodes, watch);

	if (deleted && o->kind == KIND_HOST)
		nodes_drop(all, o->id, "its host was deleted");
}

/* What an earlier run of this program left: nobody is connected now. */
static void all_offline(struct nodes *all)
{
	struct objects *os = all->c->objects;

	for (struct obj *o = obj_next(os, KIND_HOST, NULL), *next; o; o = next) {
		struct node_conn n = {.all = all};

		next = obj_next(os, KIND_HOST, o);
		if (!json_is_true(json_object_get(o->doc, "connected")))
			continue;
		snprintf(n.host_id, sizeof(n.host_id), "%s", o->id);
		node_set_connected(&n, false, NULL);
	}
}

int nodes_new(struct control *c, struct nodes **ret_nodes)
{
	struct nodes *all = calloc(1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	all->c = c;
	list_init(&all->list);
	all->timer.fire = look;
	all->watch.changed = object_changed;
	objects_watch(c->objects, &all->watch);
	all_offline(all);
	look_soon(all, LOOK_NS);
	*ret_nodes = all;
	return 0;
}

void nodes_free(struct nodes *all)
{
	if (!all)
		return;
	list_for_each_safe (it, &all->list)
		conn_free(container_of(it, struct node_conn, node), "the control plane stops");
	ev_timer_cancel(&all->timer);
	objects_unwatch(all->c->objects, &all->watch);
	free(all);
}

int nodes_attach(struct nodes *all, struct link_wire *w, const char *name)
{
	struct err e = {0};
	int r;

	if (!w)
		return -ENOMEM;
	r = node_may_be(all, name, IDENTITY_LOCAL, &e);
	if (r == 0)
		return node_conn_new(all, w, name, IDENTITY_LOCAL);
	log_line(all->c->log, LOG_ERROR, "nodes", "%s", e.text);
	w->free(w);
	return r;
}
