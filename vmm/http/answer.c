/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/http/answer.h"

#include <stdlib.h>
#include <string.h>
#include "vmm/base/cleanup.h"

#define JSON_TYPE "application/json"

unsigned http_status_of(const struct err *e)
{
	switch (e->kind) {
	case ERR_USAGE:
		return 400;
	case ERR_NOT_FOUND:
		return 404;
	case ERR_CONFLICT:
		return 409;
	case ERR_UNOFFERED:
		return 501;
	case ERR_NONE:
	case ERR_HOST:
		break;
	}
	return 500;
}

/* Text that a client sent may be in it. */
void http_answer_error(struct http_req *r, unsigned status, const char *header, const char *text)
{
	char copy[sizeof(((struct err *)0)->text)];
	json_t *o = json_pack("[s]", text);
	cleanup_free char *body = NULL;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *p = copy; !o && *p; p++)
		*p = *p & 0x80 ? '?' : *p;
	if (!o)
		o = json_pack("[s]", copy);
	body = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	http_reply_header(r, status, header, JSON_TYPE, body, body ? strlen(body) : 0);
}

void http_answer_err(struct http_req *r, struct err *e, int code)
{
	if (e->kind == ERR_NONE)
		err_set(e, ERR_HOST, code, "%s", strerrordesc_np(-code));
	http_answer_error(r, http_status_of(e), NULL, e->text);
}

void http_answer_json(struct http_req *r, json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	if (text)
		http_reply(r, 200, JSON_TYPE, text, strlen(text));
	else
		http_answer_error(r, 500, NULL, "out of memory");
	free(text);
}

void http_answer_text(struct http_req *r, const char *type, char *text, size_t len)
{
	if (text)
		http_reply(r, 200, type, text, len);
	else
		http_answer_error(r, 500, NULL, "out of memory");
	free(text);
}
