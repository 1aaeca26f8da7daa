/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in: http-parser cuts them up, its callbacks keep what we want of them. Whatever breaks a
 * rule sets w->status, which stops the parser and becomes the answer. The parser stops behind each
 * request, too; what lies beyond waits for its turn in c->rest. */
#include "vmm/http/http_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct http_work *work_of(http_parser *p)
{
	return p->data;
}

/* For callbacks: stops the parser. */
static int refuse(struct http_work *w, unsigned status, const char *why)
{
	w->status = status;
	w->why = why;
	return -1;
}

/* Room for n bytes and a NUL behind them. */
static int reserve(struct http_work *w, size_t n)
{
	struct http_server *s = w->conn->server;
	size_t cap = w->cap ? w->cap : 512;
	char *buf;

	while (cap < w->len + n + 1)
		cap *= 2;
	if (cap == w->cap)
		return 0;
	if (s->held + cap - w->cap > HTTP_HELD_MAX)
		return refuse(w, 503, "too many large requests at a time");
	buf = realloc(w->buf, cap);
	if (!buf)
		return refuse(w, 503, "out of memory");
	s->held += cap - w->cap;
	w->buf = buf;
	w->cap = cap;
	return 0;
}

static int append(struct http_work *w, const char *p, size_t n)
{
	if (reserve(w, n) < 0)
		return -1;
	memcpy(w->buf + w->len, p, n);
	w->len += n;
	w->buf[w->len] = '\0';
	return 0;
}

static int count_head(struct http_work *w, size_t n)
{
	w->head += n;
	return w->head > HTTP_HEAD_MAX ? refuse(w, 431, "the request's head is larger than 16 KiB")
				       : 0;
}

static int on_begin(http_parser *p)
{
	work_of(p)->began = true;
	return 0;
}

static int on_url(http_parser *p, const char *at, size_t n)
{
	struct http_work *w = work_of(p);

	for (size_t i = 0; i < n; i++)
		if (at[i] <= ' ' || at[i] >= 0x7f) /* RFC 3986 §2 */
			return refuse(w, 400, "the request's target is not a URL");
	return count_head(w, n) < 0 ? -1 : append(w, at, n);
}

static bool named(const struct http_work *w, const char *name)
{
	return w->name_len == strlen(name) && strncasecmp(w->name, name, w->name_len) == 0;
}

static int on_expect(struct http_work *w, const char *value)
{
	if (strcasecmp(value, "100-continue") != 0)
		return refuse(w, 417, "Expect: only 100-continue can be expected");
	w->expects = true;
	return 0;
}

/* A header is complete: its value is the last text of buf. */
static int header_done(struct http_work *w)
{
	char *value = w->buf + w->value_at;

	if (!w->in_value)
		return 0;
	w->in_value = false;
	while (w->len > w->value_at && strchr(" \t", w->buf[w->len - 1]))
		w->buf[--w->len] = '\0';
	if (named(w, "Last-Event-ID")) {
		w->id_at = w->value_at;
		w->len++;
		return 0;
	}
	w->len = w->value_at;
	if (named(w, "Host"))
		w->hosts += w->hosts < 2;
	else if (named(w, "Expect"))
		return on_expect(w, value);
	else if (named(w, "Transfer-Encoding") && strcasecmp(value, "chunked") != 0)
		return refuse(w, 501, "Transfer-Encoding: only chunked is offered");
	return 0;
}

/* RFC 9110 §5.6.2. The library may be built to let more through. */
static bool is_token(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)p[i]) && !memchr("!#$%&'*+-.^_`|~", p[i], 15))
			return false;
	return true;
}

/* RFC 9110 §5.5: no control characters but the tab. */
static bool is_value(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)p[i] < ' ' && p[i] != '\t') || p[i] == 0x7f)
			return false;
	return true;
}

static int on_field(http_parser *p, const char *at, size_t n)
{
	struct http_work *w = work_of(p);

	if (!is_token(at, n))
		return refuse(w, 400, "a header's name holds what no name may");
	if (w->head_done)
		return 0; /* trailers, RFC 9110 §6.5.1: ignored */
	if (w->in_value) {
		if (header_done(w) < 0)
			return -1;
		w->name_len = 0;
	}
	for (size_t i = 0; i < n && w->name_len < sizeof(w->name); i++)
		w->name[w->name_len++] = at[i];
	return count_head(w, n);
}

static bool wanted(const struct http_work *w)
{
	return named(w, "Host") || named(w, "Expect") || named(w, "Transfer-Encoding") ||
	       named(w, "Last-Event-ID");
}

static int on_value(http_parser *p, const char *at, size_t n)
{
	struct http_work *w = work_of(p);

	if (!is_value(at, n))
		return refuse(w, 400, "a header's value holds a control character");
	if (w->head_done)
		return 0;
	if (!w->in_value) {
		if (!w->value_at)
			w->len++; /* the URL's NUL stays */
		w->in_value = true;
		w->value_at = w->len;
		if (append(w, "", 0) < 0 || count_head(w, 4) < 0) /* ": " and CR LF */
			return -1;
	}
	if (count_head(w, n) < 0)
		return -1;
	return wanted(w) ? append(w, at, n) : 0;
}

static int check_head(struct http_work *w)
{
	const http_parser *p = &w->parser;

	if (p->http_major != 1)
		return refuse(w, 505, "only HTTP/1.1 and HTTP/1.0 are offered");
	if (p->method == HTTP_CONNECT)
		return refuse(w, 501, "CONNECT is not offered");
	if (w->hosts > 1 || (!w->hosts && p->http_minor > 0)) /* RFC 9112 §3.2 */
		return refuse(w, 400, "exactly one Host header is needed");
	if (p->content_length != UINT64_MAX && p->content_length > HTTP_BODY_MAX)
		return refuse(w, 413, "the request's body is larger than 4 MiB");
	return 0;
}

static int on_head(http_parser *p)
{
	struct http_work *w = work_of(p);

	if (header_done(w) < 0 || check_head(w) < 0)
		return -1;
	w->keep_alive = http_should_keep_alive(p);
	if (p->http_minor == 0 && p->flags & F_CHUNKED)
		w->keep_alive = false; /* RFC 9112 §6.1 */
	w->len++;		       /* the last text's NUL stays */
	w->body_at = w->len;
	w->head_done = true;
	return append(w, "", 0);
}

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct http_work *w = work_of(p);

	if (w->len - w->body_at + n > HTTP_BODY_MAX)
		return refuse(w, 413, "the request's body is larger than 4 MiB");
	return append(w, at, n);
}

static int on_whole(http_parser *p)
{
	work_of(p)->whole = true;
	http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings callbacks = {
	.on_message_begin = on_begin,
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_message_complete = on_whole,
};

static struct http_work *work_new(struct http_conn *c)
{
	struct http_work *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->conn = c;
	w->req.priv = w;
	w->parser.data = w;
	http_parser_init(&w->parser, HTTP_REQUEST);
	return w;
}

static void close_fds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

void http_work_free(struct http_work *w)
{
	if (!w)
		return;
	close_fds(w->req.fds, w->req.nfds);
	w->conn->server->held -= w->cap;
	free(w->buf);
	free(w);
}

void http_rest_free(struct http_conn *c)
{
	if (!c->rest)
		return;
	close_fds(c->rest->fds, c->rest->nfds);
	c->server->held -= c->rest->len;
	free(c->rest);
	c->rest = NULL;
}

static int add_fds(struct http_work *w, const int *fds, unsigned n)
{
	if (w->req.nfds + n > HTTP_FDS) {
		close_fds(fds, n);
		return refuse(w, 400, "too many file descriptors: at most 16 with one request");
	}
	memcpy(w->req.fds + w->req.nfds, fds, n * sizeof(*fds));
	w->req.nfds += n;
	return 0;
}

/* The kernel ends a message behind the bytes that brought fds, so they belong to the last one. */
static int keep_rest(struct http_conn *c, const char *p, size_t n, const int *fds, unsigned nfds)
{
	struct http_rest *r = NULL;

	if (c->server->held + n <= HTTP_HELD_MAX)
		r = malloc(sizeof(*r) + n);
	if (!r) {
		close_fds(fds, nfds);
		return refuse(c->work, 503, "out of memory");
	}
	memcpy(r->fds, fds, nfds * sizeof(*fds));
	r->nfds = nfds;
	memcpy(r->bytes, p, n);
	r->len = n;
	c->server->held += n;
	c->rest = r;
	return 0;
}

/* RFC 9112 §3.2: a path, or a whole URL of which only the path is of interest. */
static void split_url(struct http_work *w)
{
	char *path = w->buf, *end;

	if (*path != '/' && (end = strstr(path, "://")))
		path = end + 3 + strcspn(end + 3, "/?#");
	path[strcspn(path, "#")] = '\0';
	end = path + strcspn(path, "?");
	w->req.query = *end ? end + 1 : end;
	*end = '\0';
	w->req.path = *path ? path : "/";
}

static void handle(struct http_conn *c)
{
	struct http_work *w = c->work;
	const struct http_handler *h = &c->server->handler;

	http_conn_expect_nothing(c);
	c->state = HTTP_HANDLING;
	c->close = !w->keep_alive;
	strncpy(w->req.method, http_method_str((enum http_method)w->parser.method),
		sizeof(w->req.method) - 1);
	split_url(w);
	w->req.body = w->buf + w->body_at;
	w->req.len = w->len - w->body_at;
	w->req.last_event_id = w->id_at ? w->buf + w->id_at : NULL;
	h->request(&w->req, h->arg);
}

static void refuse_malformed(struct http_conn *c)
{
	enum http_errno e = HTTP_PARSER_ERRNO(&c->work->parser);

	if (e == HPE_INVALID_VERSION)
		http_refuse(c, 505, "only HTTP/1.1 and HTTP/1.0 are offered");
	else if (e == HPE_HEADER_OVERFLOW)
		http_refuse(c, 431, "the request's head is larger than 16 KiB");
	else
		http_refuse(c, 400, http_errno_description(e));
}

/* RFC 9110 §10.1.1: asked for, and nothing of the body has come. Lost when the socket is full: such
 * a client is not waiting for it. */
static void say_continue(struct http_conn *c)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_work *w = c->work;

	if (w->expects && w->head_done && w->len == w->body_at && w->parser.http_minor > 0)
		(void)!send(c->w.fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	w->expects &= !w->head_done;
}

void http_feed(struct http_conn *c, const char *p, size_t n, const int *fds, unsigned nfds)
{
	struct http_work *w = c->work;
	size_t used;

	if (!w) {
		w = c->work = work_new(c);
		if (!w) {
			close_fds(fds, nfds);
			http_conn_end(c);
			return;
		}
		http_conn_expect(c);
	}
	used = http_parser_execute(&w->parser, &callbacks, p, n);
	if (w->whole && used < n)
		keep_rest(c, p + used, n - used, fds, nfds);
	else
		add_fds(w, fds, nfds);
	if (w->status)
		http_refuse(c, w->status, w->why);
	else if (w->whole)
		handle(c);
	else if (HTTP_PARSER_ERRNO(&w->parser) != HPE_OK)
		refuse_malformed(c);
	else
		say_continue(c);
}
