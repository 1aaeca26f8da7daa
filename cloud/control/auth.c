/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/auth.h"
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static void hex(char *to, const unsigned char *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sprintf(to + 2 * i, "%02x", from[i]);
}

int token_secret(char ret_secret[TOKEN_LEN])
{
	unsigned char random[32];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	memcpy(ret_secret, "pv_", 3);
	hex(ret_secret + 3, random, sizeof(random));
	return 0;
}

void token_hash(const char *secret, char ret_hex[65])
{
	unsigned char digest[32] = {0};

	gnutls_hash_fast(GNUTLS_DIG_SHA256, secret, strlen(secret), digest);
	hex(ret_hex, digest, sizeof(digest));
}

/* RFC 3339 UTC sorts as text. */
static bool expired(const json_t *doc)
{
	const char *at = json_string_value(json_object_get(doc, "expires_at"));
	char now[32];

	obj_now(now);
	return at && strcmp(at, now) <= 0;
}

struct obj *token_find(struct objects *os, const char *secret)
{
	char want[65];

	token_hash(secret, want);
	for (struct obj *o = NULL; (o = obj_next(os, KIND_TOKEN, o));) {
		const char *have = json_string_value(json_object_get(o->doc, "hash"));

		/* Comparing digests leaks nothing of use: who can choose them cannot find secrets.
		 */
		if (have && !strcmp(have, want))
			return expired(o->doc) ? NULL : o;
	}
	return NULL;
}

static enum role role_of(const char *name)
{
	if (name && !strcmp(name, "admin"))
		return ROLE_ADMIN;
	if (name && !strcmp(name, "project"))
		return ROLE_PROJECT;
	return name && !strcmp(name, "node") ? ROLE_NODE : ROLE_NONE;
}

static void by_token(struct objects *os, const char *bearer, struct identity *ret)
{
	struct obj *o = token_find(os, bearer);
	const char *host;

	if (!o)
		return;
	host = json_string_value(json_object_get(o->doc, "host"));
	ret->role = role_of(json_string_value(json_object_get(o->doc, "role")));
	ret->project = json_string_value(json_object_get(o->doc, "project"));
	ret->token = o->id;
	ret->once = json_is_true(json_object_get(o->doc, "once"));
	if (ret->role == ROLE_NODE)
		snprintf(ret->actor, sizeof(ret->actor), "node:%s", host ? host : o->name);
	else
		snprintf(ret->actor, sizeof(ret->actor), "token:%s", o->name);
}

void identify(struct objects *os, const struct peer *p, struct identity *ret)
{
	*ret = (struct identity){.role = ROLE_NONE, .actor = "nobody"};
	if (p->bearer) {
		by_token(os, p->bearer, ret);
	} else if (p->local && (p->uid == 0 || p->uid == geteuid())) {
		ret->role = ROLE_ADMIN;
		snprintf(ret->actor, sizeof(ret->actor), "local:%u", p->uid);
	}
}

bool role_may(enum role have, enum role need)
{
	switch (need) {
	case ROLE_NONE:
		return true;
	case ROLE_PROJECT:
		return have == ROLE_PROJECT || have == ROLE_ADMIN;
	case ROLE_ADMIN:
	case ROLE_NODE:
		break;
	}
	return have == need;
}
