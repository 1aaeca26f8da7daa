/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/uri.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* jansson's own check, which the answers would meet anyway. */
static bool is_utf8(const char *text)
{
	json_t *s = json_string(text);

	json_decref(s);
	return s;
}

/* In place. plus: "+" is a space, as in forms. */
static int decode(char *s, bool plus)
{
	char *out = s;

	for (char *in = s; *in; in++) {
		int high, low;

		if (*in != '%') {
			*out++ = plus && *in == '+' ? ' ' : *in;
			continue;
		}
		high = hex(in[1]);
		low = high < 0 ? -1 : hex(in[2]);
		if (low < 0 || !(high << 4 | low))
			return -EINVAL;
		*out++ = (char)(high << 4 | low);
		in += 2;
	}
	*out = 0;
	return is_utf8(s) ? 0 : -EINVAL;
}

static int take_query(struct uri *u, char *text)
{
	for (char *next, *at = text; at; at = next) {
		char *value = at + strcspn(at, "&=");

		next = strchr(at, '&');
		if (next)
			*next++ = 0;
		if (!*at)
			continue;
		if (u->nquery == URI_QUERIES)
			return -EINVAL;
		if (*value == '=')
			*value++ = 0;
		if (decode(at, true) < 0 || decode(value, true) < 0)
			return -EINVAL;
		u->query[u->nquery].key = at;
		u->query[u->nquery++].value = value;
	}
	return 0;
}

static int take_path(struct uri *u, char *text)
{
	if (*text++ != '/')
		return -EINVAL;
	for (char *next, *at = text; at && *at; at = next) {
		next = strchr(at, '/');
		if (next)
			*next++ = 0;
		if (u->nsegment == URI_SEGMENTS || decode(at, false) < 0)
			return -EINVAL;
		if (!*at || !strcmp(at, ".") || !strcmp(at, ".."))
			return -EINVAL;
		u->segment[u->nsegment++] = at;
	}
	return 0;
}

int uri_parse(struct uri *u, const char *target)
{
	char *query;
	int r;

	memset(u, 0, sizeof(*u));
	u->text = strdup(target);
	if (!u->text)
		return -ENOMEM;
	query = strchr(u->text, '?');
	if (query)
		*query++ = 0;
	r = take_path(u, u->text);
	return r < 0 ? r : take_query(u, query);
}

void uri_fini(struct uri *u)
{
	free(u->text);
	memset(u, 0, sizeof(*u));
}

const char *uri_query(const struct uri *u, const char *key)
{
	for (unsigned i = 0; i < u->nquery; i++)
		if (!strcmp(u->query[i].key, key))
			return u->query[i].value;
	return NULL;
}
