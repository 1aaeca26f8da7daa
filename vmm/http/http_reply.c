/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes out: head and body in one sendmsg, and what the socket does not take at once is copied and
 * waits for EPOLLOUT. */
#include "vmm/http/http_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "vmm/base/num.h"

#define HEAD_BYTES 512

static ssize_t send_now(int fd, struct iovec *iov, unsigned n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
	ssize_t sent = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return sent;
}

/* Puts n bytes behind those that wait. */
static int keep(struct http_conn *c, const char *p, size_t n)
{
	size_t need = c->out_len + n, cap = need + need / 2;
	char *out;

	if (cap > UINT32_MAX)
		return -ENOMEM;
	if (c->out_at && c->out_at + need > c->out_cap) {
		memmove(c->out, c->out + c->out_at, c->out_len);
		c->out_at = 0;
	}
	if (need > c->out_cap) {
		out = realloc(c->out, cap);
		if (!out)
			return -ENOMEM;
		c->out = out;
		c->out_cap = (uint32_t)cap;
	}
	memcpy(c->out + c->out_at + c->out_len, p, n);
	c->out_len += (uint32_t)n;
	return 0;
}

int http_send(struct http_conn *c, struct iovec *iov, unsigned n)
{
	ssize_t sent = c->out_len ? 0 : send_now(c->w.fd, iov, n);
	int r = 0;

	if (sent < 0)
		return (int)sent;
	for (unsigned i = 0; i < n && r == 0; i++) {
		size_t skip = MIN((size_t)sent, iov[i].iov_len);

		sent -= (ssize_t)skip;
		if (skip < iov[i].iov_len)
			r = keep(c, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
	}
	return r < 0 ? r : c->out_len > 0;
}

int http_flush(struct http_conn *c)
{
	struct iovec iov;
	ssize_t sent;

	if (!c->out_len)
		return 0;
	iov = (struct iovec){c->out + c->out_at, c->out_len};
	sent = send_now(c->w.fd, &iov, 1);
	if (sent < 0)
		return (int)sent;
	c->out_at += (uint32_t)sent;
	c->out_len -= (uint32_t)sent;
	if (c->out_len)
		return 1;
	free(c->out);
	c->out = NULL;
	c->out_at = c->out_cap = 0;
	return 0;
}

/* Hands over the whole answer; c may be gone afterwards. */
static void answer(struct http_conn *c, struct iovec *iov, unsigned n)
{
	int r = c->w.fd < 0 ? -EPIPE : http_send(c, iov, n);

	if (r < 0)
		http_conn_end(c);
	else if (r == 0)
		http_conn_answered(c);
	else {
		c->state = HTTP_WRITING;
		http_conn_expect(c);
		http_conn_watch(c, EPOLLOUT);
	}
}

struct head {
	char text[HEAD_BYTES];
	size_t len;
};

static void add(struct head *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Everything in a head is ours and short. */
static void add(struct head *h, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(h->text + h->len, sizeof(h->text) - h->len, fmt, ap);
	va_end(ap);
	h->len += n < 0 ? 0 : (size_t)n;
	if (h->len >= sizeof(h->text))
		h->len = sizeof(h->text) - 1;
}

/* A client of HTTP/1.0 must be told that the connection stays, one of 1.1 that it does not (RFC
 * 9112 §9.3). */
static void begin_head(struct head *h, const struct http_conn *c, unsigned status)
{
	h->len = 0;
	add(h, "HTTP/1.1 %u %s\r\nServer: polyvisor\r\n", status,
		http_status_str((enum http_status)status));
	if (c->close)
		add(h, "Connection: close\r\n");
	else if (c->work->parser.http_minor == 0)
		add(h, "Connection: keep-alive\r\n");
}

void http_reply_header(struct http_req *r, unsigned status, const char *header, const char *type,
	const char *body, size_t len)
{
	struct http_work *w = r->priv;
	bool none = status == 204; /* RFC 9110 §8.6: no Content-Length either */
	struct head h;
	struct iovec iov[2];

	begin_head(&h, w->conn, status);
	if (header)
		add(&h, "%s\r\n", header);
	if (type && !none)
		add(&h, "Content-Type: %s\r\n", type);
	if (!none)
		add(&h, "Content-Length: %zu\r\n", type ? len : 0);
	add(&h, "\r\n");
	iov[0] = (struct iovec){h.text, h.len};
	iov[1] = (struct iovec){(void *)body, len};
	if (none || !type || strcmp(r->method, "HEAD") == 0)
		iov[1].iov_len = 0;
	answer(w->conn, iov, 2);
}

void http_reply(struct http_req *r, unsigned status, const char *type, const char *body, size_t len)
{
	http_reply_header(r, status, NULL, type, body, len);
}

/* In the form of the API's errors, so that a client needs to know one. */
static size_t refusal(char *buf, size_t cap, unsigned status, const char *why)
{
	size_t body = strlen(why) + 4;

	return (size_t)snprintf(buf, cap,
		"HTTP/1.1 %u %s\r\nServer: polyvisor\r\nConnection: close\r\n"
		"Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n[\"%s\"]",
		status, http_status_str((enum http_status)status), body, why);
}

void http_refuse(struct http_conn *c, unsigned status, const char *why)
{
	char text[HEAD_BYTES];
	struct iovec iov = {text, refusal(text, sizeof(text), status, why)};

	log_limited(c->server->log, &c->server->refused, LOG_INFO, "api",
		"a request was refused: %u, %s", status, why);
	http_rest_free(c);
	c->linger = true;
	answer(c, &iov, 1);
}

void http_turn_away(int fd)
{
	char text[HEAD_BYTES];
	struct iovec iov = {text, refusal(text, sizeof(text), 503, "too many clients at a time")};

	(void)send_now(fd, &iov, 1);
}

/* RFC 9112 §6.1: not for HTTP/1.0, where the end of the connection ends the body. */
static bool chunked(const struct http_conn *c)
{
	return c->work->parser.http_minor > 0;
}

int http_stream(struct http_req *r, const char *type)
{
	struct http_work *w = r->priv;
	struct http_conn *c = w->conn;
	struct head h;
	struct iovec iov;
	int sent;

	c->close |= !chunked(c);
	begin_head(&h, c, 200);
	add(&h, "Content-Type: %s\r\nCache-Control: no-cache\r\n%s\r\n", type,
		!chunked(c) ? "" : "Transfer-Encoding: chunked\r\n");
	iov = (struct iovec){h.text, h.len};
	sent = c->w.fd < 0 ? -EPIPE : http_send(c, &iov, 1);
	if (sent < 0) {
		http_conn_end(c);
		return sent;
	}
	c->state = HTTP_STREAMING;
	if (sent)
		http_conn_watch(c, EPOLLIN | EPOLLOUT);
	return 0;
}

static void cut(struct http_conn *c)
{
	c->cut = true;
	http_conn_later(c);
}

int http_stream_write(struct http_req *r, const char *text, size_t len)
{
	struct http_work *w = r->priv;
	struct http_conn *c = w->conn;
	char size[24];
	struct iovec iov[3] = {{size, 0}, {(void *)text, len}, {"\r\n", 2}};
	int sent;

	if (c->cut)
		return -EPIPE;
	if (!len)
		return 0; /* an empty chunk is the last one, RFC 9112 §7.1 */
	iov[0].iov_len = (size_t)snprintf(size, sizeof(size), "%zx\r\n", len);
	if (c->out_len + len > HTTP_BACKLOG_MAX)
		sent = -EPIPE;
	else if (chunked(c))
		sent = http_send(c, iov, 3);
	else
		sent = http_send(c, iov + 1, 1);
	if (sent < 0) {
		cut(c);
		return -EPIPE;
	}
	if (sent)
		http_conn_watch(c, EPOLLIN | EPOLLOUT);
	return 0;
}

void http_stream_end(struct http_req *r)
{
	struct http_work *w = r->priv;
	struct iovec last = {"0\r\n\r\n", chunked(w->conn) ? 5 : 0};

	if (w->conn->cut)
		http_conn_end(w->conn);
	else
		answer(w->conn, &last, 1);
}

int http_stream_last(struct http_conn *c)
{
	struct iovec last = {"0\r\n\r\n", 5};

	return c->cut || !chunked(c) ? 0 : http_send(c, &last, 1);
}
