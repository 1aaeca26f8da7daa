/* SPDX-License-Identifier: Apache-2.0 */
/* The node protocol: which path is what. Ids and digests are checked by whom they concern, before
 * they name a file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/node/node_priv.h"

#define INSTANCES "/v1/instances/"
#define VOLUMES	  "/v1/volumes/"
#define BLOBS	  "/v1/blobs/"

unsigned request_number(const struct link_req *r, const char *key, unsigned otherwise)
{
	size_t len = strlen(key);

	for (const char *p = r->query; p && *p;) {
		if (!strncmp(p, key, len) && p[len] == '=' && p[len + 1] >= '0' &&
			p[len + 1] <= '9')
			return (unsigned)strtoul(p + len + 1, NULL, 10);
		p = strchr(p, '&');
		p = p ? p + 1 : NULL;
	}
	return otherwise;
}

static const char *behind(const char *path, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(path, prefix, n) ? NULL : path + n;
}

static bool ends_with(const char *path, const char *end)
{
	size_t n = strlen(path), m = strlen(end);

	return n >= m && !strcmp(path + n - m, end);
}

static bool stream_ok(const char *method, const char *path, void *arg)
{
	if (!strcmp(method, "PUT"))
		return behind(path, BLOBS);
	if (!strcmp(method, "GET"))
		return behind(path, INSTANCES) && ends_with(path, "/log");
	return !strcmp(method, "POST") &&
	       (!strcmp(path, "/v1/watch") ||
		       (behind(path, INSTANCES) &&
			       (ends_with(path, "/console") || ends_with(path, "/tunnel"))));
}

static void reply_new(struct link_req *r, json_t *body)
{
	if (body)
		link_reply(r, 200, body);
	else
		link_problem(r, 500, "out of memory");
	json_decref(body);
}

static json_t *instances_list(struct node *n)
{
	json_t *list = json_array();

	list_for_each (it, &n->instances) {
		struct instance *in = container_of(it, struct instance, link);
		json_t *o = node_instance_observed(in);

		json_object_set(o, "assignment", in->spec);
		json_array_append_new(list, o);
	}
	return list;
}

static void get_state(struct node *n, struct link_req *r)
{
	reply_new(r,
		json_pack("{s:O, s:o, s:o, s:o}", "host", n->facts, "instances", instances_list(n),
			"volumes", volumes_list(n), "blobs", blobs_list(n->blobs)));
}

static const struct {
	const char *method, *what;
	void (*handle)(struct instance *in, struct link_req *r);
} parts[] = {
	{"POST", "console", console_open},
	{"POST", "tunnel", tunnel_open},
	{"GET", "log", console_log},
	{"GET", "info", info_get},
	{"GET", "stats", stats_get},
	{"GET", "diagnose", diagnose_get},
};

static void on_part(struct node *n, struct link_req *r, const char *path, const char *slash)
{
	struct instance *in;
	char id[64];

	snprintf(id, sizeof(id), "%.*s", (int)(slash - path), path);
	in = instance_find(n, id);
	if (!in) {
		link_problem(r, 404, "no such instance on this host");
		return;
	}
	for (unsigned i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (!strcmp(slash + 1, parts[i].what) && !strcmp(r->method, parts[i].method)) {
			parts[i].handle(in, r);
			return;
		}
	link_problem(r, 404, "no such path: %s %s", r->method, r->path);
}

static void get_instance(struct node *n, struct link_req *r, const char *id)
{
	struct instance *in = instance_find(n, id);

	if (in)
		reply_new(r, node_instance_observed(in));
	else
		link_problem(r, 404, "no such instance on this host");
}

static void put_blob(struct node *n, struct link_req *r, const char *digest)
{
	blob_put(n->blobs, r, digest);
}

static void delete_blob(struct node *n, struct link_req *r, const char *digest)
{
	blob_delete(n->blobs, r, digest);
}

struct things {
	void (*put)(struct node *n, struct link_req *r, const char *id);
	void (*delete)(struct node *n, struct link_req *r, const char *id);
	void (*get)(struct node *n, struct link_req *r, const char *id);
};

static void on_thing(struct node *n, struct link_req *r, const struct things *t, const char *id)
{
	if (!strcmp(r->method, "PUT"))
		t->put(n, r, id);
	else if (!strcmp(r->method, "DELETE"))
		t->delete (n, r, id);
	else if (!strcmp(r->method, "GET") && t->get)
		t->get(n, r, id);
	else
		link_problem(r, 405, "%s is not allowed here", r->method);
}

static void request(struct link_req *r, void *arg)
{
	static const struct things instances = {instance_put, node_instance_delete, get_instance};
	static const struct things volumes = {volume_put, node_volume_delete, NULL};
	static const struct things blobs = {put_blob, delete_blob, NULL};
	struct node *n = arg;
	const char *p, *slash;

	if ((p = behind(r->path, INSTANCES))) {
		slash = strchr(p, '/');
		if (slash)
			on_part(n, r, p, slash);
		else
			on_thing(n, r, &instances, p);
	} else if ((p = behind(r->path, VOLUMES))) {
		on_thing(n, r, &volumes, p);
	} else if ((p = behind(r->path, BLOBS))) {
		on_thing(n, r, &blobs, p);
	} else if (!strcmp(r->path, "/v1/host") && !strcmp(r->method, "GET")) {
		link_reply(r, 200, n->facts);
	} else if (!strcmp(r->path, "/v1/state") && !strcmp(r->method, "GET")) {
		get_state(n, r);
	} else if (!strcmp(r->path, "/v1/watch") && !strcmp(r->method, "POST")) {
		watch_open(n, r);
	} else {
		link_problem(r, 404, "no such path: %s %s", r->method, r->path);
	}
}

const struct link_handler request_handler = {.stream_ok = stream_ok, .request = request};
