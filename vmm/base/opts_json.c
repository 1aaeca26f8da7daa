/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON value becomes the text that a person would have typed and goes through opts_set(). null
 * means "not given", in both directions. */
#include "vmm/base/opts_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct opt *find(const struct opt_table *t, const char *key)
{
	for (unsigned i = 0; i < t->n; i++)
		if (strcmp(t->opts[i].name, key) == 0)
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
	default:
		return "string";
	}
}

/* The text of v, in buf or borrowed from v; NULL when v's JSON type does not suit the field. */
static const char *text_of(const struct opt *o, const json_t *v, char buf[32])
{
	const char *word = json_word(o->type);

	if (json_is_string(v)) /* "1G" for a number is fine, too */
		return strlen(json_string_value(v)) == json_string_length(v) ? json_string_value(v)
									     : NULL;
	if (json_is_boolean(v) && word[0] == 'b')
		return json_is_true(v) ? "on" : "off";
	if (!json_is_integer(v) || word[0] != 'i')
		return NULL;
	snprintf(buf, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	return buf;
}

static int set_one(
	const struct opt_table *t, const struct opt *o, const json_t *v, void *s, struct err *e)
{
	char buf[32];
	const char *text = text_of(o, v, buf);

	if (!text)
		return err_set(e, ERR_USAGE, -EINVAL, "%s %s: is of the wrong JSON type; give a %s",
			t->flag, o->name, json_word(o->type));
	return opts_set(t, o->name, text, s, e);
}

static int check_required(const struct opt_table *t, const json_t *o, struct err *e)
{
	for (unsigned i = 0; i < t->n; i++) {
		const json_t *v = json_object_get(o, t->opts[i].name);

		if (t->opts[i].required && (!v || json_is_null(v)))
			return err_set(e, ERR_USAGE, -EINVAL, "%s %s: missing; it is required",
				t->flag, t->opts[i].name);
	}
	return 0;
}

int opts_from_json(const struct opt_table *t, const json_t *o, bool strict,
	void (*warn)(void *arg, const char *key), void *arg, void *s, struct err *e)
{
	const char *key;
	json_t *v;
	int r = 0;

	if (!json_is_object(o))
		return err_set(e, ERR_USAGE, -EINVAL, "%s: give a JSON object", t->flag);
	json_object_foreach ((json_t *)o, key, v) {
		const struct opt *opt = find(t, key);

		if (opt && !json_is_null(v))
			r = set_one(t, opt, v, s, e);
		else if (!opt && strict)
			r = opts_set(t, key, "", s, e); /* which says what is allowed */
		else if (!opt && warn)
			warn(arg, key);
		if (r < 0)
			return r;
	}
	return check_required(t, o, e);
}

/* jansson's integers are signed: larger ones are written as the text that opts_set() reads. */
static json_t *json_from_u64(uint64_t v)
{
	char buf[24];

	if (v <= INT64_MAX)
		return json_integer((json_int_t)v);
	snprintf(buf, sizeof(buf), "%" PRIu64, v);
	return json_string(buf);
}

static json_t *json_from_mac(const uint8_t *m)
{
	return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
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
		return json_from_u64(*(const uint32_t *)p);
	case OPT_U64:
	case OPT_SIZE:
		return json_from_u64(*(const uint64_t *)p);
	case OPT_INT:
		return json_integer(*(const int *)p);
	case OPT_FD:
		return *(const int *)p < 0 ? json_null() : json_integer(*(const int *)p);
	case OPT_STR:
		return *(char *const *)p ? json_string(*(char *const *)p) : json_null();
	case OPT_ENUM:
		return json_string(o->values[*(const int *)p]);
	case OPT_MAC:
		return json_from_mac(p);
	}
	return NULL;
}

json_t *opts_to_json(const struct opt_table *t, const void *s)
{
	json_t *o = json_object();

	for (unsigned i = 0; o && i < t->n; i++) {
		if (json_object_set_new(o, t->opts[i].name, field_to_json(&t->opts[i], s)) == 0)
			continue;
		json_decref(o);
		return NULL;
	}
	return o;
}

static void schema_limits(const struct opt *o, json_t *p)
{
	if (o->type == OPT_STR) {
		if (o->min)
			json_object_set_new(p, "minLength", json_from_u64(o->min));
		json_object_set_new(p, "maxLength", json_from_u64(o->max ? o->max : 4095));
	} else if (o->type == OPT_INT && (o->min || o->max)) {
		json_object_set_new(p, "minimum", json_integer((json_int_t)o->min));
		json_object_set_new(p, "maximum", json_integer((json_int_t)o->max));
	} else if (o->type == OPT_U32 || o->type == OPT_U64 || o->type == OPT_SIZE) {
		json_object_set_new(p, "minimum", json_from_u64(o->min));
		if (o->max)
			json_object_set_new(p, "maximum", json_from_u64(o->max));
	}
}

static json_t *field_schema(const struct opt *o)
{
	json_t *p = json_object();

	json_object_set_new(p, "type", json_string(json_word(o->type)));
	json_object_set_new(p, "description", json_string(o->help));
	schema_limits(o, p);
	if (o->type == OPT_ENUM) {
		json_t *values = json_array();

		for (unsigned i = 0; o->values[i]; i++)
			json_array_append_new(values, json_string(o->values[i]));
		json_object_set_new(p, "enum", values);
	}
	return p;
}

json_t *opts_schema(const struct opt_table *t)
{
	json_t *properties = json_object(), *required = json_array();

	for (unsigned i = 0; i < t->n; i++) {
		json_object_set_new(properties, t->opts[i].name, field_schema(&t->opts[i]));
		if (t->opts[i].required)
			json_array_append_new(required, json_string(t->opts[i].name));
	}
	return json_pack("{s:s, s:s, s:o, s:o, s:b}", "type", "object", "description", t->help,
		"properties", properties, "required", required, "additionalProperties", 0);
}
