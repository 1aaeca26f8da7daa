/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/nodes/connect: who may become a node. Everything that can be wrong is said before the
 * 101, so that the node can tell it in one line. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/nodes_internal.h"

static bool name_ok(const char *s)
{
	size_t n = s ? strlen(s) : 0;

	if (n < 1 || n > 63 || s[0] == '-' || s[n - 1] == '-')
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

/* "1.2.3" as 1 * 1000 + 2, negative when it is none. */
static long version_of(const char *text)
{
	char *end;
	long major = text ? strtol(text, &end, 10) : -1, minor;

	if (!text || end == text || *end != '.' || !isdigit((unsigned char)end[1]))
		return -1;
	minor = strtol(end + 1, NULL, 10);
	return major < 0 || major > 10000 || minor > 999 ? -1 : major * 1000 + minor;
}

static bool check_version(struct call *c, const char *name)
{
	const char *upgrade = call_header(c, "Upgrade"), *version = call_query(c, "version");

	if (!upgrade || strcasecmp(upgrade, NODE_UPGRADE) != 0) {
		call_problem(c, 426, NULL,
			"a node asks with Upgrade: %s; this one asked with %.40s: install the "
			"polycloud of this control plane (%s) there",
			NODE_UPGRADE, upgrade ? upgrade : "none", POLYVISOR_VERSION);
		return false;
	}
	if (version_of(version) < version_of(NODE_LEAST)) {
		call_problem(c, 426, "version",
			"node %s runs polycloud %.40s; this control plane (%s) takes %s and later: "
			"update it",
			name, version ? version : "of no version", POLYVISOR_VERSION, NODE_LEAST);
		return false;
	}
	return true;
}

/* A token may be bound to one host's name. */
static bool check_token(struct call *c, const char *name)
{
	struct obj *token;
	const char *host;

	if (c->role != ROLE_NODE && c->role != ROLE_ADMIN) {
		call_problem(c, 403, NULL, "a node's token is needed: role node");
		return false;
	}
	token = c->token_id ? obj_get(c->control->objects, KIND_TOKEN, c->token_id) : NULL;
	host = token ? json_string_value(json_object_get(token->doc, "host")) : NULL;
	if (host && strcmp(host, name) != 0) {
		call_problem(c, 403, "name", "this token is for host %s, not for %s", host, name);
		return false;
	}
	return true;
}

static bool check_identity(struct call *c, const char *name, char ret[DIGEST_LEN])
{
	const char *identity = call_header(c, "X-Polycloud-Identity");
	struct err e = {0};

	if (!identity || strlen(identity) < 32 || strlen(identity) > 128) {
		call_problem(c, 400, NULL, "X-Polycloud-Identity: 32 to 128 characters are needed");
		return false;
	}
	if (digest_bytes(identity, strlen(identity), ret) < 0) {
		call_problem(c, 500, NULL, "no memory");
		return false;
	}
	if (node_may_be(c->control->nodes, name, ret, &e) < 0) {
		call_problem(c, 409, "name", "%s", e.text);
		return false;
	}
	return true;
}

static void connect_node(struct call *c)
{
	struct nodes *all = c->control->nodes;
	const char *asked = call_query(c, "name");
	char name[64], identity[DIGEST_LEN];
	struct node_conn *before;
	struct link_wire *w;

	if (!name_ok(asked)) {
		call_problem(c, 400, "name",
			"name: 1 to 63 of a-z, 0-9 and -, not at either end, are needed");
		return;
	}
	strcpy(name, asked); /* c is given back below */
	if (!check_token(c, name) || !check_version(c, name) || !check_identity(c, name, identity))
		return;
	w = call_upgrade_wire(c, NODE_UPGRADE);
	if (!w)
		return;
	/* The same node again: it was started anew, or its old connection died silently. */
	before = nodes_by_name(all, name);
	if (before)
		node_conn_drop(before, "the node has connected anew");
	if (node_conn_new(all, w, name, identity) < 0)
		log_line(all->c->log, LOG_ERROR, "nodes", "node %s: no memory", name);
}

const struct route nodes_routes[] = {
	{.method = "POST",
		.path = "/v1/nodes/connect",
		.handle = connect_node,
		.role = ROLE_NODE,
		.summary = "a node's connection (Upgrade: " NODE_UPGRADE ")",
		.action = true},
};
const unsigned nodes_nroutes = sizeof(nodes_routes) / sizeof(nodes_routes[0]);
