/* SPDX-License-Identifier: Apache-2.0 */
/* What the dialler's files share. */
#ifndef CLOUD_NODE_DIAL_INTERNAL_H
#define CLOUD_NODE_DIAL_INTERNAL_H

#include <netdb.h>
#include <sys/socket.h>
#include "cloud/node/dial.h"

/* Where to, and with what: the token file, with --control's URL if that was given. */
struct dial_target {
	char url[300]; /* as given, for messages */
	char host[256], port[8];
	char unix_path[108]; /* instead of host and port */
	char token[256];
	char fingerprint[80]; /* "" none */
};
/* dial_target.c. Both fill ret only on success; e names the file and the field. */
int dial_target_read(
	const char *token_file, const char *url, struct dial_target *ret, struct err *e);
int dial_url_parse(const char *url, struct dial_target *ret, struct err *e);
/* The node's secret, 64 hex digits, kept in DATA/identity (0600), made if absent. */
int dial_identity(const char *data, char ret[65], struct err *e);

/* dial_answer.c: the answer to the request to be upgraded, as it comes. */
struct dial_answer;
int dial_answer_new(struct dial_answer **ret);
void dial_answer_free(struct dial_answer *a);
/* n bytes came, 0: the other end closed. 1: the answer is whole; 0: more is needed; negative: it is
 * no HTTP or too long. */
int dial_answer_feed(struct dial_answer *a, const void *p, size_t n);
unsigned dial_answer_status(const struct dial_answer *a);
/* "detail" of a problem document, else what there is of text; cleaned of control characters. */
void dial_answer_text(const struct dial_answer *a, char *ret, size_t size);
/* After 101: what followed the headers. */
const char *dial_answer_rest(const struct dial_answer *a, size_t *ret_len);

/* dial_resolve.c: the addresses of a name. done is called on the loop, once, with a list that is
 * then its own (freeaddrinfo) or with an error; r is gone then. */
struct resolve;
int resolve_start(struct ev_loop *loop, const char *host, const char *port,
	void (*done)(void *arg, struct addrinfo *list, const char *error), void *arg,
	struct resolve **ret);
void resolve_cancel(struct resolve *r); /* instead of done; may wait for the lookup. NULL is fine */

#endif
