/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/session: the console's address carries a token that is good once; it is exchanged here
 * for one that lasts half a day and is kept by the page alone, so what stays in a browser's history
 * is worth nothing. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "cloud/control/auth.h"
#include "cloud/control/control.h"
#include "cloud/control/resources.h"

#define LIFE_S (12 * 3600)

static const struct field session_fields[] = {
	{"token", F_STR, F_REQUIRED, .min = 1, .max = 128, .help = "a one-time token, or any"},
	{NULL}};
static const struct field session_reply[] = {{"token", F_STR, F_OUTPUT, .help = "the new one"},
	{"role", F_STR, F_OUTPUT, .help = "admin or project"},
	{"project", F_STR, F_OUTPUT | F_NULL, .help = "the project that it is for"},
	{"expires_at", F_STR, F_OUTPUT, .help = "RFC 3339, UTC"}, {NULL}};

static void later(char ret_text[32])
{
	time_t at = time(NULL) + LIFE_S;
	struct tm tm;

	gmtime_r(&at, &tm);
	strftime(ret_text, 32, "%Y-%m-%dT%H:%M:%S.000Z", &tm);
}

/* The old one goes and the new one comes together or not at all. */
static int exchange(struct call *c, struct obj *old, const char *hash, const char *expires)
{
	struct objects *os = c->control->objects;
	struct change change = {.event = "session",
		.text = "a session was opened with this token",
		.actor = c->actor,
		.request_id = c->request_id,
		.expect = STORE_ANY};
	struct change quiet = {.actor = c->actor, .request_id = c->request_id};
	json_t *doc;
	char id[32], name[64], now[32];
	int r;

	obj_new_id(KIND_TOKEN, id);
	obj_now(now);
	snprintf(name, sizeof(name), "session-%.26s", id + 2);
	doc = json_pack("{s:s, s:s, s:O, s:O?, s:s, s:s, s:b, s:b, s:{}, s:s, s:s}", "id", id,
		"name", name, "role", json_object_get(old->doc, "role"), "project",
		json_object_get(old->doc, "project"), "hash", hash, "expires_at", expires, "once",
		0, "session", 1, "labels", "created_at", now, "updated_at", now);
	if (!doc)
		return -ENOMEM;
	r = objects_begin(os);
	if (r < 0) {
		json_decref(doc);
		return r;
	}
	r = obj_put(os, KIND_TOKEN, doc, &quiet, NULL);
	if (r == 0 && json_is_true(json_object_get(old->doc, "once")))
		r = obj_delete(os, old, &change);
	return objects_commit(os) < 0 ? -EIO : r;
}

static void post_session(struct call *c)
{
	const char *given = json_string_value(json_object_get(c->body, "token"));
	struct obj *old = token_find(c->control->objects, given);
	const char *role = old ? json_string_value(json_object_get(old->doc, "role")) : NULL;
	char secret[TOKEN_LEN], hash[65], expires[32];
	json_t *reply;
	int r;

	if (!role || !strcmp(role, "node")) {
		call_problem(c, 401, "token",
			"this token is not known, was used before or has expired; make another: "
			"polyctl token create NAME --role admin --once");
		return;
	}
	reply = json_pack(
		"{s:s, s:O?}", "role", role, "project", json_object_get(old->doc, "project"));
	later(expires);
	r = token_secret(secret);
	token_hash(secret, hash);
	if (r == 0)
		r = exchange(c, old, hash, expires);
	if (r < 0) {
		json_decref(reply);
		call_problem(c, 500, NULL, "the session could not be kept: %s", strerror(-r));
		return;
	}
	tokens_trim(c->control->objects);
	json_object_set_new(reply, "token", json_string(secret));
	json_object_set_new(reply, "expires_at", json_string(expires));
	call_reply(c, 201, reply);
}

const struct route session_routes[] = {
	{"POST", "/v1/session", post_session, ROLE_NONE, session_fields, session_reply,
		"exchanges a token for one that lasts 12 hours"},
};
const unsigned session_nroutes = 1;
