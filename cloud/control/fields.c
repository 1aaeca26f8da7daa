/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies against tables. What a body may hold is in a table only, so what is checked and what the
 * OpenAPI document says cannot differ. The first thing wrong is told with its path and with what is
 * allowed there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cloud/control/fields.h"
#include "cloud/control/route.h"
#include "vmm/base/cleanup.h"

#define LABELS_MAX	64
#define LABEL_KEY_MAX	63
#define LABEL_VALUE_MAX 255

struct check {
	char path[64]; /* of the field in hand: "ports[0].guest_port" */
	bool patch, admin;
	struct err *e;
};

bool name_is_right(const char *s)
{
	size_t n = strlen(s);

	if (!n || n > 63 || s[0] == '-' || s[n - 1] == '-')
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static int64_t most(const struct field *f)
{
	if (f->max)
		return f->max;
	return f->type == F_INT && !f->min ? INT64_MAX : 4096;
}

static const char *range(const struct field *f, const char *unit, char *buf, size_t cap)
{
	if (most(f) == INT64_MAX)
		snprintf(buf, cap, "%lld or more%s", (long long)f->min, unit);
	else
		snprintf(buf, cap, "%lld to %lld%s", (long long)f->min, (long long)most(f), unit);
	return buf;
}

static const char *choices(const struct field *f, char *buf, size_t cap)
{
	size_t n = 0;

	for (unsigned i = 0; f->values[i] && n < cap; i++)
		n += (size_t)snprintf(buf + n, cap - n, "%s%s", i ? ", " : "", f->values[i]);
	return buf;
}

const char *fields_allowed(const struct field *f, char *buf, size_t cap)
{
	switch (f->type) {
	case F_STR:
		return f->min ? range(f, " bytes of text", buf, cap) : "text";
	case F_NAME:
		return "1 to 63 of a-z, 0-9 and -, not - at either end";
	case F_INT:
		return range(f, "", buf, cap);
	case F_BOOL:
		return "true or false";
	case F_ENUM:
		return choices(f, buf, cap);
	case F_STRS:
		return range(f, " texts in an array", buf, cap);
	case F_LABELS:
		return "an object of texts";
	case F_OBJECTS:
		return range(f, " objects in an array", buf, cap);
	case F_OBJECT:
		return "an object";
	case F_ANY:
		break;
	}
	return "any value";
}

static int refuse_value(struct check *c, const struct field *f, const json_t *v)
{
	cleanup_free char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
	char allowed[160];

	return err_set(c->e, ERR_USAGE, -EINVAL, "%s: %.60s is not allowed; allowed: %s%s", c->path,
		text ? text : "this", fields_allowed(f, allowed, sizeof(allowed)),
		f->flags & F_NULL ? ", or null" : "");
}

static int check_table(struct check *c, const struct field *t, const json_t *body);

static bool text_fits(const struct field *f, const json_t *v)
{
	int64_t n = (int64_t)json_string_length(v);

	return json_is_string(v) && n >= f->min && n <= most(f);
}

static bool enum_fits(const struct field *f, const json_t *v)
{
	for (unsigned i = 0; json_is_string(v) && f->values[i]; i++)
		if (!strcmp(f->values[i], json_string_value(v)))
			return true;
	return false;
}

static bool items_fit(const struct field *f, const json_t *v)
{
	int64_t n = (int64_t)json_array_size(v);

	return json_is_array(v) && n >= f->min && n <= most(f);
}

static bool strings_fit(const struct field *f, const json_t *v)
{
	const json_t *s;
	size_t i;

	if (!items_fit(f, v))
		return false;
	json_array_foreach ((json_t *)v, i, s) {
		if (!json_is_string(s) || !json_string_length(s) || json_string_length(s) > 4096)
			return false;
	}
	return true;
}

static bool label_key_fits(const char *k)
{
	size_t n = strlen(k);

	return n && n <= LABEL_KEY_MAX &&
	       strspn(k, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			 "0123456789._/-") == n;
}

static int check_labels(struct check *c, const struct field *f, const json_t *v)
{
	const char *key;
	json_t *value;

	if (!json_is_object(v))
		return refuse_value(c, f, v);
	if (json_object_size(v) > LABELS_MAX)
		return err_set(c->e, ERR_USAGE, -EINVAL, "%s: %zu labels; allowed: at most %d",
			c->path, json_object_size(v), LABELS_MAX);
	json_object_foreach ((json_t *)v, key, value) {
		if (!label_key_fits(key))
			return err_set(c->e, ERR_USAGE, -EINVAL,
				"%s: \"%.64s\" is not a label; allowed: 1 to %d of letters, digits and ._/-",
				c->path, key, LABEL_KEY_MAX);
		if (c->patch && json_is_null(value))
			continue; /* takes the label away */
		if (!json_is_string(value) || json_string_length(value) > LABEL_VALUE_MAX)
			return err_set(c->e, ERR_USAGE, -EINVAL,
				"%s.%s: not allowed; allowed: a text of at most %d bytes", c->path,
				key, LABEL_VALUE_MAX);
	}
	return 0;
}

static int check_objects(struct check *c, const struct field *f, const json_t *v)
{
	size_t len = strlen(c->path), i;
	const json_t *item;
	int r = 0;

	if (!items_fit(f, v))
		return refuse_value(c, f, v);
	json_array_foreach ((json_t *)v, i, item) {
		snprintf(c->path + len, sizeof(c->path) - len, "[%zu]", i);
		r = json_is_object(item)
			    ? check_table(c, f->of, item)
			    : err_set(c->e, ERR_USAGE, -EINVAL, "%s: allowed: an object", c->path);
		if (r)
			return r;
	}
	c->path[len] = '\0';
	return r;
}

static int check_value(struct check *c, const struct field *f, const json_t *v)
{
	bool ok = true;

	if (json_is_null(v) && f->flags & F_NULL)
		return 0;
	switch (f->type) {
	case F_STR:
		ok = text_fits(f, v);
		break;
	case F_NAME:
		ok = json_is_string(v) && name_is_right(json_string_value(v));
		break;
	case F_INT:
		ok = json_is_integer(v) && json_integer_value(v) >= f->min &&
		     json_integer_value(v) <= most(f);
		break;
	case F_BOOL:
		ok = json_is_boolean(v);
		break;
	case F_ENUM:
		ok = enum_fits(f, v);
		break;
	case F_STRS:
		ok = strings_fit(f, v);
		break;
	case F_LABELS:
		return check_labels(c, f, v);
	case F_OBJECTS:
		return check_objects(c, f, v);
	case F_OBJECT:
		return json_is_object(v) ? check_table(c, f->of, v) : refuse_value(c, f, v);
	case F_ANY:
		break;
	}
	return ok ? 0 : refuse_value(c, f, v);
}

static const struct field *find(const struct field *t, const char *name)
{
	for (; t->name; t++)
		if (!strcmp(t->name, name))
			return t;
	return NULL;
}

static int check_field(struct check *c, const struct field *t, const char *key, const json_t *v)
{
	const struct field *f = find(t, key);

	if (!f)
		return err_set(c->e, ERR_USAGE, -EINVAL, "%s: no such field", c->path);
	if (f->flags & F_OUTPUT)
		return err_set(c->e, ERR_USAGE, -EINVAL, "%s: is only in answers", c->path);
	if (c->patch && f->flags & F_FIXED)
		return err_set(
			c->e, ERR_USAGE, -EINVAL, "%s: cannot be changed after making", c->path);
	if (f->flags & F_ADMIN && !c->admin)
		return err_set(c->e, ERR_USAGE, -EPERM, "%s: only an admin may set it", c->path);
	return check_value(c, f, v);
}

/* A key may be anything; the path shows what fits of it, without control characters. */
static void path_add(struct check *c, size_t len, const char *key)
{
	snprintf(c->path + len, sizeof(c->path) - len, "%s%s", len ? "." : "", key);
	for (char *p = c->path + len; *p; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
}

static int check_table(struct check *c, const struct field *t, const json_t *body)
{
	size_t len = strlen(c->path);
	const char *key;
	json_t *v;
	int r;

	json_object_foreach ((json_t *)body, key, v) {
		path_add(c, len, key);
		r = check_field(c, t, key, v);
		if (r)
			return r;
		c->path[len] = '\0';
	}
	for (; t->name && (!c->patch || len); t++) {
		if (!(t->flags & F_REQUIRED) || json_object_get(body, t->name))
			continue;
		path_add(c, len, t->name);
		return err_set(c->e, ERR_USAGE, -EINVAL, "%s: is missing (%s)", c->path, t->help);
	}
	return 0;
}

int fields_check(const struct field *t, const json_t *body, bool patch, bool admin,
	char ret_field[64], struct err *e)
{
	struct check c = {.patch = patch, .admin = admin, .e = e};
	int r;

	if (!json_is_object(body))
		r = err_set(e, ERR_USAGE, -EINVAL, "the body: allowed: a JSON object");
	else
		r = check_table(&c, t, body);
	if (r)
		memcpy(ret_field, c.path, sizeof(c.path));
	return r;
}
