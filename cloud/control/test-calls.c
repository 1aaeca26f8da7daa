/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/test_calls.h"
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/control/auth.h"
#include "cloud/control/hosts_do.h"
#include "cloud/control/server.h"
#include "cloud/image/image.h"
#include "vmm/base/num.h"

struct rig rig;
static char dir[64], path_db[80];
static struct call call;
static char query[256], value[256], params[4][80];
static unsigned status;

static void open_all(void)
{
	struct err e = {0};

	cr_assert_eq(store_open(path_db, &rig.control.store, &e), 0, "%s", e.text);
	cr_assert_eq(objects_new(rig.control.store, &rig.control.objects, &e), 0, "%s", e.text);
	cr_assert_eq(resources_init(&rig.control, &e), 0, "%s", e.text);
}

static void close_all(void)
{
	objects_free(rig.control.objects);
	store_close(rig.control.store);
}

void rig_init(void)
{
	strcpy(dir, "/tmp/calls-XXXXXX");
	cr_assert(mkdtemp(dir));
	setenv("HOME", dir, 1);
	snprintf(path_db, sizeof(path_db), "%s/db", dir);
	rig = (struct rig){.role = ROLE_ADMIN, .project = "default", .if_match = STORE_ANY};
	open_all();
}

void rig_fini(void)
{
	char cmd[96];

	json_decref(rig.answer);
	close_all();
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	cr_expect_eq(system(cmd), 0);
}

void rig_restart(void)
{
	close_all();
	open_all();
}

/* ---- the server's part ---- */

static bool route_fits(const char *pattern, const char *path)
{
	unsigned n = 0;

	while (*pattern && *path) {
		size_t len = strcspn(path, "/");

		if (*pattern == '{') {
			snprintf(params[n], sizeof(params[n]), "%.*s", (int)len, path);
			call.param[n] = params[n];
			n++;
			pattern += strcspn(pattern, "/");
			path += len;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*pattern && !*path;
}

static const struct route *find_route(const char *method, const char *path)
{
	for (unsigned i = 0; i < resources_nroutes; i++)
		if (!strcmp(resources_routes[i].method, method) &&
			route_fits(resources_routes[i].path, path))
			return &resources_routes[i];
	return NULL;
}

static json_t *parse(const char *text)
{
	char copy[16384];

	if (!text)
		return NULL;
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	return json_loads(copy, 0, NULL);
}

static void answered(unsigned code, json_t *doc)
{
	cr_assert_eq(status, 0, "answered twice");
	status = code;
	json_decref(rig.answer);
	rig.answer = doc;
}

unsigned ask(const char *method, const char *path, const char *body)
{
	char plain[256];
	struct err e = {0};

	snprintf(plain, sizeof(plain), "%s", path);
	plain[strcspn(plain, "?")] = '\0';
	snprintf(query, sizeof(query), "%s", strchr(path, '?') ? strchr(path, '?') + 1 : "");
	call = (struct call){.control = &rig.control,
		.method = method,
		.path = plain,
		.role = rig.role,
		.project = rig.project,
		.actor = "test",
		.request_id = "r-1"};
	call.route = find_route(method, plain);
	cr_assert_not_null(call.route, "%s %s", method, path);
	call.body = parse(body);
	cr_assert(!body || call.body, "%s", body);
	status = 0;
	rig.field[0] = rig.text[0] = '\0';
	if (call.route->role == ROLE_ADMIN && rig.role != ROLE_ADMIN)
		answered(403, NULL);
	else if (call.body && fields_check(call.route->body, call.body, call.route->patch,
				      rig.role == ROLE_ADMIN, rig.field, &e))
		call_problem(&call, 400, rig.field, "%s", e.text);
	else
		call.route->handle(&call);
	json_decref(call.body);
	rig.if_match = STORE_ANY;
	cr_assert_neq(status, 0, "%s %s: not answered", method, path);
	return status;
}

const char *call_query(const struct call *c, const char *key)
{
	for (const char *p = query; *p; p += strcspn(p, "&"), p += *p == '&') {
		size_t n = strlen(key);

		if (strncmp(p, key, n) || p[n] != '=')
			continue;
		snprintf(value, sizeof(value), "%.*s", (int)strcspn(p + n + 1, "&"), p + n + 1);
		return value;
	}
	return NULL;
}

const char *call_header(const struct call *c, const char *name)
{
	return NULL;
}

struct obj *call_obj(struct call *c, enum kind k, const char *id_or_name)
{
	struct obj *o = obj_find(
		c->control->objects, k, kind_in_project(k) ? c->project : NULL, id_or_name);

	if (!o)
		call_problem(c, 404, NULL, "%s %s: there is none", kind_name(k), id_or_name);
	return o;
}

uint64_t call_expect(const struct call *c)
{
	return rig.if_match;
}

bool call_if_match(struct call *c, const struct obj *o)
{
	if (rig.if_match == STORE_ANY || rig.if_match == o->revision)
		return true;
	call_problem(c, 412, NULL, "changed");
	return false;
}

void call_reply(struct call *c, unsigned code, json_t *doc)
{
	answered(code, doc);
}

void call_reply_obj(struct call *c, unsigned code, const struct obj *o)
{
	answered(code, json_deep_copy(o->doc));
}

void call_problem(struct call *c, unsigned code, const char *field, const char *fmt, ...)
{
	char at[64];
	va_list ap;

	snprintf(at, sizeof(at), "%s", field ? field : "");
	strcpy(rig.field, at);
	va_start(ap, fmt);
	vsnprintf(rig.text, sizeof(rig.text), fmt, ap);
	va_end(ap);
	cr_expect_null(strchr(rig.text, '\n'));
	answered(code, NULL);
}

void call_err(struct call *c, const struct err *e)
{
	call_problem(c, e->kind == ERR_CONFLICT ? 409 : 500, NULL, "%s", e->text);
}

const char *got(const char *path)
{
	char key[64];
	json_t *at = rig.answer;

	while (*path) {
		size_t n = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)n, path);
		at = json_object_get(at, key);
		path += n + (path[n] == '.');
	}
	return json_is_string(at) ? json_string_value(at) : "";
}

/* ---- the others' parts ---- */

static void did(struct call *c, const char *what, const struct obj *o)
{
	snprintf(rig.did_text, sizeof(rig.did_text), "%s %s", what, o->name);
	rig.did = rig.did_text;
	call_reply(c, 202, NULL);
}

void hosts_cordon(struct call *c, struct obj *host)
{
	did(c, "cordon", host);
}

void hosts_uncordon(struct call *c, struct obj *host)
{
	did(c, "uncordon", host);
}

void hosts_drain(struct call *c, struct obj *host)
{
	did(c, "drain", host);
}

void hosts_fence(struct call *c, struct obj *host)
{
	did(c, "fence", host);
}

void instance_move(struct call *c, struct obj *instance)
{
	did(c, "move", instance);
}

json_t *hosts_allocated(struct control *c, const char *host_id)
{
	return json_pack("{s:i}", "cpus", 0);
}

json_t *hosts_load(struct control *c, const char *host_id)
{
	return json_pack("{s:f, s:i, s:i}", "load", 0.5, "memory_free_mib", 7, "else", 1);
}

json_t *pools_baseline(struct control *c, const char *pool)
{
	return json_object();
}

int image_chips(struct images *im, const char *project, const char *name, unsigned *ret_chips,
	struct err *e)
{
	if (strcmp(name, "tiny"))
		return err_set(e, ERR_NOT_FOUND, -ENOENT, "image %s: there is none", name);
	*ret_chips = 3;
	return 0;
}

int image_resolve(struct images *im, const char *project, const char *name, const char *chip,
	struct image_platform *ret, struct err *e)
{
	if (!strcmp(chip, "riscv64"))
		return err_set(e, ERR_CONFLICT, -ENOENT, "image tiny: has x86_64, arm64");
	*ret = (struct image_platform){.index = "sha256:index"};
	return 0;
}

int token_secret(char ret_secret[TOKEN_LEN])
{
	strcpy(ret_secret, "pv_secret");
	return 0;
}

void token_hash(const char *secret, char ret_hex[65])
{
	strcpy(ret_hex, "hash-of-it");
}

const char *server_url(const struct control *c)
{
	return NULL;
}

const char *server_fingerprint(const struct control *c)
{
	return "f1";
}

struct obj *host_make(const char *name)
{
	struct obj *o = NULL;
	char id[32];

	obj_new_id(KIND_HOST, id);
	cr_assert_eq(obj_put(rig.control.objects, KIND_HOST,
			     json_pack("{s:s, s:s, s:b, s:s}", "id", id, "name", name, "connected",
				     0, "identity_hash", "secret"),
			     NULL, &o),
		0);
	return o;
}
