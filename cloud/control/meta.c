/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/meta.h"
#include <stdio.h>
#include <string.h>
#include "cloud/control/server_internal.h"
#include "vmm/version.h"

static void get_version(struct call *c)
{
	json_t *doc = json_pack("{s:s, s:s, s:s, s:s}", "name", "polycloud", "version",
		POLYVISOR_VERSION, "api", "v1", "build", POLYVISOR_COMMIT);

	if (server_fingerprint(c->control))
		json_object_set_new(
			doc, "fingerprint", json_string(server_fingerprint(c->control)));
	if (server_url(c->control))
		json_object_set_new(doc, "url", json_string(server_url(c->control)));
	call_reply(c, 200, doc);
}

static void get_whoami(struct call *c)
{
	call_reply(c, 200,
		json_pack("{s:s, s:s, s:s}", "actor", c->actor, "role",
			c->role == ROLE_ADMIN ? "admin" : "project", "project", c->project));
}

static void get_openapi(struct call *c)
{
	json_t *doc = openapi(&c->control->server->router);

	if (doc)
		call_reply(c, 200, doc);
	else
		call_problem(c, 500, NULL, "out of memory");
}

/* ---- the console's files ---- */

/* The page may load and talk to nothing but its own origin, and nobody may frame it. */
#define CSP                                                                                        \
	"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src " \
	"'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

static void send_file(struct call *c, const struct web_file *f)
{
	const char *have = call_header(c, "If-None-Match");
	bool same = have && !strcmp(have, f->etag);
	struct MHD_Response *m = MHD_create_response_from_buffer(
		same ? 0 : f->len, (void *)f->data, MHD_RESPMEM_PERSISTENT);

	if (m) {
		MHD_add_response_header(m, "Content-Type", f->type);
		MHD_add_response_header(m, "ETag", f->etag);
		MHD_add_response_header(m, "Cache-Control", "no-cache");
		MHD_add_response_header(m, "Content-Security-Policy", CSP);
	}
	req_answer(req_of(c), same ? 304 : 200, m);
}

static void send_path(struct call *c, const char *path)
{
	for (const struct web_file *f = web_files; f->path; f++)
		if (!strcmp(f->path, path)) {
			send_file(c, f);
			return;
		}
	call_problem(c, 404, NULL, "the console has no file %s", path);
}

static void get_index(struct call *c)
{
	send_path(c, "index.html");
}

/* Looked up in a table in the program: no path of a request reaches the file system. */
static void get_file(struct call *c)
{
	const struct uri *u = &req_of(c)->uri;
	char path[256] = "";

	for (unsigned i = 1; i < u->nsegment; i++) {
		size_t len = strlen(path);

		snprintf(path + len, sizeof(path) - len, "%s%s", i > 1 ? "/" : "", u->segment[i]);
	}
	send_path(c, *path ? path : "index.html");
}

static const struct field version_fields[] = {{"name", F_STR, F_OUTPUT, .help = "polycloud"},
	{"version", F_STR, F_OUTPUT, .help = "of the daemon"},
	{"api", F_STR, F_OUTPUT, .help = "the first word of the paths"},
	{"build", F_STR, F_OUTPUT, .help = "the commit"},
	{"url", F_STR, F_OUTPUT, .help = "where other hosts reach it"},
	{"fingerprint", F_STR, F_OUTPUT, .help = "SHA-256 of its certificate"}, {NULL}};
static const struct field whoami_fields[] = {
	{"actor", F_STR, F_OUTPUT, .help = "as in the audit log"},
	{"role", F_STR, F_OUTPUT, .help = "admin or project"},
	{"project", F_STR, F_OUTPUT, .help = "that requests act in"}, {NULL}};

const struct route meta_routes[] = {
	{"GET", "/v1/version", get_version, ROLE_PROJECT, .reply = version_fields,
		.summary = "what answers here"},
	{"GET", "/v1/whoami", get_whoami, ROLE_PROJECT, .reply = whoami_fields,
		.summary = "who the token stands for"},
	{"GET", "/v1/openapi.json", get_openapi, ROLE_PROJECT, .summary = "this document"},
	{"GET", "/metrics", metrics_write, ROLE_ADMIN,
		.summary = "counters, as Prometheus' text format has them"},
	{"GET", "/", get_index, ROLE_NONE, .summary = "the web console"},
	{"GET", "/web", get_file, ROLE_NONE, .summary = "the web console"},
	{"GET", "/web/{file…}", get_file, ROLE_NONE, .summary = "a file of the web console"},
};
const unsigned meta_nroutes = sizeof(meta_routes) / sizeof(*meta_routes);
