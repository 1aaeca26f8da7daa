/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes, networks, their ports, keys, flavors, pools and projects: what making one fills in, and
 * what stands against deleting one. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cloud/control/resources.h"

#define CIDR_DEFAULT	"10.64.0.0/16"
#define GATEWAY_DEFAULT "10.64.0.1"

/* The first object of a kind whose text `key` is `value`; NULL: none. */
static struct obj *user_of(struct objects *os, enum kind k, const char *key, const char *value)
{
	for (struct obj *o = obj_next(os, k, NULL); o; o = obj_next(os, k, o))
		if (!strcmp(doc_text(o->doc, key), value))
			return o;
	return NULL;
}

/* ---- volumes ---- */

void volume_post(struct call *c)
{
	int64_t gib = doc_int(c->body, "size_gib"), mib = doc_int(c->body, "size_mib");
	const char *host = body_text(c, "host");
	struct obj *h = host ? obj_find(c->control->objects, KIND_HOST, NULL, host) : NULL;
	json_t *doc;

	if (!gib == !mib) {
		call_problem(c, 400, "size_gib", "size_gib: give it or size_mib");
		return;
	}
	if (host && !h) {
		call_problem(c, 404, "host", "host %s: there is none", host);
		return;
	}
	doc = res_draft(c, KIND_VOLUME, body_text(c, "name"));
	json_object_set_new(doc, "size_mib", json_integer(gib ? gib * 1024 : mib));
	json_object_set_new(doc, "generation", json_integer(0));
	json_object_set_new(doc, "state", json_string("available"));
	json_object_set_new(doc, "attached_to", json_null());
	json_object_set_new(doc, "host_id", json_null());
	json_object_set_new(doc, "host", json_null());
	json_object_set_new(doc, "pin", h ? json_string(h->name) : json_null());
	res_make(c, KIND_VOLUME, doc);
}

/* Its bytes are on a host: the reconciler deletes them, then the row. */
void volume_delete(struct call *c)
{
	struct obj *o = res_named(c), *user;
	json_t *doc;

	if (!o || !call_if_match(c, o))
		return;
	user = obj_get(c->control->objects, KIND_INSTANCE, doc_text(o->doc, "attached_to"));
	if (user) {
		call_problem(c, 409, NULL, "volume %s: instance %s has it", o->name, user->name);
		return;
	}
	doc = json_deep_copy(o->doc);
	json_object_set_new(doc, "state", json_string("deleting"));
	o = res_put(c, KIND_VOLUME, doc, "deleting", NULL);
	if (o)
		res_answer(c, 202, o);
}

/* ---- networks ---- */

static bool dns_is_right(struct call *c, const char *dns)
{
	struct in_addr a;

	if (!dns || inet_pton(AF_INET, dns, &a) == 1)
		return true;
	call_problem(c, 400, "dns", "dns: allowed: an IPv4 address, or null for the gateway's");
	return false;
}

void network_post(struct call *c)
{
	const char *cidr = body_text(c, "cidr"), *dns = body_text(c, "dns");
	char gateway[16];
	uint32_t base;
	unsigned prefix;
	json_t *doc;

	if (!cidr)
		cidr = CIDR_DEFAULT;
	if (cidr_parse(cidr, &base, &prefix)) {
		call_problem(c, 400, "cidr",
			"cidr: %s is not allowed; allowed: ADDRESS/16 to ADDRESS/28, the "
			"address being the network's",
			cidr);
		return;
	}
	if (!dns_is_right(c, dns))
		return;
	ip_text(base + 1, gateway);
	doc = res_draft(c, KIND_NETWORK, body_text(c, "name"));
	json_object_set_new(doc, "cidr", json_string(cidr));
	json_object_set_new(doc, "prefix", json_integer(prefix));
	json_object_set_new(doc, "gateway", json_string(gateway));
	json_object_set_new(doc, "dns", json_string(dns ? dns : gateway));
	res_make(c, KIND_NETWORK, doc);
}

void network_patch(struct call *c)
{
	struct obj *o = res_named(c);
	json_t *doc;

	if (!o || !call_if_match(c, o) || !dns_is_right(c, body_text(c, "dns")))
		return;
	doc = res_merge(o->doc, c->body);
	if (json_is_null(json_object_get(doc, "dns")))
		json_object_set(doc, "dns", json_object_get(doc, "gateway"));
	o = res_put(c, KIND_NETWORK, doc, "changed", NULL);
	if (o)
		res_answer(c, 200, o);
}

void network_delete(struct call *c)
{
	struct obj *o = res_named(c), *port;

	if (!o || !call_if_match(c, o))
		return;
	port = user_of(c->control->objects, KIND_PORT, "network_id", o->id);
	if (port)
		call_problem(c, 409, NULL, "network %s: port %s is in it", o->name, port->name);
	else
		res_drop(c, o);
}

/* ---- network ports ---- */

void port_post(struct call *c)
{
	struct obj *n = call_obj(c, KIND_NETWORK, body_text(c, "network"));
	const char *ip = body_text(c, "ip");
	json_t *doc;
	int r;

	if (!n)
		return;
	doc = res_draft(c, KIND_PORT, body_text(c, "name"));
	json_object_set_new(doc, "network", json_string(n->name));
	json_object_set_new(doc, "network_id", json_string(n->id));
	json_object_set_new(doc, "instance", json_null());
	r = port_allocate(c->control->objects, n, ip, doc);
	if (!r) {
		res_make(c, KIND_PORT, doc);
		return;
	}
	json_decref(doc);
	if (r == -ERANGE)
		call_problem(
			c, 400, "ip", "ip: allowed: an address in %s", doc_text(n->doc, "cidr"));
	else if (r == -EEXIST)
		call_problem(c, 409, "ip", "ip: %s is taken", ip);
	else if (r == -EADDRNOTAVAIL)
		call_problem(c, 409, "network", "network %s: no address is free", n->name);
	else
		res_failed(c, r);
}

void port_delete(struct call *c)
{
	struct obj *o = res_named(c), *user;

	if (!o || !call_if_match(c, o))
		return;
	user = obj_get(c->control->objects, KIND_INSTANCE, doc_text(o->doc, "instance"));
	if (user)
		call_problem(c, 409, NULL, "port %s: instance %s has it", o->name, user->name);
	else
		res_drop(c, o);
}

/* ---- keys ---- */

void key_post(struct call *c)
{
	const char *key = body_text(c, "public_key");
	char fingerprint[64];
	struct err e = {0};
	json_t *doc;

	if (ssh_key_check(key, fingerprint, &e)) {
		call_problem(c, 400, "public_key", "%s", e.text);
		return;
	}
	doc = res_draft(c, KIND_KEY, body_text(c, "name"));
	json_object_set_new(doc, "public_key", json_stringn(key, strcspn(key, "\r\n")));
	json_object_set_new(doc, "fingerprint", json_string(fingerprint));
	res_make(c, KIND_KEY, doc);
}

/* ---- flavors and pools ---- */

void flavor_post(struct call *c)
{
	json_t *doc = res_draft(c, KIND_FLAVOR, body_text(c, "name"));
	json_t *root = json_object_get(c->body, "root_gib");

	json_object_set(doc, "cpus", json_object_get(c->body, "cpus"));
	json_object_set(doc, "memory_mib", json_object_get(c->body, "memory_mib"));
	json_object_set_new(doc, "root_gib", root ? json_incref(root) : json_null());
	res_make(c, KIND_FLAVOR, doc);
}

void pool_post(struct call *c)
{
	json_t *hosts = json_object_get(c->body, "hosts");
	json_t *labels = json_object_get(c->body, "labels"), *doc;

	if (!hosts == !labels) {
		call_problem(c, 400, "hosts", "hosts: give names of hosts, or labels");
		return;
	}
	doc = res_draft(c, KIND_POOL, body_text(c, "name"));
	if (hosts)
		json_object_set_new(doc, "hosts", json_deep_copy(hosts));
	res_make(c, KIND_POOL, doc);
}

/* ---- projects ---- */

/* A project comes with network "default", so that its first instance needs no other. */
int project_make(struct objects *os, const char *name, json_t *project, const struct change *c,
	struct obj **ret_obj)
{
	char id[32];
	json_t *network;
	int r = obj_put(os, KIND_PROJECT, project, c, ret_obj);

	if (r)
		return r;
	obj_new_id(KIND_NETWORK, id);
	network = json_pack("{s:s, s:s, s:s, s:{}, s:s, s:i, s:s, s:s}", "id", id, "name",
		"default", "project", name, "labels", "cidr", CIDR_DEFAULT, "prefix", 16, "gateway",
		GATEWAY_DEFAULT, "dns", GATEWAY_DEFAULT);
	return obj_put(os, KIND_NETWORK, network, c, NULL);
}

void project_post(struct call *c)
{
	struct change change = call_change(c, "created", NULL);
	const char *name = body_text(c, "name");
	struct objects *os = c->control->objects;
	struct obj *o = NULL;
	int r = objects_begin(os);

	if (!r)
		r = project_make(os, name, res_draft(c, KIND_PROJECT, name), &change, &o);
	if (!r)
		r = objects_commit(os);
	else
		objects_rollback(os);
	if (r)
		res_failed(c, r);
	else
		res_answer(c, 201, o);
}

static struct obj *default_network(struct objects *os, const struct obj *project)
{
	struct obj *n = obj_find(os, KIND_NETWORK, project->name, "default");

	return n && !user_of(os, KIND_PORT, "network_id", n->id) ? n : NULL;
}

/* What stands against deleting a project: all that is in it, but for what came with it and what is
 * only a record. */
static struct obj *in_project(struct objects *os, const struct obj *project)
{
	const struct obj *came = default_network(os, project);

	for (unsigned k = 0; k < KIND_COUNT; k++) {
		if ((!kind_in_project(k) && k != KIND_TOKEN) || k == KIND_OPERATION)
			continue;
		for (struct obj *o = obj_next(os, k, NULL); o; o = obj_next(os, k, o))
			if (o != came && !strcmp(doc_text(o->doc, "project"), project->name))
				return o;
	}
	return NULL;
}

void project_delete(struct call *c)
{
	struct objects *os = c->control->objects;
	struct obj *o = res_named(c), *user, *came;
	struct change gone = call_change(c, "deleted", NULL);

	if (!o || !call_if_match(c, o))
		return;
	if (!strcmp(o->name, "default")) {
		call_problem(c, 409, NULL, "project default: is always there");
		return;
	}
	user = in_project(os, o);
	if (user) {
		call_problem(c, 409, NULL, "project %s: %s %s is in it", o->name,
			kind_name(user->kind), user->name);
		return;
	}
	came = default_network(os, o);
	if (came)
		obj_delete(os, came, &gone);
	res_drop(c, o);
}
