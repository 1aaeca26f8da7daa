/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON value becomes the text that a person would have typed and goes through opts_set_at(). null
 * means "not given", in both directions. */
#include "vmm/base/opts_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/pins.h"

static const struct opt *find(const struct opt_table *t, const char *key)
{
	for (unsigned i = 0; i < t->n; i++)
		if (strcmp(opts_json_key(&t->opts[i]), key) == 0)
			return &t->opts[i];
	return NULL;
}

static const char *json_word(enum opt_type type)
{
	switch (type) {
	case OPT_BOOL:
		return "boolean";
	case OPT_U32:
	case OPT_U64:
	case OPT_SIZE:
	case OPT_INT:
	case OPT_FD:
		return "integer";
	case OPT_PINS:
		return "array";
	default:
		return "string";
	}
}

const char *opts_json_path(char buf[OPTS_PATH], const char *path, const char *key)
{
	snprintf(buf, OPTS_PATH, "%s%s%.64s", path, *path ? "." : "", key);
	return buf;
}

/* ---- reading ---- */

/* The text of v, in buf or borrowed from v; NULL when v's JSON type does not suit the field. */
static const char *text_of(const struct opt *o, const json_t *v, char buf[32])
{
	const char *word = json_word(o->type);
	/* "1G" for a size is fine, too, and numbers that JSON's integers cannot hold. */
	bool text = word[0] == 's' || o->type == OPT_SIZE || o->type == OPT_U64;

	if (json_is_string(v) && text)
		return strlen(json_string_value(v)) == json_string_length(v) ? json_string_value(v)
									     : NULL;
	if (json_is_boolean(v) && word[0] == 'b')
		return json_is_true(v) ? "on" : "off";
	if (!json_is_integer(v) || word[0] != 'i')
		return NULL;
	snprintf(buf, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	return buf;
}

static int wrong_type(const struct opt_at *at, const struct opt *o, const char *word, struct err *e)
{
	char path[OPTS_PATH], list[256];

	return err_set(e, ERR_USAGE, -EINVAL, "%s: is of the wrong JSON type; give %s %s: %s",
		opts_json_path(path, at->path, opts_json_key(o)),
		strchr("aeiou", word[0]) ? "an" : "a", word,
		opts_allowed(at, o, list, sizeof(list)));
}

/* [{"vcpu": 1, "host_cpus": [0, 2]}, …] as the text of a pins option. -EINVAL: it is not that. */
static int pins_text(const struct opt *o, const json_t *list, FILE *out)
{
	size_t i, k;
	json_t *v, *cpu;

	if (!json_is_array(list))
		return -EINVAL;
	json_array_foreach (list, i, v) {
		const json_t *who = json_object_get(v, o->values[0]);
		const json_t *host = json_object_get(v, "host_cpus");
		cpu_set_t set;

		if (!json_is_integer(who) || !json_is_array(host) || json_object_size(v) != 2 ||
			json_integer_value(who) < 0 || json_integer_value(who) >= CPU_SETSIZE)
			return -EINVAL;
		CPU_ZERO(&set);
		json_array_foreach (host, k, cpu) {
			json_int_t n = json_is_integer(cpu) ? json_integer_value(cpu) : -1;

			if (n < 0 || n >= CPU_SETSIZE)
				return -EINVAL;
			CPU_SET((size_t)n, &set);
		}
		fputc(i ? ',' : '[', out);
		pins_write(out, (unsigned)json_integer_value(who), &set);
	}
	fputc(']', out);
	return 0;
}

static int set_pins(
	const struct opt_at *at, const struct opt *o, const json_t *v, void *s, struct err *e)
{
	cleanup_free char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	int r = f ? pins_text(o, v, f) : -ENOMEM;

	if (f && fclose(f) != 0)
		r = -ENOMEM;
	if (json_is_array(v) && json_array_size(v) == 0)
		return 0; /* nobody is bound, which is the default */
	if (r == -EINVAL)
		return wrong_type(at, o, "array", e);
	return r < 0 ? err_set(e, ERR_HOST, r, "out of memory") : opts_set_at(at, o, text, s, e);
}

static int set_one(
	const struct opt_at *at, const struct opt *o, const json_t *v, void *s, struct err *e)
{
	char buf[32];
	const char *text;

	if (o->type == OPT_PINS)
		return set_pins(at, o, v, s, e);
	text = text_of(o, v, buf);
	return text ? opts_set_at(at, o, text, s, e) : wrong_type(at, o, json_word(o->type), e);
}

static const struct opt_unoffered *find_unoffered(const struct opt_table *t, const char *key)
{
	for (unsigned i = 0; i < t->nunoffered; i++)
		if (strcmp(t->unoffered[i].key, key) == 0)
			return &t->unoffered[i];
	return NULL;
}

static json_t *unoffered_default(const struct opt_unoffered *u)
{
	return json_loads(u->value, JSON_DECODE_ANY, NULL);
}

static int take_unoffered(
	const char *path, const struct opt_unoffered *u, const json_t *v, struct err *e)
{
	json_t *only = unoffered_default(u);
	bool same = only && json_equal(only, v);
	char at[OPTS_PATH];

	/* An empty list or object asks for nothing. */
	if (json_is_null(only) && (json_is_array(v) || json_is_object(v)))
		same = json_array_size(v) == 0 && json_object_size(v) == 0;
	json_decref(only);
	if (same || json_is_null(v))
		return 0;
	return err_set(e, ERR_USAGE, -EINVAL, "%s: not offered; allowed is %s",
		opts_json_path(at, path, u->key),
		strcmp(u->value, "null") ? u->value : "to leave it out");
}

static int unknown_key(const struct opt_table *t, const char *path, const char *key, struct err *e)
{
	char at[OPTS_PATH], list[256] = "";

	for (unsigned i = 0, n = 0; i < t->n && n < sizeof(list) - 1; i++)
		n += (unsigned)snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "",
			opts_json_key(&t->opts[i]));
	return err_set(e, ERR_USAGE, -EINVAL, "%s: unknown key; allowed are %s",
		opts_json_path(at, path, key), list);
}

static int check_required(
	const struct opt_table *t, const json_t *o, const char *path, struct err *e)
{
	const struct opt_at at = {.path = path, .json = true};
	char where[OPTS_PATH], list[256];

	for (unsigned i = 0; i < t->n; i++) {
		const struct opt *opt = &t->opts[i];
		const json_t *v = json_object_get(o, opts_json_key(opt));

		if (opt->required && (!v || json_is_null(v)))
			return err_set(e, ERR_USAGE, -EINVAL, "%s: missing; give %s",
				opts_json_path(where, path, opts_json_key(opt)),
				opts_allowed(&at, opt, list, sizeof(list)));
	}
	return 0;
}

static int take_key(const struct opt_table *t, const char *path, const char *key, const json_t *v,
	const struct opts_json *how, void *s, struct err *e)
{
	const struct opt_at at = {.path = path, .json = true};
	const struct opt *o = find(t, key);
	const struct opt_unoffered *u = o ? NULL : find_unoffered(t, key);
	char where[OPTS_PATH];

	if (o)
		return json_is_null(v) ? 0 : set_one(&at, o, v, s, e);
	if (u)
		return take_unoffered(path, u, v, e);
	if (how->strict)
		return unknown_key(t, path, key, e);
	if (how->warn)
		how->warn(how->arg, opts_json_path(where, path, key));
	return 0;
}

int opts_from_json(const struct opt_table *t, const json_t *o, const char *path,
	const struct opts_json *how, void *s, struct err *e)
{
	const char *key;
	json_t *v;

	if (!json_is_object(o))
		return err_set(e, ERR_USAGE, -EINVAL,
			"%s: is of the wrong JSON type; give an object",
			*path ? path : "the document");
	json_object_foreach ((json_t *)o, key, v) {
		int r = take_key(t, path, key, v, how, s, e);

		if (r < 0)
			return r;
	}
	return check_required(t, o, path, e);
}

/* ---- writing ---- */

/* jansson's integers are signed: larger ones are written as the text that opts_set() reads. */
static json_t *json_from_u64(uint64_t v)
{
	char buf[24];

	if (v <= INT64_MAX)
		return json_integer((json_int_t)v);
	snprintf(buf, sizeof(buf), "%" PRIu64, v);
	return json_string(buf);
}

/* 0 where it is not allowed says that nothing was given. */
static json_t *number(const struct opt *o, uint64_t v)
{
	return v || !o->min ? json_from_u64(v) : json_null();
}

static json_t *json_from_mac(const uint8_t *m)
{
	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static json_t *json_from_pins(const struct opt *o, const char *text)
{
	json_t *list = text ? json_array() : NULL;
	cpu_set_t cpus;
	unsigned who;

	while (list && pins_next(&text, &who, &cpus) > 0) {
		json_t *host = json_array();

		for (int i = 0; i < CPU_SETSIZE; i++)
			if (CPU_ISSET((size_t)i, &cpus))
				json_array_append_new(host, json_integer(i));
		json_array_append_new(
			list, json_pack("{s:i, s:o}", o->values[0], (int)who, "host_cpus", host));
	}
	return list ? list : json_null();
}

static json_t *field_to_json(const struct opt *o, const void *s)
{
	const void *p = (const char *)s + o->offset;

	if (o->set_offset && !*(const bool *)((const char *)s + o->set_offset))
		return json_null();
	switch (o->type) {
	case OPT_BOOL:
		return json_boolean(*(const bool *)p);
	case OPT_U32:
		return number(o, *(const uint32_t *)p);
	case OPT_U64:
	case OPT_SIZE:
		return number(o, *(const uint64_t *)p);
	case OPT_INT:
		return json_integer(*(const int *)p);
	case OPT_FD:
		return *(const int *)p < 0 ? json_null() : json_integer(*(const int *)p);
	case OPT_STR:
		/* A path need not be UTF-8, JSON must. */
		if (!*(char *const *)p)
			return json_null();
		json_t *text = json_string(*(char *const *)p);
		return text ? text : json_null();
	case OPT_ENUM:
		return json_string((o->json_values ? o->json_values : o->values)[*(const int *)p]);
	case OPT_MAC:
		return json_from_mac(p);
	case OPT_PINS:
		return json_from_pins(o, *(char *const *)p);
	}
	return NULL;
}

json_t *opts_to_json(const struct opt_table *t, const void *s)
{
	json_t *o = json_object();
	int failed = !o;

	for (unsigned i = 0; !failed && i < t->n; i++)
		failed = json_object_set_new(
			o, opts_json_key(&t->opts[i]), field_to_json(&t->opts[i], s));
	for (unsigned i = 0; !failed && i < t->nunoffered; i++)
		if (strcmp(t->unoffered[i].value, "null"))
			failed = json_object_set_new(
				o, t->unoffered[i].key, unoffered_default(&t->unoffered[i]));
	if (!failed)
		return o;
	json_decref(o);
	return NULL;
}

/* ---- the schema ---- */

static void schema_limits(const struct opt *o, json_t *p)
{
	if (o->type == OPT_STR) {
		if (o->min)
			json_object_set_new(p, "minLength", json_from_u64(o->min));
		json_object_set_new(p, "maxLength", json_from_u64(opts_max(o)));
	} else if (o->type == OPT_INT) {
		json_object_set_new(p, "minimum", json_integer(opts_int_min(o)));
		json_object_set_new(p, "maximum", json_integer((json_int_t)opts_max(o)));
	} else if (o->type == OPT_FD) {
		json_object_set_new(p, "minimum", json_integer(0));
		json_object_set_new(p, "maximum", json_integer(INT32_MAX));
	} else if (o->type == OPT_U32 || o->type == OPT_U64 || o->type == OPT_SIZE) {
		json_object_set_new(p, "minimum", json_from_u64(o->min));
		if (opts_max(o) <= INT64_MAX)
			json_object_set_new(p, "maximum", json_from_u64(opts_max(o)));
	}
}

static json_t *strings(const char *const *values)
{
	json_t *list = json_array();

	for (unsigned i = 0; values[i]; i++)
		json_array_append_new(list, json_string(values[i]));
	return list;
}

static json_t *pins_schema(const struct opt *o)
{
	return json_pack("{s:s, s:{s:{s:s, s:i, s:i}, s:{s:s, s:i, s:{s:s, s:i, s:i}}}, s:[s, s]}",
		"type", "object", "properties", o->values[0], "type", "integer", "minimum", 0,
		"maximum", CPU_SETSIZE - 1, "host_cpus", "type", "array", "minItems", 1, "items",
		"type", "integer", "minimum", 0, "maximum", CPU_SETSIZE - 1, "required",
		o->values[0], "host_cpus");
}

static json_t *field_schema(const struct opt *o, const void *defaults)
{
	json_t *p = json_object();
	json_t *value = defaults ? field_to_json(o, defaults) : NULL;

	json_object_set_new(p, "type", json_string(json_word(o->type)));
	json_object_set_new(p, "description", json_string(o->help));
	schema_limits(o, p);
	if (o->type == OPT_ENUM)
		json_object_set_new(
			p, "enum", strings(o->json_values ? o->json_values : o->values));
	if (o->type == OPT_MAC)
		json_object_set_new(
			p, "pattern", json_string("^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"));
	if (o->type == OPT_PINS)
		json_object_set_new(p, "items", pins_schema(o));
	if (value && !json_is_null(value) && !o->required)
		json_object_set(p, "default", value);
	json_decref(value);
	return p;
}

/* What is not offered is told, too: the one value that is taken. */
static json_t *unoffered_schema(const struct opt_unoffered *u)
{
	return json_pack(
		"{s:s, s:[o]}", "description", "not offered", "enum", unoffered_default(u));
}

json_t *opts_schema(const struct opt_table *t, const void *s)
{
	json_t *properties = json_object(), *required = json_array();

	for (unsigned i = 0; i < t->n; i++) {
		const struct opt *o = &t->opts[i];

		json_object_set_new(properties, opts_json_key(o), field_schema(o, s));
		if (o->required)
			json_array_append_new(required, json_string(opts_json_key(o)));
	}
	for (unsigned i = 0; i < t->nunoffered; i++)
		json_object_set_new(
			properties, t->unoffered[i].key, unoffered_schema(&t->unoffered[i]));
	return json_pack("{s:s, s:s, s:o, s:o, s:b}", "type", "object", "description", t->help,
		"properties", properties, "required", required, "additionalProperties", 0);
}
