/* SPDX-License-Identifier: Apache-2.0 */
/* Scripted nodes; stand-ins for images and for the server's answers. */
#include "cloud/control/test_node.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- what else the reconciler calls ---- */

int image_chips(struct images *im, const char *project, const char *name, unsigned *ret_chips,
	struct err *e)
{
	(void)im, (void)project;
	if (!strcmp(name, "none"))
		return err_set(e, ERR_NOT_FOUND, -ENOENT, "image none: there is none");
	*ret_chips = strcmp(name, "x86") ? CHIP_ALL : 1 << CHIP_X86_64;
	return 0;
}

static struct world *the_world; /* images_* know nothing else */

int image_pinned(struct images *im, const char *digest, struct image_platform *p, struct err *e)
{
	(void)im, (void)e;
	memset(p, 0, sizeof(*p));
	snprintf(p->chip, sizeof(p->chip), "%s", strchr(digest, ':') + 1);
	snprintf(p->platform, sizeof(p->platform), "%s", digest);
	snprintf(p->index, sizeof(p->index), "sha256:index");
	snprintf(p->part[IMAGE_KERNEL].digest, DIGEST_LEN, "sha256:kernel-%s", p->chip);
	if (the_world->has_root)
		snprintf(p->part[IMAGE_ROOT].digest, DIGEST_LEN, "sha256:root-%s", p->chip);
	return 0;
}

int image_resolve(struct images *im, const char *project, const char *name, const char *chip,
	struct image_platform *p, struct err *e)
{
	char digest[32];
	(void)project, (void)name;
	snprintf(digest, sizeof(digest), "sha256:%s", chip);
	return image_pinned(im, digest, p, e);
}

struct push {
	struct ev_timer t;
	const struct image_push_ops *ops;
	void *arg;
	struct ev_loop *loop;
};

static void push_fire(struct ev_timer *t)
{
	struct push *p = container_of(t, struct push, t);
	p->ops->done(p->arg, 0, NULL);
	free(p);
}

void image_push(struct images *im, struct link *l, const struct image_platform *platform,
	const char *request_id, const struct image_push_ops *ops, void *arg)
{
	(void)im, (void)l, (void)platform, (void)request_id;
	struct push *p = calloc(1, sizeof(*p));
	p->t.fire = push_fire;
	p->ops = ops;
	p->arg = arg;
	the_world->pushed++;
	ev_timer_arm(the_world->c.loop, &p->t, 0);
}

int seed_make(
	const json_t *instance, const json_t *keys, void **ret, size_t *ret_len, struct err *e)
{
	(void)instance, (void)keys, (void)e;
	*ret = strdup("seed");
	*ret_len = 4;
	return 0;
}

void call_reply_obj(struct call *c, unsigned status, const struct obj *o)
{
	struct world *w = c->priv;
	w->status = status;
	json_decref(w->answer);
	w->answer = json_deep_copy(o->doc);
}

void call_problem(struct call *c, unsigned status, const char *field, const char *fmt, ...)
{
	struct world *w = c->priv;
	va_list ap;
	(void)field;
	w->status = status;
	va_start(ap, fmt);
	vsnprintf(w->problem, sizeof(w->problem), fmt, ap);
	va_end(ap);
}

struct call *call_as(struct world *w, const char *body)
{
	json_decref(w->call.body);
	w->status = 0;
	w->call = (struct call){.control = &w->c,
		.priv = w,
		.role = ROLE_ADMIN,
		.project = "default",
		.actor = "test",
		.request_id = "r",
		.body = body ? json_loads(body, 0, NULL) : NULL};
	return &w->call;
}

/* ---- a node ---- */

struct has *node_has(struct node_script *n, const char *id)
{
	for (unsigned i = 0; i < n->n; i++) {
		if (!strcmp(n->has[i].id, id))
			return &n->has[i];
	}
	return NULL;
}

unsigned copies(struct world *w, const char *id)
{
	unsigned k = 0;
	for (unsigned i = 0; i < NODES; i++)
		k += !w->node[i].dead && node_has(&w->node[i], id);
	return k;
}

static json_t *observed_json(const struct has *h)
{
	return json_pack("{s:s, s:I, s:s, s:s, s:s}", "id", h->id, "generation",
		(json_int_t)h->generation, "state", h->state, "reason", "", "since", "then");
}

static void answer_now(struct link_req *r, unsigned status, json_t *body)
{
	if (status >= 400)
		link_problem(r, status, "the node says %u", status);
	else
		link_reply(r, status, body);
	json_decref(body);
}

static void answer(struct node_script *n, struct link_req *r, unsigned status, json_t *body)
{
	if (!n->hold || n->nheld == 256) {
		answer_now(r, status, body);
		return;
	}
	n->held[n->nheld] = r;
	n->held_status[n->nheld] = status;
	n->held_body[n->nheld++] = body;
}

void node_release(struct node_script *n, unsigned which)
{
	if (!n->nheld)
		return;
	which %= n->nheld;
	struct link_req *r = n->held[which];
	unsigned status = n->held_status[which];
	json_t *body = n->held_body[which];
	n->nheld--;
	n->held[which] = n->held[n->nheld];
	n->held_status[which] = n->held_status[n->nheld];
	n->held_body[which] = n->held_body[n->nheld];
	answer_now(r, status, body);
}

static void put_instance(struct node_script *n, const char *id, struct link_req *r)
{
	int64_t generation = json_integer_value(json_object_get(r->body, "generation"));
	struct has *h = node_has(n, id);
	n->puts++;
	if (n->refuse) {
		answer(n, r, 507, NULL);
		return;
	}
	if (h && generation < h->generation) {
		answer(n, r, 409, NULL);
		return;
	}
	if (!h) {
		n->w->doubled += copies(n->w, id) > 0;
		h = &n->has[n->n++];
		memset(h, 0, sizeof(*h));
		snprintf(h->id, sizeof(h->id), "%s", id);
	}
	json_decref(h->assignment);
	h->assignment = json_deep_copy(r->body);
	h->generation = generation;
	snprintf(h->state, sizeof(h->state), "%s",
		json_string_value(json_object_get(r->body, "state")));
	answer(n, r, 202, observed_json(h));
}

static void drop_instance(struct node_script *n, struct has *h)
{
	json_decref(h->assignment);
	*h = n->has[--n->n];
}

static void on_instance(struct node_script *n, const char *id, struct link_req *r)
{
	struct has *h = node_has(n, id);
	if (!strcmp(r->method, "PUT")) {
		put_instance(n, id, r);
		return;
	}
	n->deletes++;
	if (h)
		drop_instance(n, h);
	answer(n, r, h ? 204 : 404, NULL);
}

static void on_volume(struct node_script *n, const char *id, struct link_req *r)
{
	if (!strcmp(r->method, "PUT"))
		json_object_set(n->volumes, id, json_object_get(r->body, "generation"));
	else
		json_object_del(n->volumes, id);
	answer(n, r, 200, NULL);
}

static json_t *state_json(struct node_script *n)
{
	json_t *list = json_array(), *volumes = json_array(), *generation;
	const char *id;
	json_object_foreach (n->volumes, id, generation)
		json_array_append_new(volumes, json_pack("{s:s, s:O, s:i}", "id", id, "generation",
						       generation, "size_mib", 64));
	for (unsigned i = 0; i < n->n; i++) {
		json_t *one = observed_json(&n->has[i]);
		json_object_set(one, "assignment", n->has[i].assignment);
		json_array_append_new(list, one);
	}
	return json_pack("{s:{s:s, s:s, s:i, s:i, s:[s]}, s:o, s:o, s:[]}", "host", "chip",
		strcmp(n->name, "arm") ? "x86_64" : "arm64", "kvm", "linux", "cores", 4,
		"memory_mib", 8192, "features", "sse2", "instances", list, "volumes", volumes,
		"blobs");
}

static void request(struct link_req *r, void *arg)
{
	struct node_script *n = arg;
	static const struct link_stream_ops watch = {0};
	if (!strcmp(r->path, "/v1/watch")) {
		n->watch = link_accept(r, &watch, n);
	} else if (!strcmp(r->path, "/v1/state")) {
		json_t *state = state_json(n);
		link_reply(r, 200, state);
		json_decref(state);
	} else if (!strncmp(r->path, "/v1/instances/", 14)) {
		on_instance(n, r->path + 14, r);
	} else if (!strncmp(r->path, "/v1/volumes/", 12)) {
		on_volume(n, r->path + 12, r);
	} else {
		link_problem(r, 404, "no such path");
	}
}

static bool stream_ok(const char *method, const char *path, void *arg)
{
	(void)method, (void)arg;
	return !strcmp(path, "/v1/watch");
}

static void node_gone(struct link *l, const char *why, void *arg)
{
	struct node_script *n = arg;
	(void)why;
	n->watch = NULL;
	n->link = NULL;
	link_free(l);
}

void node_connect(struct node_script *n)
{
	int fd[2];
	const struct link_handler h = {stream_ok, request, node_gone, n};
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd);
	link_server_new(n->w->c.loop, link_wire_socket(fd[1]), &h, &n->link);
	nodes_attach(n->w->c.nodes, link_wire_socket(fd[0]), n->name);
}

void node_cut(struct node_script *n)
{
	struct link *l = n->link;
	while (n->nheld) {
		n->nheld--;
		link_problem(n->held[n->nheld], 500, "late");
		json_decref(n->held_body[n->nheld]);
	}
	n->link = NULL;
	n->watch = NULL;
	link_free(l);
}

void node_report(struct node_script *n, struct has *h)
{
	if (!n->watch)
		return;
	json_t *line = json_pack("{s:o}", "instance", observed_json(h));
	char *text = json_dumps(line, JSON_COMPACT);
	link_stream_write(n->watch, text, strlen(text));
	link_stream_write(n->watch, "\n", 1);
	free(text);
	json_decref(line);
}

/* ---- control ---- */

void control_start(struct world *w)
{
	char path[96];
	struct err e = {0};
	snprintf(path, sizeof(path), "%s/db", w->dir);
	if (store_open(path, &w->c.store, &e) || objects_new(w->c.store, &w->c.objects, &e) ||
		reconciler_new(&w->c, &w->c.reconciler) || nodes_new(&w->c, &w->c.nodes))
		abort();
}

void control_stop(struct world *w)
{
	nodes_free(w->c.nodes);
	reconciler_free(w->c.reconciler);
	objects_free(w->c.objects);
	store_close(w->c.store);
	w->c.nodes = NULL;
	/* The nodes hear that the connection is over, files on their way come to an end. */
	for (int i = 0; i < 20; i++)
		ev_run_once(w->c.loop, 0);
}

void world_start(struct world *w)
{
	static const char *const names[NODES] = {"n0", "n1", "n2", "arm"};
	memset(w, 0, sizeof(*w));
	the_world = w;
	snprintf(w->dir, sizeof(w->dir), "/tmp/reconcile-XXXXXX");
	if (!mkdtemp(w->dir) || ev_loop_new(&w->c.loop))
		abort();
	control_start(w);
	struct change c = {.actor = "test"};
	obj_put(w->c.objects, KIND_PROJECT,
		json_pack("{s:s, s:s}", "id", "p-default0000", "name", "default"), &c, NULL);
	for (unsigned i = 0; i < NODES; i++) {
		w->node[i].w = w;
		w->node[i].volumes = json_object();
		snprintf(w->node[i].name, sizeof(w->node[i].name), "%s", names[i]);
	}
}

void world_stop(struct world *w)
{
	char cmd[96];
	for (unsigned i = 0; i < NODES; i++) {
		if (w->node[i].link)
			node_cut(&w->node[i]);
	}
	control_stop(w);
	for (unsigned i = 0; i < NODES; i++) {
		while (w->node[i].n)
			drop_instance(&w->node[i], &w->node[i].has[0]);
		json_decref(w->node[i].volumes);
	}
	json_decref(w->answer);
	json_decref(w->call.body);
	ev_loop_free(w->c.loop);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", w->dir);
	if (system(cmd))
		abort();
}

void settle(struct world *w)
{
	struct reconcile_stats a;
	for (unsigned quiet = 0, n = 0; quiet < 30 && n < 5000; n++) {
		ev_run_once(w->c.loop, 1);
		reconcile_stats(w->c.reconciler, &a);
		quiet = a.queued || (a.in_flight && !w->node[0].hold) || a.waiting ? 0 : quiet + 1;
	}
}

const char *make(struct world *w, const char *name, const char *more)
{
	static char id[32];
	char now[32];
	obj_new_id(KIND_INSTANCE, id);
	obj_now(now);
	json_t *doc = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:n, s:n, s:i, s:{s:s, s:i}, s:{s:s, "
		"s:s, s:s}, s:s}",
		"id", id, "name", name, "project", "default", "image", "tiny", "chip", "any",
		"cpus", 1, "memory_mib", 256, "host_id", "host", "generation", 0, "desired",
		"state", "running", "reboots", 0, "observed", "state", "pending", "reason", "",
		"since", now, "restart", "on-failure");
	json_t *add = more ? json_loads(more, 0, NULL) : NULL;
	if (add)
		json_object_update(doc, add);
	json_decref(add);
	struct change c = {.event = "created", .actor = "test"};
	return obj_put(w->c.objects, KIND_INSTANCE, doc, &c, NULL) ? NULL : id;
}

void desire(struct world *w, const char *id, const char *state)
{
	struct obj *o = obj_get(w->c.objects, KIND_INSTANCE, id);
	if (!o)
		return;
	json_t *doc = json_deep_copy(o->doc);
	json_object_set_new(json_object_get(doc, "desired"), "state", json_string(state));
	struct change c = {.actor = "test"};
	obj_put(w->c.objects, KIND_INSTANCE, doc, &c, NULL);
}

json_t *doc_of(struct world *w, const char *id)
{
	struct obj *o = obj_get(w->c.objects, KIND_INSTANCE, id);
	return o ? o->doc : NULL;
}

const char *observed(struct world *w, const char *id)
{
	json_t *doc = doc_of(w, id);
	return doc ? doc_state(doc, "observed") : "gone";
}

struct obj *host_of(struct world *w, unsigned node)
{
	return obj_find(w->c.objects, KIND_HOST, NULL, w->node[node].name);
}
