/* SPDX-License-Identifier: Apache-2.0 */
/* Everything goes through opts_set(), one field from text, so that the command line and JSON take
 * the same values and say the same words. The text is split on a copy; a value in double quotes is
 * taken as it is, up to the next quote. */
#include "vmm/base/opts.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"
#include "vmm/base/pins.h"

#define STR_DEFAULT_MAX 4095
#define LIST_BYTES	256

static void *field(const struct opt *o, void *s)
{
	return (char *)s + o->offset;
}

static const struct opt *find(const struct opt_table *t, const char *key)
{
	for (unsigned i = 0; i < t->n; i++)
		if (strcmp(t->opts[i].name, key) == 0)
			return &t->opts[i];
	return NULL;
}

/* Appends to a text of cap bytes, as far as it fits. */
__attribute__((format(printf, 3, 4))) static void add(char *buf, size_t cap, const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + len, cap - len, fmt, ap);
	va_end(ap);
}

/* What the number may be at least and at most, by type where the table leaves it open. */
uint64_t opts_max(const struct opt *o)
{
	if (o->type == OPT_INT)
		return o->max ? o->max : INT_MAX;
	if (o->type == OPT_U32)
		return o->max ? MIN(o->max, (uint64_t)UINT32_MAX) : UINT32_MAX;
	if (o->type == OPT_STR)
		return o->max ? o->max : STR_DEFAULT_MAX;
	return o->max ? o->max : UINT64_MAX;
}

int64_t opts_int_min(const struct opt *o)
{
	return o->min || o->max ? (int64_t)o->min : INT_MIN;
}

const char *opts_json_key(const struct opt *o)
{
	return o->json ? o->json : o->name;
}

static void allowed_size(bool json, const struct opt *o, char *buf, size_t cap)
{
	char lo[24], hi[24];

	if (json)
		add(buf, cap, "a number of bytes between %llu and %llu", (unsigned long long)o->min,
			(unsigned long long)opts_max(o));
	else
		add(buf, cap, "a number with K, M, G or T, between %s and %s",
			num_format_size(o->min, lo), num_format_size(opts_max(o), hi));
}

static void allowed_values(bool json, const struct opt *o, char *buf, size_t cap)
{
	const char *const *values = json && o->json_values ? o->json_values : o->values;

	add(buf, cap, "one of");
	for (unsigned i = 0; values[i]; i++)
		add(buf, cap, "%s %s", i ? "," : "", values[i]);
}

const char *opts_allowed(const struct opt_at *at, const struct opt *o, char *buf, size_t cap)
{
	buf[0] = '\0';
	switch (o->type) {
	case OPT_BOOL:
		add(buf, cap, at->json ? "true or false" : "on or off");
		break;
	case OPT_U32:
	case OPT_U64:
		add(buf, cap, "a number between %llu and %llu", (unsigned long long)o->min,
			(unsigned long long)opts_max(o));
		break;
	case OPT_INT:
		add(buf, cap, "a number between %lld and %lld", (long long)opts_int_min(o),
			(long long)opts_max(o));
		break;
	case OPT_SIZE:
		allowed_size(at->json, o, buf, cap);
		break;
	case OPT_STR:
		add(buf, cap, "a text of %llu to %llu bytes", (unsigned long long)o->min,
			(unsigned long long)opts_max(o));
		break;
	case OPT_ENUM:
		allowed_values(at->json, o, buf, cap);
		break;
	case OPT_MAC:
		add(buf, cap, "an address such as 52:54:00:12:34:56");
		break;
	case OPT_FD:
		add(buf, cap, "the number of an open file descriptor");
		break;
	case OPT_PINS:
		if (at->json)
			add(buf, cap, "a list such as [{\"%s\": 0, \"host_cpus\": [2, 3]}]",
				o->values[0]);
		else
			add(buf, cap, "a list such as [0@[2-3],1@[4]]");
		break;
	}
	return buf;
}

static int refuse(const struct opt_at *at, const struct opt *o, const char *value, const char *what,
	struct err *e)
{
	char list[LIST_BYTES];

	opts_allowed(at, o, list, sizeof(list));
	if (at->json)
		return err_set(e, ERR_USAGE, -EINVAL, "%s%s%s: \"%.64s\" is not %s; give %s",
			at->path, *at->path ? "." : "", opts_json_key(o), value, what, list);
	return err_set(e, ERR_USAGE, -EINVAL, "%s %s: \"%.64s\" is not %s; give %s", at->path,
		o->name, value, what, list);
}

static int parse_bool(const char *value, bool *ret)
{
	if (strcmp(value, "on") == 0 || strcmp(value, "true") == 0)
		*ret = true;
	else if (strcmp(value, "off") == 0 || strcmp(value, "false") == 0)
		*ret = false;
	else
		return -EINVAL;
	return 0;
}

/* An int, with or without a minus, between lo and hi. */
static int parse_int(const char *value, int64_t lo, int64_t hi, int *ret)
{
	bool minus = value[0] == '-';
	uint64_t u;
	int r = num_parse(value + minus, &u);
	int64_t v;

	if (r < 0)
		return r;
	if (u > INT_MAX)
		return -ERANGE;
	v = minus ? -(int64_t)u : (int64_t)u;
	if (v < lo || v > hi || v < INT_MIN)
		return -ERANGE;
	*ret = (int)v;
	return 0;
}

static int set_unsigned(
	const struct opt_at *at, const struct opt *o, const char *value, void *s, struct err *e)
{
	uint64_t v;
	int r = o->type == OPT_SIZE ? num_parse_size(value, &v) : num_parse(value, &v);

	if (r == -EINVAL)
		return refuse(at, o, value, o->type == OPT_SIZE ? "a size" : "a number", e);
	if (r < 0 || v < o->min || v > opts_max(o))
		return refuse(at, o, value, "in range", e);
	if (o->type == OPT_U32)
		*(uint32_t *)field(o, s) = (uint32_t)v;
	else
		*(uint64_t *)field(o, s) = v;
	return 0;
}

static int set_int(
	const struct opt_at *at, const struct opt *o, const char *value, void *s, struct err *e)
{
	bool fd = o->type == OPT_FD;
	int r = parse_int(
		value, fd ? 0 : opts_int_min(o), fd ? INT_MAX : (int64_t)opts_max(o), field(o, s));

	if (r == -EINVAL)
		return refuse(at, o, value, "a number", e);
	return r < 0 ? refuse(at, o, value, "in range", e) : 0;
}

static int set_string(
	const struct opt_at *at, const struct opt *o, const char *value, void *s, struct err *e)
{
	char **p = field(o, s), *copy;
	size_t len = strlen(value);

	if (len < o->min || len > opts_max(o))
		return refuse(at, o, value, len < o->min ? "long enough" : "short enough", e);
	copy = strdup(value);
	if (!copy)
		return err_set(e, ERR_HOST, -ENOMEM, "%s %s: out of memory", at->path, o->name);
	free(*p);
	*p = copy;
	return 0;
}

/* JSON's spelling (cloud-hypervisor: "Pty") is not the command line's ("pty"). */
static bool same_word(const struct opt_at *at, const char *a, const char *b)
{
	return at->json ? strcasecmp(a, b) == 0 : strcmp(a, b) == 0;
}

static int set_enum(
	const struct opt_at *at, const struct opt *o, const char *value, void *s, struct err *e)
{
	for (int i = 0; o->values[i]; i++) {
		if (same_word(at, o->values[i], value) ||
			(o->json_values && same_word(at, o->json_values[i], value))) {
			*(int *)field(o, s) = i;
			return 0;
		}
	}
	return refuse(at, o, value, "allowed", e);
}

static int set_field(
	const struct opt_at *at, const struct opt *o, const char *value, void *s, struct err *e)
{
	switch (o->type) {
	case OPT_BOOL:
		return parse_bool(value, field(o, s)) < 0 ? refuse(at, o, value, "allowed", e) : 0;
	case OPT_U32:
	case OPT_U64:
	case OPT_SIZE:
		return set_unsigned(at, o, value, s, e);
	case OPT_INT:
	case OPT_FD:
		return set_int(at, o, value, s, e);
	case OPT_STR:
		return set_string(at, o, value, s, e);
	case OPT_ENUM:
		return set_enum(at, o, value, s, e);
	case OPT_MAC:
		if (num_parse_mac(value, field(o, s)) < 0)
			return refuse(at, o, value, "a MAC address", e);
		return 0;
	case OPT_PINS:
		if (pins_check(value) < 0)
			return refuse(at, o, value, "a list of pins", e);
		return set_string(at, o, value, s, e);
	}
	return -EINVAL;
}

static int unknown_key(const struct opt_table *t, const char *key, struct err *e)
{
	char list[LIST_BYTES] = "";

	for (unsigned i = 0; i < t->n; i++)
		add(list, sizeof(list), "%s%s", i ? ", " : "", t->opts[i].name);
	return err_set(
		e, ERR_USAGE, -EINVAL, "%s %.64s: unknown key; allowed are %s", t->flag, key, list);
}

int opts_set_at(
	const struct opt_at *at, const struct opt *o, const char *value, void *s, struct err *e)
{
	int r = set_field(at, o, value, s, e);

	if (r == 0 && o->set_offset)
		*(bool *)((char *)s + o->set_offset) = true;
	return r;
}

int opts_set(const struct opt_table *t, const char *key, const char *value, void *s, struct err *e)
{
	const struct opt_at at = {.path = t->flag};
	const struct opt *o = find(t, key);

	return o ? opts_set_at(&at, o, value, s, e) : unknown_key(t, key, e);
}

/* The length of a value in [brackets], 0 when they do not close. */
static size_t bracketed(const char *p)
{
	size_t n = 0;
	int depth = 0;

	do
		depth += p[n] == '[' ? 1 : p[n] == ']' ? -1 : 0;
	while (p[n++] && depth);
	return depth ? 0 : n;
}

/* One `key=value` cut out of the text. */
struct word {
	char *key, *value; /* value NULL: no '=' */
};

/* Cuts the first word off *text, which moves behind its comma, or to NULL after the last. */
static int next_word(const struct opt_table *t, char **text, struct word *ret, struct err *e)
{
	char *p = *text, *end;

	ret->key = p;
	ret->value = NULL;
	end = p + strcspn(p, "=,\"");
	if (*end == '=') {
		*end = '\0';
		ret->value = p = end + 1;
	}
	if (*p == '"') {
		char *close = strchr(p + 1, '"');

		if (!close || (close[1] && close[1] != ','))
			return err_set(e, ERR_USAGE, -EINVAL,
				"%s %.64s: a value in \"double quotes\" must end with a quote and a comma",
				t->flag, ret->value ? ret->key : "");
		*close = '\0';
		*(ret->value ? &ret->value : &ret->key) = p + 1;
		end = close + 1;
	} else if (ret->value && *p == '[') {
		end = p + bracketed(p);
		if (end == p || (*end && *end != ','))
			return err_set(e, ERR_USAGE, -EINVAL,
				"%s %.64s: a value in [brackets] must end with its bracket and a comma",
				t->flag, ret->key);
	} else {
		end = p + strcspn(p, ",");
	}
	*text = *end ? end + 1 : NULL;
	*end = '\0';
	return 0;
}

static const char *allowed(const struct opt_table *t, const struct opt *o, char *buf, size_t cap)
{
	const struct opt_at at = {.path = t->flag};

	return opts_allowed(&at, o, buf, cap);
}

static int no_value(const struct opt_table *t, const char *key, struct err *e)
{
	const struct opt *o = find(t, key);
	char list[LIST_BYTES];

	if (!o && *key)
		return unknown_key(t, key, e);
	return err_set(e, ERR_USAGE, -EINVAL, "%s %s: no value; give %s=VALUE%s%s", t->flag, key,
		*key ? key : "KEY", o ? ", " : "", o ? allowed(t, o, list, sizeof(list)) : "");
}

static int set_once(const struct opt_table *t, const char *key, const char *value, uint64_t *seen,
	void *s, struct err *e)
{
	const struct opt *o = find(t, key);
	uint64_t bit;

	if (!o)
		return unknown_key(t, key, e);
	bit = 1ULL << (o - t->opts);
	if (*seen & bit)
		return err_set(
			e, ERR_USAGE, -EINVAL, "%s %s: given twice; once is allowed", t->flag, key);
	*seen |= bit;
	return opts_set(t, key, value, s, e);
}

static int check_required(const struct opt_table *t, uint64_t seen, struct err *e)
{
	char list[LIST_BYTES];

	for (unsigned i = 0; i < t->n; i++) {
		const struct opt *o = &t->opts[i];

		if (o->required && !(seen & 1ULL << i))
			return err_set(e, ERR_USAGE, -EINVAL, "%s %s: missing; give %s=VALUE, %s",
				t->flag, o->name, o->name, allowed(t, o, list, sizeof(list)));
	}
	return 0;
}

int opts_parse(const struct opt_table *t, const char *text, void *s, struct err *e)
{
	cleanup_free char *copy = strdup(text);
	char *rest = copy;
	uint64_t seen = 0;
	struct word w;
	int r = 0;

	assert(t->n <= 64);
	if (!copy)
		return err_set(e, ERR_HOST, -ENOMEM, "%s: out of memory", t->flag);
	if (!*copy)
		rest = NULL;
	for (bool first = true; r == 0 && rest; first = false) {
		r = next_word(t, &rest, &w, e);
		if (r < 0)
			break;
		if (w.value)
			r = set_once(t, w.key, w.value, &seen, s, e);
		else if (first && t->bare_key)
			r = set_once(t, t->bare_key, w.key, &seen, s, e);
		else
			r = no_value(t, w.key, e);
	}
	return r < 0 ? r : check_required(t, seen, e);
}

static bool is_text(const struct opt *o)
{
	return o->type == OPT_STR || o->type == OPT_PINS;
}

void opts_free(const struct opt_table *t, void *s)
{
	for (unsigned i = 0; i < t->n; i++) {
		char **p = field(&t->opts[i], s);

		if (!is_text(&t->opts[i]))
			continue;
		free(*p);
		*p = NULL;
	}
}

int opts_copy(const struct opt_table *t, const void *from, void *to)
{
	bool failed = false;

	memcpy(to, from, t->size);
	for (unsigned i = 0; i < t->n; i++) {
		char **p = field(&t->opts[i], to);

		if (!is_text(&t->opts[i]) || !*p)
			continue;
		*p = failed ? NULL : strdup(*p); /* never two owners, even on the way out */
		failed |= !*p;
	}
	if (!failed)
		return 0;
	opts_free(t, to);
	return -ENOMEM;
}

static const char *placeholder(const struct opt *o, char *buf, size_t cap)
{
	static const char *const words[] = {
		[OPT_BOOL] = "on|off",
		[OPT_U32] = "N",
		[OPT_U64] = "N",
		[OPT_SIZE] = "SIZE",
		[OPT_INT] = "N",
		[OPT_STR] = "TEXT",
		[OPT_MAC] = "MAC",
		[OPT_FD] = "FD",
		[OPT_PINS] = "[N@[CPUS]]",
	};

	if (o->type != OPT_ENUM)
		return words[o->type];
	buf[0] = '\0';
	for (unsigned i = 0; o->values[i]; i++)
		add(buf, cap, "%s%s", i ? "|" : "", o->values[i]);
	return buf;
}

void opts_help(const struct opt_table *t, FILE *out)
{
	char buf[LIST_BYTES];
	int column = fprintf(out, "  %s ", t->flag), width = 0;

	for (unsigned i = 0; i < t->n; i++) {
		const char *word = placeholder(&t->opts[i], buf, sizeof(buf));

		width = MAX(width, (int)strlen(t->opts[i].name));
		if (i && column + strlen(t->opts[i].name) + strlen(word) > 76)
			column = fprintf(out, ",\n      ") - 2;
		else if (i)
			column += fprintf(out, ",");
		column += fprintf(out, "%s=%s", t->opts[i].name, word);
	}
	fprintf(out, "\n      %s\n", t->help);
	for (unsigned i = 0; i < t->n; i++)
		fprintf(out, "        %-*s  %s%s%s\n", width, t->opts[i].name, t->opts[i].help,
			t->opts[i].required ? " (required)" : "",
			t->bare_key && strcmp(t->bare_key, t->opts[i].name) == 0
				? " (its name may be left out)"
				: "");
}
