/* SPDX-License-Identifier: Apache-2.0 */
/* The description is held to its word: for each field of each body, what it calls wrong is refused
 * with the field's name, and what it calls right is not refused for its type or range. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/api/routes.h"
#include "vmm/api/test_fake.h"
#include "vmm/base/num.h"

static json_t *doc;

static void init(void)
{
	fake_init();
	cr_assert_eq(ask("GET", "/openapi.json", NULL), 200);
	doc = json_incref(answer());
}

static void fini(void)
{
	json_decref(doc);
	fake_fini();
}

TestSuite(openapi, .init = init, .fini = fini);

static const json_t *deref(const json_t *schema)
{
	const char *ref = json_string_value(json_object_get(schema, "$ref"));
	const json_t *all = json_object_get(json_object_get(doc, "components"), "schemas");

	if (!ref)
		return schema;
	cr_assert_eq(strncmp(ref, "#/components/schemas/", 21), 0, "%s", ref);
	schema = json_object_get(all, ref + 21);
	cr_assert(schema, "%s leads nowhere", ref);
	return schema;
}

static const json_t *body_schema(const json_t *operation)
{
	const json_t *content =
		json_object_get(json_object_get(operation, "requestBody"), "content");

	return deref(json_object_get(json_object_get(content, "application/json"), "schema"));
}

/* ---- one field in a body that is otherwise right ---- */

struct field {
	const char *path; /* of the call */
	json_t *body;	  /* is right, and has a place for the field */
	json_t *parent;	  /* in it */
	const char *key;
	char name[128]; /* as messages name it */
};

static unsigned tried;

static unsigned send(const struct field *f, json_t *value)
{
	json_t *before = json_incref(json_object_get(f->parent, f->key));
	char *text;

	json_object_set_new(f->parent, f->key, value);
	text = json_dumps(f->body, 0);
	if (before)
		json_object_set_new(f->parent, f->key, before);
	else
		json_object_del(f->parent, f->key);
	unsigned status = ask("PUT", f->path, text);
	free(text);
	tried++;
	return status;
}

static void wrong(const struct field *f, json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY);
	unsigned status = send(f, value);

	cr_expect_eq(status, 400, "%s %s: %.64s gives %u", f->path, f->name, text, status);
	if (status == 400)
		cr_expect(strstr(said(), f->key), "%s %s: %s", f->path, f->name, said());
	free(text);
}

static void right(const struct field *f, json_t *value)
{
	static const char *const words[] = {"wrong JSON type", "not in range", "not allowed",
		"enough", "unknown", "not offered", "is not a"};
	char *text = json_dumps(value, JSON_ENCODE_ANY);
	unsigned status = send(f, value);

	/* Other fields may contradict it (path and fd); the field itself may not be to blame. */
	for (unsigned i = 0; status == 400 && i < ARRAY_SIZE(words); i++)
		cr_expect(!strstr(said(), words[i]) || strstr(said(), "power of two"),
			"%s %s: %.64s: %s", f->path, f->name, text, said());
	free(text);
}

static void try_integer(const struct field *f, const json_t *s)
{
	const json_t *lo = json_object_get(s, "minimum"), *hi = json_object_get(s, "maximum");
	json_int_t a = json_integer_value(lo), b = hi ? json_integer_value(hi) : INT64_MAX;

	cr_expect(lo, "%s %s has no minimum", f->path, f->name);
	right(f, json_integer(a));
	right(f, json_integer(b));
	right(f, json_integer(a + (b / 2 - a / 2)));
	wrong(f, json_integer(a - 1));
	if (b < INT64_MAX)
		wrong(f, json_integer(b + 1));
	wrong(f, json_string("x"));
	wrong(f, json_string(""));
	wrong(f, json_true());
	wrong(f, json_real(1.5));
}

static json_t *text_of(size_t n)
{
	char *text = malloc(n + 1);

	memset(text, 'x', n);
	text[n] = '\0';
	json_t *o = json_string(text);
	free(text);
	return o;
}

/* By examples: of an address, or of where a core goes. */
static void try_pattern(const struct field *f, const char *pattern)
{
	if (strstr(pattern, "file:")) {
		right(f, json_string("file:///x"));
		right(f, json_string("fd:3"));
		wrong(f, json_string("http://x"));
		return;
	}
	right(f, json_string("02:00:00:00:00:01"));
	wrong(f, json_string("02:00:00:00:00:0"));
	wrong(f, json_string("02-00-00-00-00-01"));
}

static void try_string(const struct field *f, const json_t *s)
{
	const json_t *max = json_object_get(s, "maxLength"), *values = json_object_get(s, "enum");
	size_t i, min = (size_t)json_integer_value(json_object_get(s, "minLength"));
	json_t *v;

	wrong(f, json_integer(1));
	wrong(f, json_true());
	if (values) {
		json_array_foreach ((json_t *)values, i, v)
			right(f, json_incref(v));
		wrong(f, json_string("none of these"));
	} else if (json_object_get(s, "pattern")) {
		try_pattern(f, json_string_value(json_object_get(s, "pattern")));
	} else {
		cr_expect(max, "%s has no limits", f->name);
		right(f, text_of((size_t)json_integer_value(max)));
		right(f, text_of(min));
	}
	if (max)
		wrong(f, text_of((size_t)json_integer_value(max) + 1));
	if (min)
		wrong(f, text_of(min - 1));
}

static void try_field(const struct field *f, const json_t *s)
{
	const char *type = json_string_value(json_object_get(s, "type"));

	right(f, json_null());
	if (!type) { /* not offered: one value is right */
		json_t *only = json_array_get(json_object_get(s, "enum"), 0);

		cr_assert(only, "%s says nothing", f->name);
		right(f, json_incref(only));
		wrong(f, json_string("something else"));
		wrong(f, json_integer(4711));
		return;
	}
	wrong(f, json_pack("{s:i}", "a", 1));
	wrong(f, json_pack("[i]", 1));
	if (!strcmp(type, "boolean")) {
		right(f, json_true());
		right(f, json_false());
		wrong(f, json_string("on"));
		wrong(f, json_integer(1));
	} else if (!strcmp(type, "integer")) {
		try_integer(f, s);
	} else if (!strcmp(type, "string")) {
		try_string(f, s);
	} else {
		cr_expect_str_eq(type, "array");
		right(f, json_array());
		wrong(f, json_string("x"));
		wrong(f, json_object());
	}
}

/* Required fields filled, by the smallest that is right. */
static json_t *smallest(const json_t *schema)
{
	json_t *o = json_object(), *key;
	size_t i;

	json_array_foreach (json_object_get(schema, "required"), i, key) {
		const char *k = json_string_value(key);
		const json_t *s = deref(json_object_get(json_object_get(schema, "properties"), k));
		const char *type = json_string_value(json_object_get(s, "type"));

		if (json_object_get(s, "enum"))
			json_object_set(o, k, json_array_get(json_object_get(s, "enum"), 0));
		else if (!strcmp(type, "object"))
			json_object_set_new(o, k, smallest(s));
		else if (!strcmp(type, "integer"))
			json_object_set(o, k, json_object_get(s, "minimum"));
		else
			json_object_set_new(o, k, json_string("file:///x"));
	}
	return o;
}

static void try_object(const char *path, json_t *body, json_t *parent, const json_t *schema);

static void try_property(
	const char *path, json_t *body, json_t *parent, const char *key, const json_t *schema)
{
	struct field f = {.path = path, .body = body, .parent = parent, .key = key};
	const json_t *s = deref(schema), *items = json_object_get(s, "items");
	const char *type = json_string_value(json_object_get(s, "type"));
	json_t *child;

	snprintf(f.name, sizeof(f.name), "%s", key);
	if (type && !strcmp(type, "object")) {
		wrong(&f, json_integer(1));
		wrong(&f, json_array());
		wrong(&f, json_string("x"));
		child = smallest(s);
		json_object_set(parent, key, child);
		try_object(path, body, child, s);
	} else if (items && json_object_get(items, "$ref")) {
		wrong(&f, json_integer(1));
		wrong(&f, json_object());
		wrong(&f, json_pack("[i]", 1));
		child = smallest(deref(items));
		json_object_set_new(parent, key, json_pack("[O]", child));
		try_object(path, body, child, deref(items));
	} else {
		try_field(&f, s);
		return;
	}
	json_decref(child);
	json_object_del(parent, key);
}

static void try_object(const char *path, json_t *body, json_t *parent, const json_t *schema)
{
	const char *key;
	json_t *s;

	json_object_foreach (json_object_get(schema, "properties"), key, s)
		try_property(path, body, parent, key, s);
}

Test(openapi, every_field_of_every_body)
{
	const char *path;
	json_t *item;
	unsigned bodies = 0;

	json_object_foreach (json_object_get(doc, "paths"), path, item) {
		const json_t *operation = json_object_get(item, "put");
		const json_t *schema = operation ? body_schema(operation) : NULL;

		if (!schema)
			continue;
		json_t *body = smallest(schema);
		try_object(path, body, body, schema);
		json_decref(body);
		bodies++;
	}
	cr_expect_eq(bodies, 7);
	cr_expect_gt(tried, 1000, "%u", tried);
}

Test(openapi, every_route_is_described)
{
	const json_t *paths = json_object_get(doc, "paths");
	char status[8];

	for (const struct route *r = routes; r->path; r++) {
		const json_t *o = json_object_get(
			json_object_get(paths, r->path), strcmp(r->method, "GET") ? "put" : "get");
		const json_t *replies = json_object_get(o, "responses");

		cr_assert(replies, "%s", r->path);
		snprintf(status, sizeof(status), "%u",
			r->kind == ROUTE_UNOFFERED ? 501 : route_success(r));
		const json_t *reply = json_object_get(replies, status);
		cr_assert(reply, "%s %s", r->path, status);
		if (r->reply == REPLY_NONE)
			continue;
		const char *type;
		json_t *content;
		json_object_foreach (json_object_get(reply, "content"), type, content)
			deref(json_object_get(content, "schema"));
		cr_expect(json_object_size(json_object_get(reply, "content")) == 1, "%s", r->path);
	}
	cr_expect_str_eq(json_string_value(json_object_get(doc, "openapi")), "3.1.0");
}
