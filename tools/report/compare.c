/* SPDX-License-Identifier: Apache-2.0 */
/* See compare.h. Both reports become sorted lists of (path, value), which are then merged like two
 * decks of cards. A list of words becomes one path for each word, so that a feature that one CPU
 * lacks is one line and not two long ones. */
#include "compare.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/base/num.h"

#define ABSENT "-"

struct fact {
	char *path, *value;
	double median; /* of a figure; NAN for anything else */
};

struct facts {
	struct fact *fact;
	size_t n, room;
	bool failed; /* out of memory */
};

static void add(struct facts *f, char *path, char *value, double median)
{
	if (f->n == f->room) {
		size_t room = f->room * 2 + 256;
		struct fact *new = realloc(f->fact, room * sizeof(*new));
		if (new) {
			f->fact = new;
			f->room = room;
		}
	}
	if (f->n == f->room || !path || !value) {
		f->failed = true;
		free(path);
		free(value);
		return;
	}
	f->fact[f->n++] = (struct fact){path, value, median};
}

static void facts_fini(struct facts *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->fact[i].path);
		free(f->fact[i].value);
	}
	free(f->fact);
}

__attribute__((format(printf, 1, 2))) static char *text(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	int r = vasprintf(&s, fmt, ap);
	va_end(ap);
	return r < 0 ? NULL : s;
}

static const char *str(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : "";
}

static bool differs_anyway(const char *path)
{
	static const char *const paths[] = {"made", "seconds", "quick", "counts"};

	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strcmp(path, paths[i]))
			return true;
	return false;
}

static void add_test(struct facts *f, const json_t *t)
{
	const char *reason = str(t, "reason");

	add(f, text("test %s", str(t, "name")),
		text("%s%s%s", str(t, "result"), *reason ? ": " : "", reason), NAN);
}

static void add_figure(struct facts *f, const json_t *m)
{
	double median = json_number_value(json_object_get(m, "median"));

	add(f, text("figure %s (%s)", str(m, "name"), str(m, "test")),
		text("%.0f %s", median, str(m, "unit")), median);
}

static void flatten(struct facts *f, const char *path, const json_t *j)
{
	const char *key;
	json_t *item;
	size_t i;

	if (differs_anyway(path))
		return;
	if (json_is_object(j)) {
		json_object_foreach ((json_t *)j, key, item) {
			char *sub = *path ? text("%s.%s", path, key) : strdup(key);
			if (sub)
				flatten(f, sub, item);
			f->failed |= !sub;
			free(sub);
		}
	} else if (json_is_array(j)) {
		json_array_foreach (j, i, item) {
			if (!strcmp(path, "tests"))
				add_test(f, item);
			else if (!strcmp(path, "metrics"))
				add_figure(f, item);
			else if (json_is_string(item))
				add(f, text("%s: %s", path, json_string_value(item)), strdup("yes"),
					NAN);
		}
	} else if (json_is_string(j)) {
		add(f, strdup(path), strdup(json_string_value(j)), NAN);
	} else if (json_is_number(j)) {
		add(f, strdup(path), text("%.15g", json_number_value(j)), NAN);
	} else {
		add(f, strdup(path), strdup(json_is_true(j) ? "true" : "false"), NAN);
	}
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct fact *)a)->path, ((const struct fact *)b)->path);
}

static bool same(const struct fact *a, const struct fact *b, unsigned tolerance)
{
	if (isnan(a->median) || isnan(b->median))
		return !strcmp(a->value, b->value);
	return fabs(a->median - b->median) <= MIN(a->median, b->median) * tolerance / 100;
}

/* One line in columns, or three when a value is too long for that. */
static void show(FILE *out, const char *path, const struct fact *a, const struct fact *b)
{
	const char *va = a ? a->value : ABSENT, *vb = b ? b->value : ABSENT;

	if (strlen(va) > 28)
		fprintf(out, "%s\n  %s\n  %s", path, va, vb);
	else
		fprintf(out, "%-44s %-28s %s", path, va, vb);
	if (a && b && a->median > 0 && b->median > 0)
		fprintf(out, " (%.2f times)", b->median / a->median);
	fputc('\n', out);
}

static int merge(const struct facts *a, const struct facts *b, unsigned tolerance, FILE *out)
{
	size_t i = 0, k = 0;
	int n = 0;

	while (i < a->n || k < b->n) {
		const struct fact *x = i < a->n ? &a->fact[i] : NULL;
		const struct fact *y = k < b->n ? &b->fact[k] : NULL;
		int order = !x ? 1 : !y ? -1 : by_path(x, y);
		i += order <= 0;
		k += order >= 0;
		if (order == 0 && same(x, y, tolerance))
			continue;
		show(out, order <= 0 ? x->path : y->path, order <= 0 ? x : NULL,
			order >= 0 ? y : NULL);
		n++;
	}
	return n;
}

int compare_reports(const json_t *a, const json_t *b, unsigned tolerance, FILE *out)
{
	struct facts fa = {}, fb = {};
	int n = -ENOMEM;

	flatten(&fa, "", a);
	flatten(&fb, "", b);
	if (!fa.failed && !fb.failed) {
		if (fa.n)
			qsort(fa.fact, fa.n, sizeof(*fa.fact), by_path);
		if (fb.n)
			qsort(fb.fact, fb.n, sizeof(*fb.fact), by_path);
		n = merge(&fa, &fb, tolerance, out);
	}
	facts_fini(&fa);
	facts_fini(&fb);
	return n;
}
