/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/polyctl/sse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int append(char **text, size_t *len, const char *p, size_t n)
{
	char *more;

	if (n > SSE_MAX - *len)
		n = SSE_MAX - *len;
	more = realloc(*text, *len + n + 1);
	if (!more)
		return -ENOMEM;
	memcpy(more + *len, p, n);
	*text = more;
	*len += n;
	more[*len] = '\0';
	return 0;
}

/* A line without its end. Only "data" matters to us; a line that begins with ':' is a comment. */
static int take_line(struct sse *s)
{
	const char *v = s->line ? s->line : "";

	if (strncmp(v, "data", 4) || (v[4] && v[4] != ':'))
		return 0;
	v += v[4] ? 5 : 4;
	v += *v == ' ';
	if (s->any && append(&s->data, &s->data_len, "\n", 1) < 0)
		return -ENOMEM;
	s->any = true;
	return append(&s->data, &s->data_len, v, strlen(v));
}

/* The end of a line; an empty one ends the event. */
static int end_line(struct sse *s, int (*event)(void *arg, const char *data), void *arg)
{
	int r = 0;

	if (s->line_len) {
		r = take_line(s);
	} else if (s->any) {
		s->stopped = event(arg, s->data) != 0;
		r = s->stopped;
		s->any = false;
		s->data_len = 0;
	}
	s->line_len = 0;
	return r;
}

int sse_feed(struct sse *s, const char *p, size_t n, int (*event)(void *arg, const char *data),
	void *arg)
{
	int r = 0;

	while (n && r == 0) {
		size_t len = 0;

		if (s->after_cr && *p == '\n') {
			p++, n--;
			s->after_cr = false;
			continue;
		}
		s->after_cr = false;
		while (len < n && p[len] != '\r' && p[len] != '\n')
			len++;
		r = len ? append(&s->line, &s->line_len, p, len) : 0;
		if (r == 0 && len < n) {
			s->after_cr = p[len] == '\r';
			r = end_line(s, event, arg);
			len++;
		}
		p += len;
		n -= len;
	}
	return r;
}

void sse_fini(struct sse *s)
{
	free(s->line);
	free(s->data);
	s->line = s->data = NULL;
}
