/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenAPI 3.1 document, made of the rows that route and of the tables that check: what is
 * documented is what is done. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "cloud/control/meta.h"

/* "{file…}" is "{file}" for others. Returns the path as OpenAPI writes it. */
static void plain_path(const char *path, char *ret, size_t cap)
{
	const char *dots = strstr(path, "…}");

	if (dots)
		snprintf(ret, cap, "%.*s}", (int)(dots - path), path);
	else
		snprintf(ret, cap, "%s", path);
}

static json_t *text_schema(void)
{
	return json_pack("{s:s}", "type", "string");
}

static json_t *parameter(const char *name, const char *in, const char *help)
{
	return json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", name, "in", in, "required",
		!strcmp(in, "path"), "description", help, "schema", text_schema());
}

static json_t *parameters(const struct route *row, const char *path)
{
	json_t *all = json_array();
	char name[32];

	for (const char *p = path; (p = strchr(p, '{')); p++) {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(p + 1, "}"), p + 1);
		json_array_append_new(
			all, parameter(name, "path", !strcmp(name, "id") ? "id or name" : name));
	}
	if (row->role == ROLE_PROJECT)
		json_array_append_new(all,
			parameter("project", "query", "an admin's choice; default: \"default\""));
	if (row->list) {
		json_array_append_new(all, parameter("limit", "query", "items at most"));
		json_array_append_new(
			all, parameter("page", "query", "the previous answer's next"));
	}
	if (!strcmp(row->method, "POST"))
		json_array_append_new(all, parameter("Idempotency-Key", "header",
						   "done once, however often it is sent"));
	if (!strcmp(row->method, "PATCH") || !strcmp(row->method, "DELETE"))
		json_array_append_new(
			all, parameter("If-Match", "header", "the ETag that the object must have"));
	return all;
}

static json_t *json_content(const char *type, json_t *schema)
{
	return json_pack("{s:{s:o}}", type, "schema", schema);
}

static json_t *reply_schema(const struct route *row)
{
	json_t *schema =
		row->reply ? fields_schema(row->reply, true) : json_pack("{s:s}", "type", "object");

	if (!row->list)
		return schema;
	return json_pack("{s:s, s:[s,s], s:{s:{s:s, s:o}, s:{s:[s,s]}}}", "type", "object",
		"required", "items", "next", "properties", "items", "type", "array", "items",
		schema, "next", "type", "string", "null");
}

static json_t *responses(const struct route *row)
{
	return json_pack("{s:{s:s, s:o}, s:{s:s}}", "2XX", "description", "done, or under way",
		"content", json_content("application/json", reply_schema(row)), "default", "$ref",
		"#/components/responses/problem");
}

static json_t *operation(const struct route *row, const char *path)
{
	static const char *const who[] = {"anyone", "project", "admin", "node"};
	json_t *o = json_pack("{s:s?, s:o, s:o, s:s}", "summary", row->summary, "parameters",
		parameters(row, path), "responses", responses(row), "x-role", who[row->role]);

	if (row->body)
		json_object_set_new(o, "requestBody",
			json_pack("{s:o}", "content",
				json_content("application/json", fields_schema(row->body, false))));
	else if (row->stream)
		json_object_set_new(o, "requestBody",
			json_pack("{s:o}", "content",
				json_content("application/octet-stream", text_schema())));
	if (row->role == ROLE_NONE)
		json_object_set_new(o, "security", json_array());
	return o;
}

static json_t *problem_schema(void)
{
	static const char *const words[] = {
		"type", "title", "detail", "field", "allowed", "request_id"};
	json_t *properties = json_pack("{s:{s:s}}", "status", "type", "integer");

	for (unsigned i = 0; i < sizeof(words) / sizeof(*words); i++)
		json_object_set_new(properties, words[i], text_schema());
	return json_pack("{s:s, s:o}", "type", "object", "properties", properties);
}

json_t *openapi(const struct router *r)
{
	json_t *paths = json_object();
	char path[256], method[16];

	for (unsigned i = 0; i < r->n; i++) {
		const struct route *row = r->row[i];
		json_t *item;

		plain_path(row->path, path, sizeof(path));
		item = json_object_get(paths, path);
		if (!item) {
			item = json_object();
			json_object_set_new(paths, path, item);
		}
		snprintf(method, sizeof(method), "%s", row->method);
		for (char *m = method; *m; m++)
			*m = (char)tolower((unsigned char)*m);
		json_object_set_new(item, method, operation(row, path));
	}
	return json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:[]}], s:o, s:{s:{s:{s:s, s:s}}, "
			 "s:{s:{s:s, s:o}}}}",
		"openapi", "3.1.0", "info", "title", "polycloud", "version", POLYVISOR_VERSION,
		"description", "One cloud, many chips.", "security", "bearer", "paths", paths,
		"components", "securitySchemes", "bearer", "type", "http", "scheme", "bearer",
		"responses", "problem", "description", "an error (RFC 9457)", "content",
		json_content("application/problem+json", problem_schema()));
}
