/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/openapi.h"

#include <stdio.h>
#include <string.h>
#include "vmm/api/metrics.h"
#include "vmm/api/routes.h"
#include "vmm/api/v1.h"

/* Schemas of what comes back; bodies have theirs from the option tables. */
static const struct {
	enum route_reply reply;
	const char *type, *name, *text;
} replies[] = {
	{REPLY_PING, "application/json", "Ping",
		"{\"type\":\"object\",\"required\":[\"build_version\",\"version\",\"pid\","
		"\"features\"],\"properties\":{\"build_version\":{\"type\":\"string\"},"
		"\"version\":{\"type\":\"string\"},\"pid\":{\"type\":\"integer\"},\"features\":"
		"{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}}"},
	{REPLY_INFO, "application/json", "Info",
		"{\"type\":\"object\",\"required\":[\"config\",\"state\"],\"properties\":{"
		"\"config\":{\"$ref\":\"#/components/schemas/VmConfig\"},\"state\":{\"type\":"
		"\"string\",\"enum\":[\"Created\",\"Running\",\"Paused\"]},"
		"\"memory_actual_size\":{\"type\":\"integer\"},\"device_tree\":{\"type\":"
		"\"object\",\"additionalProperties\":{\"type\":\"object\",\"properties\":{"
		"\"id\":{\"type\":\"string\"},\"resources\":{\"type\":\"array\"},\"children\":"
		"{\"type\":\"array\"},\"pci_bdf\":{\"type\":[\"string\",\"null\"]}}}},"
		"\"polyvisor\":{\"type\":\"object\",\"properties\":{\"asked\":{\"type\":\"array\","
		"\"items\":{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"string\"},"
		"\"what\":{\"type\":\"string\"},\"asked\":{\"type\":\"string\"},\"achieved\":"
		"{\"type\":\"string\"}}}},\"offload\":{\"type\":\"array\",\"items\":{\"type\":"
		"\"object\",\"properties\":{\"id\":{\"type\":\"string\"},\"kind\":{\"type\":"
		"\"string\",\"enum\":[\"auto\",\"vhost-user\",\"vhost-net\",\"vdpa\"]},"
		"\"connected\":{\"type\":\"boolean\"},\"seconds\":{\"type\":\"integer\"},"
		"\"reconnects\":{\"type\":\"integer\"},\"pid\":{\"type\":\"integer\"},"
		"\"restarts\":{\"type\":\"integer\"}}}}}}}}"},
	{REPLY_COUNTERS, "application/json", "Counters",
		"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\","
		"\"additionalProperties\":{\"type\":\"integer\"}}}"},
	{REPLY_DEVICES, "application/json", "Devices",
		"{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"id\":"
		"{\"type\":\"string\"},\"type\":{\"type\":\"string\"},\"pci_bdf\":{\"type\":"
		"[\"string\",\"null\"]}}}}"},
	{REPLY_DEVICE, "application/json", "Device",
		"{\"type\":\"object\",\"required\":[\"id\",\"pause_us\",\"state\"],\"properties\":"
		"{\"id\":{\"type\":\"string\"},\"pause_us\":{\"type\":\"integer\",\"description\":"
		"\"how long the guest stood still, in microseconds\"},\"state\":{\"type\":"
		"\"object\"}}}"},
	{REPLY_EVENTS, "text/event-stream", "Events", "{\"type\":\"string\"}"},
	{REPLY_METRICS, METRICS_TYPE, "Metrics", "{\"type\":\"string\"}"},
	{REPLY_OPENAPI, "application/json", "OpenApi", "{\"type\":\"object\"}"},
};
#define NREPLIES (sizeof(replies) / sizeof(replies[0]))

static json_t *ref(const char *name)
{
	return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", name));
}

static json_t *content(const char *type, json_t *schema)
{
	return json_pack("{s:{s:o}}", type, "schema", schema);
}

static json_t *failure(const char *why)
{
	return json_pack("{s:s, s:o}", "description", why, "content",
		content("application/json", ref("Errors")));
}

static json_t *success(const struct route *r)
{
	json_t *o = json_pack("{s:s}", "description", r->reply == REPLY_NONE ? "done" : r->summary);

	for (unsigned i = 0; i < NREPLIES; i++)
		if (r->reply == replies[i].reply)
			json_object_set_new(
				o, "content", content(replies[i].type, ref(replies[i].name)));
	return o;
}

static json_t *responses(const struct route *r)
{
	json_t *o = json_object();
	char code[8];

	if (r->kind == ROUTE_UNOFFERED) {
		json_object_set_new(o, "501", failure("not offered yet"));
		return o;
	}
	snprintf(code, sizeof(code), "%u", route_success(r));
	json_object_set_new(o, code, success(r));
	json_object_set_new(
		o, "400", failure("the request is wrong; which field, and what is allowed"));
	if (r->kind == ROUTE_COMMAND) {
		json_object_set_new(o, "404", failure("no VM is created, or nothing has this id"));
		json_object_set_new(o, "409",
			failure("not possible in the VM's present state, or there already"));
		json_object_set_new(
			o, "501", failure("this build, chip or host does not offer that"));
		json_object_set_new(o, "500", failure("the host refused, or lacks something"));
	}
	if (r->kind == ROUTE_EVENTS)
		json_object_set_new(o, "503", failure("too many clients listen already"));
	return o;
}

static const char *body_name(const struct route *r)
{
	switch (r->body) {
	case BODY_CONFIG:
		return "VmConfig";
	case BODY_PART:
		return r->part;
	case BODY_TABLE:
		return r->name;
	case BODY_NONE:
		break;
	}
	return NULL;
}

static json_t *operation(const struct route *r)
{
	char states[128], text[256] = "";
	const char *body = body_name(r);
	json_t *o;

	if (*route_states(r, states, sizeof(states)))
		snprintf(text, sizeof(text), "Legal while the VM is %s.", states);
	if (r->max_fds)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
			" One file descriptor may come with the request (SCM_RIGHTS).");
	o = json_pack("{s:s, s:s, s:s, s:o}", "operationId", r->name, "summary", r->summary,
		"description", text, "responses", responses(r));
	if (body)
		json_object_set_new(o, "requestBody",
			json_pack("{s:b, s:o}", "required", 1, "content",
				content("application/json", ref(body))));
	if (strchr(r->path, '{'))
		json_object_set_new(o, "parameters",
			json_pack("[{s:s, s:s, s:b, s:{s:s, s:i, s:i}}]", "name", "id", "in",
				"path", "required", 1, "schema", "type", "string", "minLength", 1,
				"maxLength", 31));
	return o;
}

static json_t *paths(void)
{
	json_t *o = json_object();

	for (const struct route *r = routes; r->path; r++)
		json_object_set_new(o, r->path,
			json_pack("{s:o}", strcmp(r->method, "GET") ? "put" : "get", operation(r)));
	return o;
}

static json_t *coredump_schema(void)
{
	json_t *s = opts_schema(&coredump_table, NULL);
	json_t *url = json_object_get(json_object_get(s, "properties"), "destination_url");

	json_object_set_new(url, "pattern", json_string("^(file:///.*|fd:[0-9]+)$"));
	json_object_set_new(s, "additionalProperties", json_true());
	return s;
}

static json_t *schemas(void)
{
	json_t *o = json_object();

	json_object_set_new(o, "VmConfig", v1_config_schema());
	for (const struct vm_part *p = vm_parts; p->key; p++)
		json_object_set_new(o, p->key, v1_part_schema(p));
	json_object_set_new(o, "vm.coredump", coredump_schema());
	for (unsigned i = 0; i < NREPLIES; i++)
		json_object_set_new(o, replies[i].name, json_loads(replies[i].text, 0, NULL));
	json_object_set_new(o, "Errors",
		json_pack("{s:s, s:i, s:{s:s}}", "type", "array", "minItems", 1, "items", "type",
			"string"));
	return o;
}

json_t *openapi_json(void)
{
	return json_pack("{s:s, s:{s:s, s:s, s:s, s:{s:s, s:s}}, s:o, s:{s:o}}", "openapi", "3.1.0",
		"info", "title", "polyvisor", "version", POLYVISOR_VERSION, "description",
		"One instance. Paths under /api/v1 are cloud-hypervisor's v1 where it has them.",
		"license", "name", "Apache 2.0", "identifier", "Apache-2.0", "paths", paths(),
		"components", "schemas", schemas());
}
