/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/http/path.h"

#include <string.h>

#define ID "{id}"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The segment at p; where it ends, or NULL. */
static const char *take_id(const char *p, char id[32])
{
	size_t n = 0;

	for (; *p && *p != '/'; p++) {
		char c = *p;
		if (c == '%') {
			int hi = hex(p[1]), lo = hi < 0 ? -1 : hex(p[2]);
			if (lo < 0)
				return NULL;
			c = (char)(hi << 4 | lo);
			p += 2;
		}
		if (!c || n == 31)
			return NULL;
		id[n++] = c;
	}
	id[n] = '\0';
	return n > 0 ? p : NULL;
}

bool http_path_matches(const char *pattern, const char *path, char id[32])
{
	const char *brace = strchr(pattern, '{');
	size_t n = brace ? (size_t)(brace - pattern) : 0;
	const char *rest;

	if (!brace)
		return !strcmp(pattern, path);
	if (strncmp(pattern, path, n))
		return false;
	rest = take_id(path + n, id);
	return rest && !strcmp(rest, brace + strlen(ID));
}
