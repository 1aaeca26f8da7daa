/* SPDX-License-Identifier: Apache-2.0 */
/* Which row a request is for. Rows are compared segment by segment; a literal segment goes before
 * "{…}", so that the order of the tables does not matter. */
#ifndef CLOUD_CONTROL_ROUTER_H
#define CLOUD_CONTROL_ROUTER_H

#include "cloud/control/route.h"
#include "cloud/control/uri.h"

struct router {
	const struct route **row; /* all tables, in their order */
	unsigned n;
};

/* Adds n rows, borrowed. 0 or -ENOMEM. */
int router_add(struct router *r, const struct route *rows, unsigned n);
void router_fini(struct router *r);

/* HEAD is served by GET's row (RFC 9110 §9.3.2). NULL: ret_allow (at least 128 bytes) is "" when no
 * row has that path, else the methods that have it, as the header Allow lists them. */
const struct route *router_find(
	const struct router *r, const char *method, const struct uri *u, char *ret_allow);
/* What stood at the row's "{…}"; "{name…}" at the end takes all that is left and is not told. */
void router_params(const struct route *row, const struct uri *u, const char *ret_param[4]);

#endif
