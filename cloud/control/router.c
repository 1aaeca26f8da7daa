/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/router.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALLOW_CAP 128

int router_add(struct router *r, const struct route *rows, unsigned n)
{
	const struct route **row = realloc(r->row, (r->n + n) * sizeof(*row));

	if (!row)
		return n ? -ENOMEM : 0;
	for (unsigned i = 0; i < n; i++)
		row[r->n + i] = &rows[i];
	r->row = row;
	r->n += n;
	return 0;
}

void router_fini(struct router *r)
{
	free(r->row);
	*r = (struct router){0};
}

/* The next segment of a pattern: its length, and *at moves behind it. 0 at the end. */
static size_t segment(const char **at, const char **ret_start)
{
	size_t len;

	while (**at == '/')
		(*at)++;
	*ret_start = *at;
	len = strcspn(*at, "/");
	*at += len;
	return len;
}

static bool is_rest(const char *start, size_t len)
{
	return len > 5 && *start == '{' && !memcmp(start + len - 4, "…}", 4);
}

/* 0: another path. Otherwise the larger, the more of it is literal, and earlier segments first. */
static unsigned match(const char *pattern, const struct uri *u)
{
	const char *at = pattern, *start;
	unsigned rank = 1, i = 0;
	size_t len;

	for (; (len = segment(&at, &start)) > 0; i++) {
		bool open = *start == '{';

		if (is_rest(start, len))
			return i < u->nsegment ? rank : 0;
		if (i == u->nsegment)
			return 0;
		if (!open && (strlen(u->segment[i]) != len || memcmp(u->segment[i], start, len)))
			return 0;
		rank = rank << 1 | !open;
	}
	return i == u->nsegment ? rank : 0;
}

static void allow(char *text, const char *method)
{
	size_t len = strlen(text);

	if (!strstr(text, method))
		snprintf(text + len, ALLOW_CAP - len, "%s%s", len ? ", " : "", method);
}

const struct route *router_find(
	const struct router *r, const char *method, const struct uri *u, char *ret_allow)
{
	const struct route *best = NULL;
	unsigned best_rank = 0;

	if (!strcmp(method, "HEAD"))
		method = "GET";
	*ret_allow = 0;
	for (unsigned i = 0; i < r->n; i++) {
		unsigned rank = match(r->row[i]->path, u);

		if (!rank)
			continue;
		allow(ret_allow, r->row[i]->method);
		if (rank > best_rank && !strcmp(r->row[i]->method, method)) {
			best = r->row[i];
			best_rank = rank;
		}
	}
	return best;
}

void router_params(const struct route *row, const struct uri *u, const char *ret_param[4])
{
	const char *at = row->path, *start;
	unsigned n = 0;
	size_t len;

	for (unsigned i = 0; (len = segment(&at, &start)) > 0 && i < u->nsegment; i++)
		if (*start == '{' && n < 4 && !is_rest(start, len))
			ret_param[n++] = u->segment[i];
}
