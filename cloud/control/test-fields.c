/* SPDX-License-Identifier: Apache-2.0 */
/* Each rule of a field table, kept and broken. */
#include <criterion/criterion.h>
#include <string.h>
#include "cloud/control/fields.h"
#include "cloud/control/route.h"

static const char *const colours[] = {"red", "blue", NULL};
static const struct field port[] = {
	{"port", F_INT, F_REQUIRED, 1, 65535, .help = "the port"},
	{NULL},
};
static const struct field table[] = {
	{"name", F_NAME, F_REQUIRED, .help = "its name"},
	{"text", F_STR, 0, 2, 4},
	{"count", F_INT, F_FIXED, -1, 8},
	{"any_count", F_INT},
	{"on", F_BOOL, F_NULL},
	{"colour", F_ENUM, .values = colours},
	{"words", F_STRS, 0, 0, 2},
	{"labels", F_LABELS},
	{"ports", F_OBJECTS, 0, 0, 2, .of = port},
	{"port", F_OBJECT, .of = port},
	{"host", F_STR, F_ADMIN},
	{"state", F_STR, F_OUTPUT},
	{"free", F_ANY},
	{NULL},
};

static struct err e;
static char path[64];

static int check(const char *text, bool patch, bool admin)
{
	json_t *body = json_loads(text, JSON_DECODE_ANY, NULL);
	int r;

	cr_assert_not_null(body, "%s", text);
	e = (struct err){0};
	path[0] = '\0';
	r = fields_check(table, body, patch, admin, path, &e);
	json_decref(body);
	return r;
}

Test(fields, right_bodies_pass)
{
	static const char *const right[] = {
		"{\"name\":\"a\"}",
		"{\"name\":\"a-1\",\"text\":\"abcd\",\"count\":-1,\"any_count\":123456789}",
		"{\"name\":\"a\",\"on\":null,\"colour\":\"blue\",\"words\":[\"x\",\"y\"]}",
		"{\"name\":\"a\",\"labels\":{\"app.io/x\":\"\"},\"ports\":[{\"port\":1}]}",
		"{\"name\":\"a\",\"port\":{\"port\":65535},\"host\":\"h\",\"free\":[1]}",
	};

	for (unsigned i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		cr_expect_eq(check(right[i], false, true), 0, "%s: %s", right[i], e.text);
}

Test(fields, wrong_bodies_are_told_where)
{
	static const struct {
		const char *body, *path, *text;
	} wrong[] = {
		{"[]", "", "JSON object"},
		{"{}", "name", "is missing (its name)"},
		{"{\"name\":\"a\",\"nmae\":1}", "nmae", "no such field"},
		{"{\"name\":\"A\"}", "name", "\"A\" is not allowed"},
		{"{\"name\":\"-a\"}", "name", "allowed: 1 to 63"},
		{"{\"name\":\"\"}", "name", "allowed: 1 to 63"},
		{"{\"name\":null}", "name", "null is not allowed"},
		{"{\"name\":\"a\",\"text\":\"a\"}", "text", "2 to 4 bytes"},
		{"{\"name\":\"a\",\"text\":\"abcde\"}", "text", "2 to 4 bytes"},
		{"{\"name\":\"a\",\"text\":1}", "text", "2 to 4 bytes"},
		{"{\"name\":\"a\",\"count\":900}", "count",
			"count: 900 is not allowed; allowed: -1 to 8"},
		{"{\"name\":\"a\",\"count\":1.5}", "count", "-1 to 8"},
		{"{\"name\":\"a\",\"any_count\":-1}", "any_count", "0 or more"},
		{"{\"name\":\"a\",\"on\":1}", "on", "true or false, or null"},
		{"{\"name\":\"a\",\"colour\":\"green\"}", "colour", "red, blue"},
		{"{\"name\":\"a\",\"words\":[\"\"]}", "words", "0 to 2 texts"},
		{"{\"name\":\"a\",\"words\":[\"1\",\"2\",\"3\"]}", "words", "0 to 2 texts"},
		{"{\"name\":\"a\",\"labels\":[]}", "labels", "object of texts"},
		{"{\"name\":\"a\",\"labels\":{\"a b\":\"c\"}}", "labels", "not a label"},
		{"{\"name\":\"a\",\"labels\":{\"a\":1}}", "labels", "labels.a"},
		{"{\"name\":\"a\",\"labels\":{\"a\":null}}", "labels", "labels.a"},
		{"{\"name\":\"a\",\"ports\":[{\"port\":0}]}", "ports[0].port", "1 to 65535"},
		{"{\"name\":\"a\",\"ports\":[{\"port\":1},{}]}", "ports[1].port", "is missing"},
		{"{\"name\":\"a\",\"ports\":[7]}", "ports[0]", "an object"},
		{"{\"name\":\"a\",\"port\":{\"prot\":1}}", "port.prot", "no such field"},
		{"{\"name\":\"a\",\"state\":\"x\"}", "state", "only in answers"},
	};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		cr_expect_eq(check(wrong[i].body, false, true), -EINVAL, "%s", wrong[i].body);
		cr_expect_str_eq(path, wrong[i].path, "%s: %s", wrong[i].body, path);
		cr_expect(strstr(e.text, wrong[i].text), "%s: %s", wrong[i].body, e.text);
		cr_expect_eq(e.kind, ERR_USAGE);
	}
}

Test(fields, patch_changes_what_may_change)
{
	cr_expect_eq(check("{}", true, true), 0);
	cr_expect_eq(check("{\"text\":\"abc\",\"labels\":{\"a\":null}}", true, true), 0);
	cr_expect_eq(check("{\"count\":1}", true, true), -EINVAL);
	cr_expect(strstr(e.text, "cannot be changed"));
	cr_expect_eq(check("{\"port\":{}}", true, true), -EINVAL, "a part is given whole");
}

Test(fields, what_is_for_admins)
{
	cr_expect_eq(check("{\"name\":\"a\",\"host\":\"h\"}", false, false), -EPERM);
	cr_expect_str_eq(path, "host");
}

Test(fields, a_message_is_one_line_whatever_comes)
{
	cr_expect_eq(check("{\"name\":\"a\",\"x\\n\\u0007y\":1}", false, true), -EINVAL);
	cr_expect_str_eq(path, "x??y");
	cr_expect_eq(check("{\"name\":\"a\\nb\"}", false, true), -EINVAL);
	cr_expect_null(strchr(e.text, '\n'));
	cr_expect_eq(check("{\"name\":\"a\",\"a23456789b23456789c23456789d23456789e23456789"
			   "f23456789g23456789\":1}",
			     false, true),
		-EINVAL);
	cr_expect_eq(strlen(path), 63);
}

Test(fields, the_schema_says_the_same)
{
	json_t *in = fields_schema(table, false), *out = fields_schema(table, true);
	json_t *p = json_object_get(in, "properties"), *v;

	cr_expect_null(json_object_get(p, "state"));
	cr_expect_not_null(json_object_get(json_object_get(out, "properties"), "state"));
	cr_expect_eq(json_array_size(json_object_get(in, "required")), 1);
	v = json_object_get(p, "count");
	cr_expect_eq(json_integer_value(json_object_get(v, "maximum")), 8);
	v = json_object_get(json_object_get(p, "ports"), "items");
	cr_expect_str_eq(
		json_string_value(json_array_get(json_object_get(v, "required"), 0)), "port");
	cr_expect(json_is_false(json_object_get(in, "additionalProperties")));
	json_decref(in);
	json_decref(out);
}
