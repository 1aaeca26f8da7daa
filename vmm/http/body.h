/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_HTTP_BODY_H
#define VMM_HTTP_BODY_H

#include <jansson.h>
#include "vmm/base/err.h"

#define HTTP_JSON_DEPTH	 32    /* of nesting in a body */
#define HTTP_JSON_VALUES 65536 /* in a body */

/* The body's object. Bad syntax (with its place), too deep or long, a key twice, invalid UTF-8, no
 * object: -EINVAL. */
int http_body_json(const char *body, size_t len, json_t **ret_object, struct err *e);

#endif
