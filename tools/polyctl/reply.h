/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP/1.1 answer (RFC 9112 §4), from bytes as they come. The body is collected, or handed on
 * piece by piece where the answer is a stream. Knows no sockets. */
#ifndef TOOLS_POLYCTL_REPLY_H
#define TOOLS_POLYCTL_REPLY_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>

#define REPLY_MAX (64u << 20) /* bytes of a collected body; an API's answers are far smaller */

struct reply {
	http_parser parser;
	char type[64]; /* media type, "" when none was named */
	char *body;    /* collected: len bytes and a NUL, or NULL; reply_fini() frees it */
	size_t len;
	bool whole;

	/* Takes the body of a 200 answer as it comes, instead of its being collected. Not 0: that
	 * is enough, reply_feed() says 1. May be NULL. */
	int (*take)(void *arg, const char *p, size_t n);
	void *arg;

	/* internal */
	int error;
	char field[16]; /* name of the header, as far as it matters */
	size_t field_len;
	bool in_value;
};

void reply_init(struct reply *r, int (*take)(void *arg, const char *p, size_t n), void *arg);
void reply_fini(struct reply *r);
/* 1: the answer is whole; 0: more is needed; -EPROTO: this is no HTTP answer; -EFBIG: a body of
 * more than REPLY_MAX bytes; -ENOMEM. What follows a whole answer is left alone. */
int reply_feed(struct reply *r, const char *p, size_t n);
/* The connection has ended. 1: the answer is whole (its end was the connection's); -ENODATA: there
 * was none; -EPROTO: only half of one. */
int reply_end(struct reply *r);
unsigned reply_status(const struct reply *r);

#endif
