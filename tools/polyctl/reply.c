/* SPDX-License-Identifier: Apache-2.0 */
/* http_parser calls us for each part; the first trouble is kept in `error` and stops it. An answer
 * 1xx is not the answer (RFC 9110 §15.2). */
#include "tools/polyctl/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int stop(struct reply *r, int error)
{
	r->error = error;
	return 1;
}

/* Names and values may come in pieces. */
static int on_field(http_parser *p, const char *at, size_t n)
{
	struct reply *r = p->data;

	if (r->in_value)
		r->field_len = 0;
	r->in_value = false;
	for (size_t i = 0; i < n && r->field_len < sizeof(r->field); i++)
		r->field[r->field_len++] = at[i];
	return 0;
}

/* A media type's parameters do not matter. */
static int on_value(http_parser *p, const char *at, size_t n)
{
	static const char name[] = "content-type";
	struct reply *r = p->data;
	size_t have = strlen(r->type);

	r->in_value = true;
	if (r->field_len != sizeof(name) - 1 || strncasecmp(r->field, name, r->field_len))
		return 0;
	for (size_t i = 0; i < n && have + 1 < sizeof(r->type); i++) {
		if (at[i] == ';') {
			r->field_len = 0; /* enough of it */
			break;
		}
		r->type[have++] = at[i];
	}
	r->type[have] = '\0';
	return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct reply *r = p->data;

	if (r->take && p->status_code == 200) {
		r->whole = r->take(r->arg, at, n) != 0;
		return r->whole;
	}
	if (n > REPLY_MAX - r->len)
		return stop(r, -EFBIG);
	char *body = realloc(r->body, r->len + n + 1);
	if (!body)
		return stop(r, -ENOMEM);
	memcpy(body + r->len, at, n);
	r->body = body;
	r->len += n;
	body[r->len] = '\0';
	return 0;
}

static int on_complete(http_parser *p)
{
	struct reply *r = p->data;

	if (p->status_code / 100 == 1)
		return 0;
	r->whole = true;
	http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

void reply_init(struct reply *r, int (*take)(void *arg, const char *p, size_t n), void *arg)
{
	*r = (struct reply){.take = take, .arg = arg};
	http_parser_init(&r->parser, HTTP_RESPONSE);
	r->parser.data = r;
}

void reply_fini(struct reply *r)
{
	free(r->body);
	r->body = NULL;
}

int reply_feed(struct reply *r, const char *p, size_t n)
{
	if (!r->whole && !r->error && n)
		http_parser_execute(&r->parser, &settings, p, n);
	if (r->whole)
		return 1;
	if (!r->error && HTTP_PARSER_ERRNO(&r->parser) != HPE_OK)
		r->error = -EPROTO;
	return r->error;
}

int reply_end(struct reply *r)
{
	if (r->whole)
		return 1;
	if (r->error)
		return r->error;
	if (!r->parser.status_code)
		return -ENODATA;
	http_parser_execute(&r->parser, &settings, NULL, 0);
	return r->whole ? 1 : -EPROTO;
}

unsigned reply_status(const struct reply *r)
{
	return r->parser.status_code;
}
