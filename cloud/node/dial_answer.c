/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/node/dial_internal.h"

#include <ctype.h>
#include <http_parser.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (64u << 10)

struct dial_answer {
	http_parser parser;
	bool whole;
	char body[4096]; /* its begin */
	size_t body_len, total;
	char rest[ANSWER_MAX];
	size_t rest_len;
};

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct dial_answer *a = p->data;
	size_t room = sizeof(a->body) - 1 - a->body_len;

	n = n < room ? n : room;
	memcpy(a->body + a->body_len, at, n);
	a->body_len += n;
	return 0;
}

static int on_complete(http_parser *p)
{
	((struct dial_answer *)p->data)->whole = true;
	return 0;
}

int dial_answer_new(struct dial_answer **ret)
{
	struct dial_answer *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	http_parser_init(&a->parser, HTTP_RESPONSE);
	a->parser.data = a;
	*ret = a;
	return 0;
}

void dial_answer_free(struct dial_answer *a)
{
	free(a);
}

int dial_answer_feed(struct dial_answer *a, const void *p, size_t n)
{
	static const http_parser_settings settings = {
		.on_body = on_body, .on_message_complete = on_complete};
	size_t used;

	a->total += n;
	if (a->total > ANSWER_MAX)
		return -EMSGSIZE;
	used = http_parser_execute(&a->parser, &settings, p, n);
	if (a->parser.upgrade) {
		a->rest_len = n - used;
		memcpy(a->rest, (const char *)p + used, a->rest_len);
		return 1;
	}
	if (a->whole)
		return 1;
	return used != n || n == 0 ? -EPROTO : 0;
}

unsigned dial_answer_status(const struct dial_answer *a)
{
	return a->parser.status_code;
}

const char *dial_answer_rest(const struct dial_answer *a, size_t *ret_len)
{
	*ret_len = a->rest_len;
	return a->rest;
}

void dial_answer_text(const struct dial_answer *a, char *ret, size_t size)
{
	json_t *doc = json_loadb(a->body, a->body_len, 0, NULL);
	const char *text = json_string_value(json_object_get(doc, "detail"));

	if (!text)
		text = json_string_value(json_object_get(doc, "title"));
	if (!text)
		text = a->body_len ? a->body : "it says no more";
	strncpy(ret, text, size - 1);
	ret[size - 1] = '\0';
	for (; *ret; ret++)
		if (iscntrl((unsigned char)*ret))
			*ret = ' ';
	json_decref(doc);
}
