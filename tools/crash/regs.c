/* SPDX-License-Identifier: Apache-2.0 */
/* Registers, whatever the chip calls them. The report nests as the state does; three shapes occur:
 * 64-bit values (hexadecimal text) go in columns, small fields on lines of name=value, and arrays
 * of { name or index, value } are columns again. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "tools/crash/crash.h"
#include "vmm/base/num.h"

#define WIDTH	  100
#define COLUMNS	  2048 /* registers of one level */
#define MAX_DEPTH 6
#define NAME	  24

struct columns {
	unsigned n, name_width;
	struct {
		char name[NAME];
		uint64_t value;
	} reg[COLUMNS];
};

static void columns_add(struct columns *c, const char *name, uint64_t value)
{
	if (c->n == COLUMNS)
		return;
	snprintf(c->reg[c->n].name, NAME, "%s", name);
	for (char *s = c->reg[c->n].name; *s; s++)
		if (iscntrl((unsigned char)*s))
			*s = '?';
	c->name_width = MAX(c->name_width, (unsigned)strlen(c->reg[c->n].name));
	c->reg[c->n++].value = value;
}

static void columns_print(struct columns *c, FILE *out)
{
	unsigned per_line = MAX((WIDTH - 4) / (c->name_width + 19), 1u);

	for (unsigned i = 0; i < c->n; i++)
		fprintf(out, "%s%-*s %016llx%s", i % per_line ? "  " : "    ", (int)c->name_width,
			c->reg[i].name, (unsigned long long)c->reg[i].value,
			i % per_line == per_line - 1 || i == c->n - 1 ? "\n" : "");
	c->n = c->name_width = 0;
}

/* "0x…" of at most 64 bits; longer hexadecimal text is state that only a program reads. */
static bool is_wide(const json_t *v)
{
	const char *s = json_string_value(v);

	return s && strncmp(s, "0x", 2) == 0;
}

/* A register without a name of its own: "s3_0_c15_c2_0" is only its encoding. */
static bool is_named(const char *name)
{
	return *name && !(name[0] == 's' && isdigit((unsigned char)name[1]) && strchr(name, '_'));
}

static void add_element(struct columns *c, const json_t *e, bool all)
{
	const char *name = json_string_value(json_object_get(e, "name"));
	uint64_t id, value;
	char buf[NAME];

	if (!crash_number(e, "value", &value) || (!all && !(name && is_named(name))))
		return;
	if (!name || !*name) {
		if (!crash_number(e, "index", &id) && !crash_number(e, "id", &id))
			return;
		snprintf(buf, sizeof(buf), "0x%llx", (unsigned long long)id);
		name = buf;
	}
	columns_add(c, name, value);
}

static void print_array(struct columns *c, const char *name, const json_t *a, bool all, FILE *out)
{
	size_t i;
	json_t *e;

	json_array_foreach (a, i, e)
		add_element(c, e, all);
	if (c->n && strcmp(name, "regs"))
		fprintf(out, "    %.32s:\n", name);
	columns_print(c, out);
}

/* Whether a member is a small field to show; wide: 64-bit values too. */
static bool is_field(const char *name, const json_t *v, bool wide, bool all, uint64_t *ret)
{
	if (*name == '@' || (!wide && is_wide(v)))
		return false;
	if (json_is_boolean(v))
		*ret = json_is_true(v);
	else if (!crash_value(v, ret))
		return false;
	return *ret || all;
}

/* One line, or more, of " name=value". */
static void print_fields(const char *label, const json_t *obj, bool wide, bool all, FILE *out)
{
	unsigned at = 0;
	const char *key;
	uint64_t x;
	json_t *v;

	json_object_foreach ((json_t *)obj, key, v) {
		char text[64];

		if (!is_field(key, v, wide, all, &x))
			continue;
		snprintf(text, sizeof(text), x > 9999 ? " %.32s=0x%llx" : " %.32s=%llu", key,
			(unsigned long long)x);
		if (at + strlen(text) > WIDTH) {
			fprintf(out, "\n");
			at = 0;
		}
		if (!at)
			at = fprintf(out, *label ? "    %.32s:" : "   %s", label);
		at += fprintf(out, "%s", text);
	}
	if (at)
		fprintf(out, "\n");
}

static bool is_small(const json_t *obj)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)obj, key, v)
		if (*key != '@' && (json_is_object(v) || json_is_array(v)))
			return false;
	return true;
}

/* Columns, then what is nested, an object without inner ones being one line, then small fields. */
static void print_object(struct columns *c, const json_t *obj, bool all, unsigned depth, FILE *out)
{
	const char *key;
	uint64_t value;
	json_t *v;

	json_object_foreach ((json_t *)obj, key, v)
		if (is_wide(v) && crash_value(v, &value))
			columns_add(c, key, value);
	columns_print(c, out);
	json_object_foreach ((json_t *)obj, key, v) {
		if (json_is_array(v))
			print_array(c, key, v, all, out);
		else if (json_is_object(v) && depth && is_small(v))
			print_fields(key, v, true, all, out);
		else if (json_is_object(v) && depth < MAX_DEPTH)
			print_object(c, v, all, depth + 1, out);
	}
	print_fields("", obj, false, all, out);
}

void crash_render_regs(const json_t *regs, bool all, FILE *out)
{
	struct columns *c = calloc(1, sizeof(*c));

	if (!json_is_object(regs)) {
		fprintf(out, "  Registers: none recorded\n");
	} else if (c) {
		fprintf(out, "  Registers%s:\n", all ? "" : " (--all shows the rest)");
		print_object(c, regs, all, 0, out);
	}
	free(c);
}
