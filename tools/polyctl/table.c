/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/polyctl/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static char *clean_copy(const char *s)
{
	char *copy = strdup(s ? s : "");

	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return copy;
}

void table_row(struct table *t, ...)
{
	char **cell = realloc(t->cell, sizeof(*cell) * (t->rows + 1) * t->cols);
	bool all = cell != NULL;
	va_list ap;

	if (!cell) {
		t->error = -ENOMEM;
		return;
	}
	t->cell = cell;
	cell += t->rows++ * t->cols;
	va_start(ap, t);
	for (unsigned i = 0; i < t->cols; i++)
		all &= (cell[i] = clean_copy(va_arg(ap, const char *))) != NULL;
	va_end(ap);
	if (!all)
		t->error = -ENOMEM;
}

/* Characters, not bytes: continuation bytes of UTF-8 take no room. */
static unsigned width(const char *s)
{
	unsigned n = 0;

	for (; s && *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void print_row(const struct table *t, char *const *cell, const unsigned *w, FILE *out)
{
	unsigned last = t->cols;

	while (last && (!cell[last - 1] || !cell[last - 1][0]))
		last--;
	for (unsigned i = 0; i < last; i++) {
		int pad = (int)(w[i] - width(cell[i]));
		bool right = t->right >> i & 1;

		fprintf(out, "%s%*s%s", i ? "  " : "", right ? pad : 0, "", cell[i] ? cell[i] : "");
		if (!right && i + 1 < last)
			fprintf(out, "%*s", pad, "");
	}
	putc('\n', out);
}

int table_print(const struct table *t, FILE *out)
{
	unsigned w[TABLE_COLS] = {0};

	for (unsigned i = 0; i < t->rows * t->cols; i++) {
		unsigned n = width(t->cell[i]);
		if (n > w[i % t->cols])
			w[i % t->cols] = n;
	}
	for (unsigned i = 0; i < t->rows; i++)
		print_row(t, t->cell + i * t->cols, w, out);
	return t->error;
}

void table_fini(struct table *t)
{
	for (unsigned i = 0; i < t->rows * t->cols; i++)
		free(t->cell[i]);
	free(t->cell);
	t->cell = NULL;
	t->rows = 0;
}
