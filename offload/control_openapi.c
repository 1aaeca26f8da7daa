/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies are described by the option tables that read them, calls by their rows. */
#include "offload/control_priv.h"

#include <string.h>
#include "vmm/base/num.h"
#include "vmm/base/opts_json.h"
#include "vmm/http/metrics.h"

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

static json_t *success(const struct control_route *t)
{
	static const struct {
		enum control_reply reply;
		const char *type, *name;
	} bodies[] = {{CONTROL_PING, "application/json", "Ping"},
		{CONTROL_DEVICES, "application/json", "Devices"},
		{CONTROL_ADDED, "application/json", "Device"},
		{CONTROL_INSPECTED, "application/json", "Device"},
		{CONTROL_METRICS, METRICS_TYPE, "Metrics"},
		{CONTROL_OPENAPI, "application/json", "OpenApi"}};
	json_t *o = json_pack("{s:s}", "description", t->reply ? t->summary : "done");

	for (unsigned i = 0; i < ARRAY_SIZE(bodies); i++)
		if (bodies[i].reply == t->reply)
			json_object_set_new(
				o, "content", content(bodies[i].type, ref(bodies[i].name)));
	return o;
}

static json_t *responses(const struct control_route *t)
{
	const char *code = t->reply == CONTROL_NO_REPLY ? "204"
			   : t->reply == CONTROL_ADDED	? "201"
							: "200";
	json_t *o = json_pack("{s:o, s:o}", code, success(t), "400",
		failure("the request is wrong; which field, and what is allowed"));

	if (strchr(t->path, '{'))
		json_object_set_new(o, "404", failure("nothing has this id"));
	if (t->body || t->reply == CONTROL_NO_REPLY)
		json_object_set_new(o, "409", failure("there or in use already, or being removed"));
	if (t->body)
		json_object_set_new(o, "500", failure("the host refused, or lacks something"));
	if (t->reply == CONTROL_ADDED)
		json_object_set_new(o, "501", failure("not possible in this process: passt"));
	return o;
}

static json_t *operation(const struct control_route *t)
{
	json_t *o = json_pack("{s:s, s:s, s:o}", "operationId", t->name, "summary", t->summary,
		"responses", responses(t));

	if (t->max_fds)
		json_object_set_new(o, "description",
			json_string("An open file or tap may come with the request (SCM_RIGHTS), "
				    "instead of its name."));
	if (t->body)
		json_object_set_new(o, "requestBody",
			json_pack("{s:b, s:o}", "required", 1, "content",
				content("application/json",
					ref(t->body == CONTROL_SIZE ? "Size" : "DeviceConfig"))));
	if (strchr(t->path, '{'))
		json_object_set_new(o, "parameters",
			json_pack("[{s:s, s:s, s:b, s:{s:s, s:i, s:i}}]", "name", "id", "in",
				"path", "required", 1, "schema", "type", "string", "minLength", 1,
				"maxLength", 31));
	return o;
}

static json_t *paths(void)
{
	json_t *o = json_object();

	for (const struct control_route *t = control_routes; t->path; t++) {
		json_t *calls = json_object_get(o, t->path);
		char method[16] = "";

		for (unsigned i = 0; t->method[i] && i < sizeof(method) - 1; i++)
			method[i] = (char)(t->method[i] | 0x20);
		if (!calls) {
			calls = json_object();
			json_object_set_new(o, t->path, calls);
		}
		json_object_set_new(calls, method, operation(t));
	}
	return o;
}

/* What is added: the type's table, and its name. */
static json_t *type_schema(const struct served_type *t)
{
	struct served_config defaults;
	json_t *s, *properties;

	served_config_init(&defaults, t->type);
	s = opts_schema(&t->table, &defaults);
	properties = json_object_get(s, "properties");
	json_object_del(properties, "fd"); /* comes beside the body */
	json_object_set_new(properties, "type", json_pack("{s:s}", "const", t->name));
	json_object_set_new(s, "required", json_pack("[s, s]", "type", "socket"));
	return s;
}

static json_t *device_config_schema(void)
{
	json_t *types = json_array();

	for (unsigned i = 0; i < SERVED_TYPES; i++)
		json_array_append_new(types, type_schema(&served_types[i]));
	return json_pack("{s:o}", "oneOf", types);
}

/* Of what comes back. */
static const struct {
	const char *name, *text;
} schemas_of_replies[] = {
	{"Ping", "{\"type\":\"object\",\"required\":[\"program\",\"version\",\"pid\",\"devices\"],"
		 "\"properties\":{\"program\":{\"const\":\"polyvisor-offload\"},\"version\":"
		 "{\"type\":\"string\"},\"pid\":{\"type\":\"integer\"},\"devices\":{\"type\":"
		 "\"integer\"}}}"},
	{"Devices", "{\"type\":\"array\",\"items\":{\"$ref\":\"#/components/schemas/Device\"}}"},
	{"Device", "{\"type\":\"object\",\"required\":[\"id\",\"type\",\"socket\",\"health\","
		   "\"config\",\"front_end\",\"features\",\"cpu_ns\",\"queues\"],\"properties\":{"
		   "\"id\":{\"type\":\"string\"},\"type\":{\"enum\":[\"virtio-blk\","
		   "\"virtio-net\"]},\"socket\":{\"type\":[\"string\",\"null\"]},\"health\":"
		   "{\"enum\":[\"waiting\",\"connected\",\"running\",\"broken\"]},\"config\":"
		   "{\"type\":\"object\"},\"front_end\":{\"type\":\"object\",\"properties\":{"
		   "\"connected\":{\"type\":\"boolean\"},\"connections\":{\"type\":\"integer\"},"
		   "\"connected_since\":{\"type\":[\"string\",\"null\"],\"format\":\"date-time\"},"
		   "\"connected_seconds\":{\"type\":\"number\"},\"memory_regions\":{\"type\":"
		   "\"integer\"},\"memory_bytes\":{\"type\":\"integer\"}}},\"features\":{\"type\":"
		   "\"object\",\"additionalProperties\":{\"type\":\"array\",\"items\":{\"type\":"
		   "\"string\"}}},\"cpu_ns\":{\"type\":\"integer\"},\"size\":{\"type\":"
		   "\"integer\"},\"engine\":{\"type\":[\"string\",\"null\"]},\"queues\":{\"type\":"
		   "\"array\",\"items\":{\"$ref\":\"#/components/schemas/Queue\"}}}}"},
	{"Queue",
		"{\"type\":\"object\",\"required\":[\"index\",\"running\",\"enabled\",\"size\","
		"\"cpu_ns\"],\"properties\":{\"index\":{\"type\":\"integer\"},\"running\":"
		"{\"type\":\"boolean\"},\"enabled\":{\"type\":\"boolean\"},\"latency\":{\"type\":"
		"\"object\",\"properties\":{\"count\":{\"type\":\"integer\"},\"p50_ns\":{\"type\":"
		"\"integer\"},\"p99_ns\":{\"type\":\"integer\"},\"p999_ns\":{\"type\":"
		"\"integer\"},\"buckets\":{\"type\":\"array\",\"description\":\"[largest "
		"nanoseconds, how many], of those that hold any\",\"items\":{\"type\":\"array\","
		"\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":2}}}}},"
		"\"additionalProperties\":{\"type\":\"integer\"}}"},
	{"Metrics", "{\"type\":\"string\"}"},
	{"OpenApi", "{\"type\":\"object\"}"},
	{"Errors", "{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\"}}"},
};

static json_t *schemas(void)
{
	json_t *o = json_pack("{s:o, s:o}", "DeviceConfig", device_config_schema(), "Size",
		opts_schema(&control_size_table, NULL));

	for (unsigned i = 0; i < ARRAY_SIZE(schemas_of_replies); i++)
		json_object_set_new(o, schemas_of_replies[i].name,
			json_loads(schemas_of_replies[i].text, 0, NULL));
	return o;
}

json_t *control_openapi(void)
{
	return json_pack("{s:s, s:{s:s, s:s, s:s, s:{s:s, s:s}}, s:o, s:{s:o}}", "openapi", "3.1.0",
		"info", "title", "polyvisor-offload", "version", POLYVISOR_VERSION, "description",
		"Virtio devices of one process.", "license", "name", "Apache 2.0", "identifier",
		"Apache-2.0", "paths", paths(), "components", "schemas", schemas());
}
