/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as tables. Which columns a list has is in the verb's row: "NAME=name AGE=@created_at". */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tools/polyctl/cloud.h"
#include "tools/polyctl/table.h"

#define CELL_MAX     240
#define SHORT_DIGEST 19 /* "sha256:" and 12 digits */

/* ---- cells ---- */

static void add(char *to, size_t cap, const char *text)
{
	size_t at = strlen(to);

	if (at < cap)
		snprintf(to + at, cap - at, "%s", text);
}

/* A value without parts; what has parts as its name, its port, or nothing. */
static void put_value(const json_t *v, char *to, size_t cap)
{
	char number[32];

	if (json_is_string(v)) {
		add(to, cap, json_string_value(v));
	} else if (json_is_integer(v)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
		add(to, cap, number);
	} else if (json_is_real(v)) {
		snprintf(number, sizeof(number), "%.2f", json_real_value(v));
		add(to, cap, number);
	} else if (json_is_boolean(v)) {
		add(to, cap, json_is_true(v) ? "yes" : "no");
	}
}

static void put_port(const json_t *port, char *to, size_t cap)
{
	if (json_is_string(json_object_get(port, "address"))) {
		put_value(json_object_get(port, "address"), to, cap);
		add(to, cap, ":");
	}
	put_value(json_object_get(port, "host_port"), to, cap);
	add(to, cap, ":");
	put_value(json_object_get(port, "guest_port"), to, cap);
}

static void put_pairs(const json_t *object, char *to, size_t cap)
{
	const char *key;
	bool any = false;
	json_t *v;

	json_object_foreach ((json_t *)object, key, v) {
		add(to, cap, any ? "," : "");
		add(to, cap, key);
		add(to, cap, "=");
		put_value(v, to, cap);
		any = true;
	}
}

static void put_any(const json_t *v, char *to, size_t cap)
{
	if (json_object_get(v, "guest_port"))
		put_port(v, to, cap);
	else if (json_is_object(v))
		put_pairs(v, to, cap);
	else
		put_value(v, to, cap);
}

/* In a list every element is looked at. */
static void put_path(const json_t *v, const char *path, char *to, size_t cap)
{
	size_t i, n = strcspn(path, ".");
	char key[64];
	json_t *one;

	if (json_is_array(v)) {
		json_array_foreach (v, i, one) {
			add(to, cap, i ? ", " : "");
			put_path(one, path, to, cap);
		}
	} else if (!*path) {
		put_any(v, to, cap);
	} else {
		snprintf(key, sizeof(key), "%.*s", (int)n, path);
		if (json_object_get(v, key))
			put_path(json_object_get(v, key), path + n + (path[n] == '.'), to, cap);
	}
}

/* "2026-11-23T…Z" as "3m": how long ago. */
static void as_age(char *text, size_t cap)
{
	static const struct {
		long seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	struct tm tm = {0};

	if (!strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		return;
	long age = (long)(time(NULL) - timegm(&tm));
	unsigned u = 0;
	while (u < 3 && age < units[u].seconds * 2)
		u++;
	snprintf(text, cap, "%ld%c", age < 0 ? 0 : age / units[u].seconds, units[u].unit);
}

void cloud_cell(const json_t *doc, const char *path, char *ret_text, size_t cap)
{
	ret_text[0] = '\0';
	put_path(doc, path + (*path == '@' || *path == '#'), ret_text, cap);
	if (*path == '@')
		as_age(ret_text, cap);
	else if (*path == '#' && cap > SHORT_DIGEST)
		ret_text[SHORT_DIGEST] = '\0';
}

/* ---- lists ---- */

struct columns {
	unsigned n;
	char title[TABLE_COLS][24], path[TABLE_COLS][48];
};

static void parse_columns(const char *text, struct columns *cs)
{
	for (const char *p = text; *p && cs->n < TABLE_COLS; p += *p == ' ') {
		size_t len = strcspn(p, " "), eq = strcspn(p, "=");

		snprintf(cs->title[cs->n], sizeof(cs->title[0]), "%.*s", (int)eq, p);
		snprintf(cs->path[cs->n++], sizeof(cs->path[0]), "%.*s", (int)(len - eq - 1),
			p + eq + 1);
		p += len;
	}
}

static void cells_row(struct table *t, const char *cell[TABLE_COLS])
{
	_Static_assert(TABLE_COLS == 16, "a row's cells");
	table_row(t, cell[0], cell[1], cell[2], cell[3], cell[4], cell[5], cell[6], cell[7],
		cell[8], cell[9], cell[10], cell[11], cell[12], cell[13], cell[14], cell[15]);
}

static int show_rows(struct call *c, const json_t *items, const char *columns)
{
	struct columns cs = {0};
	const char *cell[TABLE_COLS] = {0};
	char text[TABLE_COLS][CELL_MAX];
	size_t i;
	json_t *item;

	parse_columns(columns, &cs);
	struct table t = TABLE_INIT(cs.n);
	for (unsigned k = 0; k < cs.n; k++)
		cell[k] = cs.title[k];
	cells_row(&t, cell);
	json_array_foreach (items, i, item) {
		for (unsigned k = 0; k < cs.n; k++) {
			cloud_cell(item, cs.path[k], text[k], sizeof(text[k]));
			cell[k] = text[k];
		}
		cells_row(&t, cell);
	}
	int r = table_print(&t, c->out);
	table_fini(&t);
	return r;
}

int cloud_show_list(struct call *c, const json_t *answer)
{
	const json_t *items = json_object_get(answer, "items");
	size_t i;
	json_t *item;
	char name[80];

	if (!c->ids)
		return show_rows(c, items, c->verb->columns ? c->verb->columns : "ID=id NAME=name");
	json_array_foreach (items, i, item) {
		cloud_cell(item, json_object_get(item, "name") ? "name" : "id", name, sizeof(name));
		fprintf(c->out, "%s\n", name);
	}
	return 0;
}

/* ---- one object ---- */

static void object_rows(struct table *t, const char *prefix, const json_t *object, unsigned depth)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)object, key, v) {
		char path[120], text[CELL_MAX * 4];

		snprintf(path, sizeof(path), "%s%s", prefix, key);
		if (json_is_object(v) && depth && strcmp(key, "labels")) {
			add(path, sizeof(path), ".");
			object_rows(t, path, v, depth - 1);
			continue;
		}
		cloud_cell(v, "", text, sizeof(text));
		if (*text)
			table_row(t, path, text);
	}
}

int cloud_show_object(struct call *c, const json_t *answer)
{
	struct table t = TABLE_INIT(2);
	int r;

	object_rows(&t, "", answer, 3);
	r = table_print(&t, c->out);
	table_fini(&t);
	return r;
}

/* What was made, in one word. */
int cloud_show_made(struct call *c, const json_t *answer)
{
	char id[80];

	cloud_cell(answer, "id", id, sizeof(id));
	if (*id)
		fprintf(c->out, "%s\n", id);
	return 0;
}

/* ---- why, and why not ---- */

int cloud_show_schedule(struct call *c, const json_t *answer)
{
	char host[80], why[CELL_MAX * 2];
	int r = show_rows(c, json_object_get(answer, "candidates"),
		"HOST=host CHIP=chip FITS=fits SCORE=score WHY=reasons");

	cloud_cell(answer, "host", host, sizeof(host));
	cloud_cell(answer, "reason", why, sizeof(why));
	if (*host)
		fprintf(c->out, "\nwould run on %s\n", host);
	else
		fprintf(c->out, "\nno host fits%s%s\n", *why ? ": " : "", why);
	return r;
}

/* A line for each hop; the first that is not healthy is marked. */
int cloud_show_diagnose(struct call *c, const json_t *answer)
{
	struct table t = TABLE_INIT(4);
	bool marked = false;
	size_t i;
	json_t *hop;

	table_row(&t, "", "HOP", "HEALTHY", "EVIDENCE");
	json_array_foreach (json_object_get(answer, "hops"), i, hop) {
		const json_t *ok = json_object_get(hop, "ok");
		bool first = json_is_false(ok) && !marked;
		char name[40], evidence[CELL_MAX * 2];

		marked |= first;
		cloud_cell(hop, "hop", name, sizeof(name));
		cloud_cell(hop, "evidence", evidence, sizeof(evidence));
		table_row(&t, first ? "!" : "", name,
			json_is_true(ok)    ? "yes"
			: json_is_false(ok) ? "no"
					    : "-",
			evidence);
	}
	int r = table_print(&t, c->out);
	table_fini(&t);
	return r;
}
