/* SPDX-License-Identifier: Apache-2.0 */
/* See series.h. A metric is known by its name and the test that measured it: the same driver code
 * runs over PCI and over MMIO, and those are two figures. */
#include "series.h"

#include <stdlib.h>
#include <string.h>

static struct series *find(struct series_set *s, const char *test, const struct guest_metric *m)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!strcmp(s->series[i].name, m->name) && !strcmp(s->series[i].test, test))
			return &s->series[i];
	if (s->n == SERIES_MAX)
		return NULL;
	struct series *new = &s->series[s->n++];
	*new = (struct series){0};
	strcpy(new->name, m->name);
	strcpy(new->unit, m->unit);
	strncpy(new->test, test, sizeof(new->test) - 1);
	return new;
}

void series_add(struct series_set *s, const char *test, const struct guest_out *o)
{
	for (unsigned i = 0; i < o->nmetrics; i++) {
		struct series *to = find(s, test, &o->metric[i]);
		if (to && to->n < SERIES_RUNS)
			to->sample[to->n++] = o->metric[i].value;
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

double median(uint64_t *sample, unsigned n)
{
	qsort(sample, n, sizeof(*sample), by_value);
	if (n % 2)
		return (double)sample[n / 2];
	return ((double)sample[n / 2 - 1] + (double)sample[n / 2]) / 2;
}

static int by_name(const void *a, const void *b)
{
	const struct series *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r ? r : strcmp(x->test, y->test);
}

json_t *series_json(struct series_set *s)
{
	json_t *list = json_array();

	qsort(s->series, s->n, sizeof(s->series[0]), by_name);
	for (unsigned i = 0; i < s->n; i++) {
		struct series *m = &s->series[i];
		double mid = median(m->sample, m->n);
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:f, s:I, s:I, s:i}", "name", m->name,
				      "test", m->test, "unit", m->unit, "median", mid, "min",
				      (json_int_t)m->sample[0], "max",
				      (json_int_t)m->sample[m->n - 1], "runs", (int)m->n));
	}
	return list;
}
