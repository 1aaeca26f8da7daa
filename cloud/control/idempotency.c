/* SPDX-License-Identifier: Apache-2.0 */
/* Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a POST that is sent again with the
 * key of an earlier one gets that one's answer and does nothing. A row of the store for each, by
 * (who, project, path, key); it is kept for a day, and only where something may have been done: a
 * refusal may be tried again. */
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "cloud/control/server_internal.h"

#define KIND	"idempotency"
#define KEEP_S	86400
#define KEY_MAX 128

static void hash_hex(const void *p, size_t n, char ret[65])
{
	unsigned char digest[32] = {0};

	gnutls_hash_fast(GNUTLS_DIG_SHA256, p, n, digest);
	for (unsigned i = 0; i < 32; i++)
		sprintf(ret + 2 * i, "%02x", digest[i]);
}

static bool in_hand(struct req *r)
{
	for (struct req *other = r->server->reqs; other; other = other->next)
		if (other != r && !other->answered && !strcmp(other->idempotency, r->idempotency))
			return true;
	return false;
}

static int replay(struct req *r, const json_t *row)
{
	json_t *doc = json_object_get(row, "doc");
	struct MHD_Response *m = response_json(json_is_null(doc) ? NULL : doc, "application/json");

	if (m)
		MHD_add_response_header(m, "Idempotency-Replayed", "true");
	r->idempotency[0] = 0;
	req_answer(r, (unsigned)json_integer_value(json_object_get(row, "status")), m);
	return 1;
}

bool idempotency_seen(struct req *r)
{
	const char *key = call_header(&r->call, "Idempotency-Key");
	char text[1024], digest[65], body[65];
	json_t *row = NULL;
	bool fresh, same;

	if (!key || strcmp(r->call.method, "POST"))
		return false;
	if (!*key || strlen(key) > KEY_MAX) {
		call_problem(&r->call, 400, "Idempotency-Key", "allowed: 1 to %d bytes", KEY_MAX);
		return true;
	}
	snprintf(text, sizeof(text), "%s\n%s\n%.500s\n%s", r->who.actor, r->call.project, r->target,
		key);
	hash_hex(text, strlen(text), digest);
	hash_hex(r->body ? r->body : "", r->body_len, body);
	snprintf(r->idempotency, sizeof(r->idempotency), "%s %s", digest, body);
	if (in_hand(r)) {
		r->idempotency[0] = 0;
		call_problem(&r->call, 409, "Idempotency-Key",
			"a request with this key is being worked on");
		return true;
	}
	if (store_get(r->server->control->store, KIND, digest, &row, NULL) < 0)
		return false;
	fresh = json_integer_value(json_object_get(row, "at")) + KEEP_S > time(NULL);
	same = !strcmp(json_string_value(json_object_get(row, "body")) ?: "", body);
	if (fresh && same) {
		replay(r, row);
	} else if (fresh) {
		r->idempotency[0] = 0;
		call_problem(
			&r->call, 422, "Idempotency-Key", "this key was used with another body");
	}
	json_decref(row);
	return fresh;
}

struct sweep {
	char old[32][65];
	unsigned n;
};

static int find_old(void *arg, const char *id, json_t *doc, uint64_t revision)
{
	struct sweep *s = arg;

	(void)revision;
	if (s->n < 32 && json_integer_value(json_object_get(doc, "at")) + KEEP_S <= time(NULL))
		snprintf(s->old[s->n++], 65, "%s", id);
	return 0;
}

/* Once in a while, a few at a time. */
static void sweep(struct store *store)
{
	struct sweep s = {.n = 0};

	store_each(store, KIND, find_old, &s);
	for (unsigned i = 0; i < s.n; i++)
		store_delete(store, KIND, s.old[i], STORE_ANY);
}

void idempotency_keep(struct req *r, unsigned status)
{
	struct store *store = r->server->control->store;
	char digest[65];
	json_t *row, *shown;

	if (status >= 300)
		return;
	/* A secret is shown once: it is not in the database, so not in an answer given again. */
	shown = json_copy(r->doc);
	json_object_del(shown, "token");
	memcpy(digest, r->idempotency, 64);
	digest[64] = 0;
	row = json_pack("{s:I, s:i, s:s, s:o?}", "at", (json_int_t)time(NULL), "status",
		(int)status, "body", r->idempotency + 65, "doc", shown);
	/* A host that loses power may do a POST twice; a kill of ours may not. */
	if (row)
		store_lazy(store);
	if (row)
		store_put(store, KIND, digest, row, STORE_ANY, NULL);
	json_decref(row);
	if (random() % 256 == 0)
		sweep(store);
}
