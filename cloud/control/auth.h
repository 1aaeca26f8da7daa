/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks. On the unix socket the kernel says the peer's uid (SO_PEERCRED): root and the daemon's
 * own user are administrators. Elsewhere, and wherever a request brings one, a bearer token (RFC
 * 6750 §2.1) says it. Of a token only the SHA-256 is kept: it is 256 bits from the kernel's random
 * numbers, so there is nothing to guess and no salt to add. */
#ifndef CLOUD_CONTROL_AUTH_H
#define CLOUD_CONTROL_AUTH_H

#include "cloud/control/route.h"

#define TOKEN_LEN 72 /* "pv_", 64 hexadecimal digits, 0, and room */

/* A new secret. 0 or a negative errno. */
int token_secret(char ret_secret[TOKEN_LEN]);
/* What is kept of it: 64 hexadecimal digits. */
void token_hash(const char *secret, char ret_hex[65]);
/* The token that has this secret and has not expired; NULL: none. */
struct obj *token_find(struct objects *os, const char *secret);

struct peer {
	bool local; /* came over the unix socket, from uid */
	unsigned uid;
	const char *bearer; /* NULL: none was sent */
};

struct identity {
	enum role role; /* ROLE_NONE: nobody */
	char actor[160];
	const char *project; /* a token's, or NULL */
	const char *token;   /* the token's id, or NULL */
	bool once;	     /* only good for POST /v1/sessions' exchange */
};

/* Fills ret whoever it is. The strings are the token's object's. */
void identify(struct objects *os, const struct peer *p, struct identity *ret);
/* Whether that identity may use a row. */
bool role_may(enum role have, enum role need);

/* POST /v1/session: a token, which may be a one-time one, for one that lasts 12 hours. */
extern const struct route session_routes[];
extern const unsigned session_nroutes;

#endif
