/* SPDX-License-Identifier: Apache-2.0 */
/* What cannot even begin is told from the timer, so that done() has one way to be called. */
#include "cloud/node/vmm_call.h"

#include <errno.h>
#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "vmm/base/list.h"

#define ANSWER_MAX (8u << 20)

struct vmm_call {
	struct ev_loop *loop;
	struct ev_fd watch;
	struct ev_timer timer;
	http_parser parser;
	char *out; /* request, sent so far */
	size_t out_len, sent;
	char *body;
	size_t len;
	int error;
	bool whole;
	vmm_call_fn *done;
	void *arg;
};

void vmm_call_free(struct vmm_call *c)
{
	if (!c)
		return;
	ev_timer_cancel(&c->timer);
	if (c->watch.loop)
		ev_del(&c->watch);
	if (c->watch.fd >= 0)
		close(c->watch.fd);
	free(c->out);
	free(c->body);
	free(c);
}

static void finish(struct vmm_call *c, int error)
{
	ev_timer_cancel(&c->timer);
	if (c->watch.loop)
		ev_del(&c->watch);
	if (error < 0)
		c->done(c->arg, 0, strerrordesc_np(-error), 0);
	else
		c->done(c->arg, c->parser.status_code, c->body ? c->body : "", c->len);
	vmm_call_free(c);
}

static void on_time(struct ev_timer *t)
{
	struct vmm_call *c = container_of(t, struct vmm_call, timer);

	finish(c, c->error ? c->error : -ETIMEDOUT);
}

/* ---- the answer ---- */

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct vmm_call *c = p->data;
	char *body;

	if (n > ANSWER_MAX - c->len || !(body = realloc(c->body, c->len + n + 1))) {
		c->error = -ENOMEM;
		return 1;
	}
	memcpy(body + c->len, at, n);
	c->body = body;
	c->len += n;
	body[c->len] = '\0';
	return 0;
}

static int on_complete(http_parser *p)
{
	struct vmm_call *c = p->data;

	c->whole = true;
	http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_body = on_body, .on_message_complete = on_complete};

/* 1: enough. */
static int take(struct vmm_call *c)
{
	char buf[16384];
	ssize_t n = recv(c->watch.fd, buf, sizeof(buf), 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	/* n == 0 tells the parser of the end. */
	http_parser_execute(&c->parser, &settings, buf, (size_t)n);
	if (c->whole)
		return 1;
	if (c->error || HTTP_PARSER_ERRNO(&c->parser) != HPE_OK)
		return c->error ? c->error : -EPROTO;
	return n == 0 ? -ECONNRESET : 0;
}

static int give(struct vmm_call *c)
{
	while (c->sent < c->out_len) {
		ssize_t n = send(c->watch.fd, c->out + c->sent, c->out_len - c->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		c->sent += (size_t)n;
	}
	return ev_mod(&c->watch, EPOLLIN);
}

static void on_ready(struct ev_fd *w, uint32_t events)
{
	struct vmm_call *c = container_of(w, struct vmm_call, watch);
	int r = 0;

	if (events & EPOLLOUT)
		r = give(c);
	/* A server may answer before it has read all. */
	if (r < 0 || events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		r = take(c);
	if (r)
		finish(c, r);
}

/* ---- beginning ---- */

static int start(struct vmm_call *c, int dir, const char *name, const char *method,
	const char *path, const char *body)
{
	int n, fd = file_connect(dir, name);

	if (fd < 0)
		return fd;
	c->watch = (struct ev_fd){.fd = fd, .ready = on_ready};
	n = asprintf(&c->out,
		"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%sContent-Length: "
		"%zu\r\n\r\n%s",
		method, path, body ? "Content-Type: application/json\r\n" : "",
		body ? strlen(body) : 0, body ? body : "");
	if (n < 0) {
		c->out = NULL;
		return -ENOMEM;
	}
	c->out_len = (size_t)n;
	return ev_add(c->loop, &c->watch, EPOLLIN | EPOLLOUT);
}

struct vmm_call *vmm_call(struct ev_loop *loop, int dir, const char *name, const char *method,
	const char *path, const char *body, unsigned timeout_ms, vmm_call_fn *done, void *arg)
{
	struct vmm_call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct vmm_call){
		.loop = loop, .watch.fd = -1, .timer.fire = on_time, .done = done, .arg = arg};
	http_parser_init(&c->parser, HTTP_RESPONSE);
	c->parser.data = c;
	c->error = start(c, dir, name, method, path, body);
	ev_timer_arm(loop, &c->timer, ev_now_ns() + (c->error ? 0 : timeout_ms * 1000000ull));
	return c;
}
