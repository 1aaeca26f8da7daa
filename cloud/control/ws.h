/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket framing (RFC 6455), the server's end, over wslay: bytes in, bytes out, no descriptor.
 * Messages carry a stream: their borders mean nothing, text and binary are the same. */
#ifndef CLOUD_CONTROL_WS_H
#define CLOUD_CONTROL_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ws;
struct ws_ops {
	/* Bytes of the stream, and bytes for the wire. */
	void (*message)(void *arg, const void *p, size_t n);
	int (*send)(void *arg, const void *p, size_t n); /* 0 or -ENOMEM */
};

int ws_new(const struct ws_ops *ops, void *arg, struct ws **ret_ws);
void ws_free(struct ws *w); /* NULL is fine */
/* Bytes came from the wire. 0; -EPIPE: the client has closed, or broke the protocol; what answers
 * it has been sent. */
int ws_feed(struct ws *w, const void *p, size_t n);
int ws_write(struct ws *w, const void *p, size_t n); /* one binary message; 0 or -ENOMEM */
void ws_close(struct ws *w);			     /* a close frame, 1000 */

/* RFC 6455 §4.2.2: what Sec-WebSocket-Accept says to a key; false: the key is not 16 bytes. */
bool ws_accept(const char *key, char ret_accept[32]);

#endif
