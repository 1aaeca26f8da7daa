/* SPDX-License-Identifier: Apache-2.0 */
/* Field tables as JSON Schema (draft 2020-12, which OpenAPI 3.1 §4.8.24 takes). */
#include <string.h>
#include "cloud/control/fields.h"
#include "cloud/control/route.h"

static json_t *enum_schema(const struct field *f)
{
	json_t *values = json_array();

	for (unsigned i = 0; f->values[i]; i++)
		json_array_append_new(values, json_string(f->values[i]));
	if (f->flags & F_NULL)
		json_array_append_new(values, json_null());
	return json_pack("{s:o}", "enum", values);
}

static json_t *limits(json_t *s, const struct field *f, const char *min, const char *max)
{
	if (f->min)
		json_object_set_new(s, min, json_integer(f->min));
	if (f->max)
		json_object_set_new(s, max, json_integer(f->max));
	return s;
}

static json_t *value_schema(const struct field *f, bool output)
{
	switch (f->type) {
	case F_STR:
		return limits(json_pack("{s:s}", "type", "string"), f, "minLength", "maxLength");
	case F_NAME:
		return json_pack("{s:s, s:s}", "type", "string", "pattern", NAME_PATTERN);
	case F_INT:
		return limits(json_pack("{s:s}", "type", "integer"), f, "minimum", "maximum");
	case F_BOOL:
		return json_pack("{s:s}", "type", "boolean");
	case F_ENUM:
		return enum_schema(f);
	case F_STRS:
		return limits(
			json_pack("{s:s, s:{s:s}}", "type", "array", "items", "type", "string"), f,
			"minItems", "maxItems");
	case F_LABELS:
		return json_pack("{s:s, s:{s:s}}", "type", "object", "additionalProperties", "type",
			"string");
	case F_OBJECTS:
		return limits(json_pack("{s:s, s:o}", "type", "array", "items",
				      fields_schema(f->of, output)),
			f, "minItems", "maxItems");
	case F_OBJECT:
		return fields_schema(f->of, output);
	case F_ANY:
		break;
	}
	return json_object();
}

static json_t *field_schema(const struct field *f, bool output)
{
	json_t *s = value_schema(f, output);
	json_t *type = json_object_get(s, "type");

	if (f->flags & F_NULL && type)
		json_object_set_new(s, "type", json_pack("[O, s]", type, "null"));
	if (f->help)
		json_object_set_new(s, "description", json_string(f->help));
	if (f->flags & F_OUTPUT)
		json_object_set_new(s, "readOnly", json_true());
	return s;
}

json_t *fields_schema(const struct field *t, bool output)
{
	json_t *properties = json_object(), *required = json_array();

	for (; t->name; t++) {
		if (t->flags & F_OUTPUT && !output)
			continue;
		json_object_set_new(properties, t->name, field_schema(t, output));
		if (t->flags & F_REQUIRED)
			json_array_append_new(required, json_string(t->name));
	}
	return json_pack("{s:s, s:o, s:o, s:b}", "type", "object", "properties", properties,
		"required", required, "additionalProperties", output);
}
