/* SPDX-License-Identifier: Apache-2.0 */
/* Published ports: /v1/instances/{id}/ports. */
#include <arpa/inet.h>
#include <string.h>
#include "cloud/control/resources.h"
#include "vmm/base/num.h"

#define FORWARDS_MAX 32

static void put_ports(struct call *c, struct obj *o, json_t *doc, unsigned status)
{
	o = res_put(c, KIND_INSTANCE, doc, "ports-changed", NULL);
	if (o)
		res_answer(c, status, o);
}

static bool has_port(const struct obj *o, int64_t host_port)
{
	json_t *f;
	size_t i;

	json_array_foreach (json_object_get(o->doc, "ports"), i, f) {
		if (doc_int(f, "host_port") == host_port)
			return true;
	}
	return false;
}

static bool may_publish(struct call *c, const struct obj *o, int64_t host_port, const char *address)
{
	struct in_addr a;

	if (json_is_null(json_object_get(o->doc, "network_id")))
		call_problem(c, 409, NULL, "instance %s: has no network", o->name);
	else if (inet_pton(AF_INET, address, &a) != 1)
		call_problem(c, 400, "address", "address: allowed: an IPv4 address");
	else if (has_port(o, host_port) || forward_taken(c->control->objects, o, host_port))
		call_problem(c, 409, "host_port", "host_port: %lld is published already",
			(long long)host_port);
	else if (json_array_size(json_object_get(o->doc, "ports")) >= FORWARDS_MAX)
		call_problem(c, 409, NULL, "instance %s: has %d ports, which is the most", o->name,
			FORWARDS_MAX);
	else
		return true;
	return false;
}

void forward_post(struct call *c)
{
	struct obj *o = call_obj(c, KIND_INSTANCE, c->param[0]);
	const char *address = body_text(c, "address");
	int64_t port = doc_int(c->body, "host_port");
	json_t *doc;

	if (!address)
		address = "0.0.0.0";
	if (!o || !may_publish(c, o, port, address))
		return;
	doc = json_deep_copy(o->doc);
	json_array_append_new(json_object_get(doc, "ports"),
		json_pack("{s:s, s:I, s:I}", "address", address, "host_port", (json_int_t)port,
			"guest_port", (json_int_t)doc_int(c->body, "guest_port")));
	put_ports(c, o, doc, 201);
}

void forward_delete(struct call *c)
{
	struct obj *o = call_obj(c, KIND_INSTANCE, c->param[0]);
	json_t *doc, *ports, *f;
	uint64_t port;
	size_t i;

	if (!o)
		return;
	if (num_parse(c->param[1], &port) || port > 65535 || !has_port(o, (int64_t)port)) {
		call_problem(c, 404, NULL, "instance %s: does not publish port %s", o->name,
			c->param[1]);
		return;
	}
	doc = json_deep_copy(o->doc);
	ports = json_object_get(doc, "ports");
	json_array_foreach (ports, i, f) {
		if (doc_int(f, "host_port") == (int64_t)port)
			break;
	}
	json_array_remove(ports, i);
	put_ports(c, o, doc, 200);
}
