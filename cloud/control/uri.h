/* SPDX-License-Identifier: Apache-2.0 */
/* A request's target (RFC 9112 §3.2.1) taken apart: path segments and query, percent-decoded (RFC
 * 3986 §2.1). What decodes to a NUL or is not UTF-8 is refused, and so are the segments "." and
 * "..": nothing of a path ever reaches the file system, but neither should it look as if. */
#ifndef CLOUD_CONTROL_URI_H
#define CLOUD_CONTROL_URI_H

#include <stdbool.h>
#include <stddef.h>

#define URI_SEGMENTS 12
#define URI_QUERIES  32

struct uri {
	char *text; /* holds everything below */
	unsigned nsegment, nquery;
	char *segment[URI_SEGMENTS];
	struct {
		char *key, *value;
	} query[URI_QUERIES];
};

/* 0; -EINVAL: not a target that is taken; -ENOMEM. */
int uri_parse(struct uri *u, const char *target);
void uri_fini(struct uri *u); /* a zeroed one is fine */
const char *uri_query(const struct uri *u, const char *key);

#endif
