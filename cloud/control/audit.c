/* SPDX-License-Identifier: Apache-2.0 */
/* Who did what: every request that may change something, and reads of consoles and tunnels. Also
 * those that were refused, except for want of a known token, which anybody could send. */
#include <stdlib.h>
#include <string.h>
#include "cloud/control/meta.h"
#include "cloud/control/server_internal.h"

void audit(struct req *r, unsigned status)
{
	const struct route *row = r->call.route;
	const char *method = r->call.method;
	char at[32];
	json_t *doc;

	if (!method || r->who.role == ROLE_NONE)
		return;
	if ((!strcmp(method, "GET") || !strcmp(method, "HEAD")) && !(row && row->action))
		return;
	obj_now(at);
	doc = json_pack("{s:s, s:s, s:s, s:s, s:s*, s:i, s:s}", "time", at, "actor", r->who.actor,
		"method", method, "path", r->target, "project", r->call.project, "status",
		(int)status, "request_id", r->id);
	if (doc)
		store_audit(r->server->control->store, doc);
	json_decref(doc);
}

struct listing {
	json_t *items;
	uint64_t last;
};

static int each(void *arg, uint64_t seq, json_t *row)
{
	struct listing *l = arg;
	json_t *copy = json_copy(row);

	json_object_set_new(copy, "seq", json_integer((json_int_t)seq));
	json_array_append_new(l->items, copy);
	l->last = seq;
	return 0;
}

/* ?limit=, and ?page= as the previous answer's next. Newest first. */
static void get_audit(struct call *c)
{
	const char *limit = call_query(c, "limit"), *page = call_query(c, "page");
	unsigned long n = limit ? strtoul(limit, NULL, 10) : 100;
	struct listing l = {json_array(), 0};
	json_t *next = json_null();
	int r;

	if (n < 1 || n > 1000) {
		json_decref(l.items);
		call_problem(c, 400, "limit", "limit: %s; allowed: 1 to 1000", limit);
		return;
	}
	r = store_audit_each(
		c->control->store, page ? strtoull(page, NULL, 10) : 0, (unsigned)n, each, &l);
	if (r < 0) {
		json_decref(l.items);
		call_problem(c, 500, NULL, "the audit log cannot be read: %s", strerror(-r));
		return;
	}
	if (json_array_size(l.items) == n)
		next = json_sprintf("%llu", (unsigned long long)l.last);
	call_reply(c, 200, json_pack("{s:o, s:o}", "items", l.items, "next", next));
}

static const struct field row_fields[] = {{"seq", F_INT, F_OUTPUT, .help = "number, growing"},
	{"time", F_STR, F_OUTPUT, .help = "RFC 3339, UTC"},
	{"actor", F_STR, F_OUTPUT, .help = "token:NAME, local:UID or node:NAME"},
	{"method", F_STR, F_OUTPUT, .help = "of the request"},
	{"path", F_STR, F_OUTPUT, .help = "of the request"},
	{"project", F_STR, F_OUTPUT, .help = "in which it was made"},
	{"status", F_INT, F_OUTPUT, .help = "of the answer"},
	{"request_id", F_STR, F_OUTPUT, .help = "the same as in the logs"}, {NULL}};

const struct route audit_routes[] = {
	{"GET", "/v1/audit", get_audit, ROLE_ADMIN, .reply = row_fields, .list = true,
		.summary = "who did what, newest first"},
};
const unsigned audit_nroutes = 1;
