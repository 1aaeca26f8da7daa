/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/control/ws.h"
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#define MESSAGE_MAX (256u << 10)

struct ws {
	wslay_event_context_ptr ctx;
	const struct ws_ops *ops;
	void *arg;
	const char *in; /* while feeding */
	size_t in_len;
};

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t cap, int flags, void *arg)
{
	struct ws *w = arg;
	size_t n = w->in_len < cap ? w->in_len : cap;

	(void)flags;
	if (!n) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	memcpy(buf, w->in, n);
	w->in += n;
	w->in_len -= n;
	return (ssize_t)n;
}

static ssize_t on_send(
	wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags, void *arg)
{
	struct ws *w = arg;

	(void)flags;
	if (w->ops->send(w->arg, data, len) == 0)
		return (ssize_t)len;
	wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static void on_message(
	wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *arg)
{
	struct ws *w = arg;

	(void)ctx;
	if (!wslay_is_ctrl_frame(m->opcode) && m->msg_length)
		w->ops->message(w->arg, m->msg, m->msg_length);
}

int ws_new(const struct ws_ops *ops, void *arg, struct ws **ret_ws)
{
	static const struct wslay_event_callbacks callbacks = {.recv_callback = on_recv,
		.send_callback = on_send,
		.on_msg_recv_callback = on_message};
	struct ws *w = calloc(1, sizeof(*w));

	if (!w || wslay_event_context_server_init(&w->ctx, &callbacks, w) < 0) {
		free(w);
		return -ENOMEM;
	}
	wslay_event_config_set_max_recv_msg_length(w->ctx, MESSAGE_MAX);
	w->ops = ops;
	w->arg = arg;
	*ret_ws = w;
	return 0;
}

void ws_free(struct ws *w)
{
	if (!w)
		return;
	wslay_event_context_free(w->ctx);
	free(w);
}

int ws_feed(struct ws *w, const void *p, size_t n)
{
	int r;

	w->in = p;
	w->in_len = n;
	r = wslay_event_recv(w->ctx);
	if (wslay_event_want_write(w->ctx) && wslay_event_send(w->ctx) < 0)
		r = -1;
	/* It reads no more after a close frame or a breach of the protocol. */
	return r < 0 || !wslay_event_want_read(w->ctx) || w->in_len ? -EPIPE : 0;
}

int ws_write(struct ws *w, const void *p, size_t n)
{
	struct wslay_event_msg m = {WSLAY_BINARY_FRAME, p, n};

	if (wslay_event_queue_msg(w->ctx, &m) < 0 || wslay_event_send(w->ctx) < 0)
		return -ENOMEM;
	return 0;
}

void ws_close(struct ws *w)
{
	if (!wslay_event_get_close_sent(w->ctx) &&
		wslay_event_queue_close(w->ctx, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0) == 0)
		wslay_event_send(w->ctx);
}

bool ws_accept(const char *key, char ret_accept[32])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 §1.3 */
	unsigned char digest[20];
	char text[64];
	gnutls_datum_t raw = {digest, sizeof(digest)}, base64;

	if (strlen(key) != 24)
		return false;
	snprintf(text, sizeof(text), "%s%s", key, guid);
	if (gnutls_hash_fast(GNUTLS_DIG_SHA1, text, strlen(text), digest) < 0 ||
		gnutls_base64_encode2(&raw, &base64) < 0)
		return false;
	snprintf(ret_accept, 32, "%s", (char *)base64.data);
	gnutls_free(base64.data);
	return true;
}
