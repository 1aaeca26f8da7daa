/* SPDX-License-Identifier: Apache-2.0 */
/* Answers in JSON. An error is an array of one string, as cloud-hypervisor's v1 has it. Each gives
 * the request back. Loop thread. */
#ifndef VMM_HTTP_ANSWER_H
#define VMM_HTTP_ANSWER_H

#include <jansson.h>
#include "vmm/base/err.h"
#include "vmm/http/http.h"

/* 400, 404, 409, 500 or 501. */
unsigned http_status_of(const struct err *e);
/* header is one more header line ("Allow: GET") or NULL. text need not be UTF-8. */
void http_answer_error(struct http_req *r, unsigned status, const char *header, const char *text);
/* e, or where nobody filled it the errno behind code, which is negative. */
void http_answer_err(struct http_req *r, struct err *e, int code);
/* 200. o is taken; NULL: there was no memory for it. */
void http_answer_json(struct http_req *r, json_t *o);
/* 200. text is taken; NULL likewise. */
void http_answer_text(struct http_req *r, const char *type, char *text, size_t len);

#endif
