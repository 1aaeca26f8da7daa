/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens, hosts and backups: what only an administrator does. */
#include <string.h>
#include <time.h>
#include "cloud/control/auth.h"
#include "cloud/control/hosts_do.h"
#include "cloud/control/resources.h"
#include "cloud/control/server.h"

/* ---- tokens ---- */

static void set_text(json_t *doc, const char *key, const char *text)
{
	json_object_set_new(doc, key, text ? json_string(text) : json_null());
}

static void set_expiry(json_t *doc, int64_t seconds)
{
	time_t t = time(NULL) + (time_t)seconds;
	char text[32];
	struct tm tm;

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	set_text(doc, "expires_at", seconds ? text : NULL);
}

/* Which fields a role needs and takes; false after answering. */
static bool token_fits(struct call *c, const char *role)
{
	const char *project = body_text(c, "project");

	if (body_text(c, "host") && strcmp(role, "node")) {
		call_problem(c, 400, "host", "host: only a node's token has one");
	} else if (project && strcmp(role, "project")) {
		call_problem(c, 400, "project", "project: only a project's token has one");
	} else if (project && !obj_find(c->control->objects, KIND_PROJECT, NULL, project)) {
		call_problem(c, 404, "project", "project %s: there is none", project);
	} else if (json_is_true(json_object_get(c->body, "once")) && !strcmp(role, "node")) {
		call_problem(c, 400, "once", "once: a node needs its token again and again");
	} else {
		return true;
	}
	return false;
}

/* The only answer that holds the secret; it is not an object's, so it has no ETag and is nowhere
 * kept. */
static void answer_token(struct call *c, const struct obj *o, const char *secret)
{
	json_t *v = res_view(c, o);
	struct obj shown = *o;

	set_text(v, "token", secret);
	set_text(v, "url", server_url(c->control));
	set_text(v, "fingerprint", server_fingerprint(c->control));
	shown.doc = v;
	call_reply_obj(c, 201, &shown);
	json_decref(v);
}

void token_post(struct call *c)
{
	const char *role = body_text(c, "role"), *project = body_text(c, "project");
	char secret[TOKEN_LEN], hash[65];
	struct obj *o;
	json_t *doc;
	int r;

	if (!token_fits(c, role))
		return;
	tokens_trim(c->control->objects);
	r = token_secret(secret);
	if (r) {
		res_failed(c, r);
		return;
	}
	token_hash(secret, hash);
	doc = res_draft(c, KIND_TOKEN, body_text(c, "name"));
	set_text(doc, "role", role);
	set_text(doc, "project", strcmp(role, "project") ? NULL : project ? project : "default");
	set_text(doc, "host", body_text(c, "host"));
	set_expiry(doc, doc_int(c->body, "expires"));
	json_object_set_new(
		doc, "once", json_boolean(json_is_true(json_object_get(c->body, "once"))));
	set_text(doc, "hash", hash);
	o = res_put(c, KIND_TOKEN, doc, "created", NULL);
	if (o)
		answer_token(c, o, secret);
	explicit_bzero(secret, sizeof(secret));
}

/* ---- hosts ---- */

void host_action(struct call *c)
{
	static const struct {
		const char *name;
		void (*act)(struct call *c, struct obj *host);
	} actions[] = {{"cordon", hosts_cordon}, {"uncordon", hosts_uncordon},
		{"drain", hosts_drain}, {"fence", hosts_fence}};
	struct obj *o = res_named(c);

	if (!o)
		return;
	for (unsigned i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (!strcmp(actions[i].name, c->param[1])) {
			actions[i].act(c, o);
			return;
		}
	}
	call_problem(c, 404, "action", "action: allowed: cordon, uncordon, drain, fence");
}

static struct obj *on_host(struct objects *os, enum kind k, const struct obj *host)
{
	for (struct obj *o = obj_next(os, k, NULL); o; o = obj_next(os, k, o))
		if (!strcmp(doc_text(o->doc, "host_id"), host->id))
			return o;
	return NULL;
}

void host_delete(struct call *c)
{
	struct objects *os = c->control->objects;
	struct obj *o = res_named(c), *user;

	if (!o || !call_if_match(c, o))
		return;
	if (json_is_true(json_object_get(o->doc, "connected"))) {
		call_problem(c, 409, NULL, "host %s: is connected; stop its node first", o->name);
		return;
	}
	user = on_host(os, KIND_INSTANCE, o);
	if (!user)
		user = on_host(os, KIND_VOLUME, o);
	if (user)
		call_problem(c, 409, NULL, "host %s: %s %s is on it", o->name,
			kind_name(user->kind), user->name);
	else
		res_drop(c, o);
}

/* ---- backup ---- */

void backup_post(struct call *c)
{
	const char *path = body_text(c, "path");
	struct err e = {0};

	if (path[0] != '/')
		call_problem(c, 400, "path", "path: allowed: an absolute path on the server");
	else if (store_backup(c->control->store, path, &e))
		call_err(c, &e);
	else
		call_reply(c, 201, json_pack("{s:s}", "path", path));
}
