/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: their lives, and bytes in. epoll is asked for EPOLLIN once and left alone: while a
 * request is handled nothing is read, and only a client that sends more meanwhile costs the call
 * that masks it. */
#include "vmm/http/http_internal.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

void http_conn_watch(struct http_conn *c, uint32_t events)
{
	if (c->watched == events || c->w.fd < 0)
		return;
	if (ev_mod(&c->w, events) == 0)
		c->watched = events;
}

void http_conn_expect(struct http_conn *c)
{
	struct http_server *s = c->server;

	c->due_ns = ev_now_ns() + s->patience_ns;
	list_del(&c->due);
	if (list_empty(&s->due))
		ev_timer_arm(s->loop, &s->due_timer, c->due_ns);
	list_add(&s->due, &c->due);
}

void http_conn_expect_nothing(struct http_conn *c)
{
	list_del(&c->due);
}

void http_conn_later(struct http_conn *c)
{
	struct http_server *s = c->server;

	list_del(&c->later);
	if (list_empty(&s->later))
		ev_timer_arm(s->loop, &s->later_timer, 0);
	list_add(&s->later, &c->later);
}

static void close_socket(struct http_conn *c)
{
	http_conn_expect_nothing(c);
	if (c->w.fd < 0)
		return;
	ev_del(&c->w);
	close(steal_fd(&c->w.fd));
}

/* What a crowd made the heap grow by goes back when it has gone: whatever lies at the heap's end
 * would keep it otherwise. */
static void forget_crowd(struct http_server *s)
{
	if (s->peak < HTTP_CROWD || s->nconns > s->peak / 4)
		return;
	s->peak = s->nconns;
	malloc_trim(0);
}

void http_conn_end(struct http_conn *c)
{
	struct http_server *s = c->server;

	close_socket(c);
	list_del(&c->later);
	list_del(&c->link);
	s->nconns--;
	http_work_free(c->work);
	http_rest_free(c);
	free(c->out);
	free(c);
	forget_crowd(s);
}

void http_conn_lost(struct http_conn *c)
{
	close_socket(c);
	http_rest_free(c);
}

/* The stream's owner hears of its end before the request dies. */
void http_conn_end_stream(struct http_conn *c)
{
	const struct http_handler *h = &c->server->handler;

	close_socket(c);
	if (h->stream_gone)
		h->stream_gone(&c->work->req, h->arg);
	http_conn_end(c);
}

static void begin_linger(struct http_conn *c)
{
	shutdown(c->w.fd, SHUT_WR);
	c->state = HTTP_LINGERING;
	http_conn_expect(c);
	http_conn_watch(c, EPOLLIN);
}

static void begin_reading(struct http_conn *c)
{
	http_conn_expect_nothing(c);
	c->state = HTTP_READING;
	if (c->rest)
		http_conn_later(c);
	else
		http_conn_watch(c, EPOLLIN);
}

void http_conn_answered(struct http_conn *c)
{
	http_work_free(c->work);
	c->work = NULL;
	if (c->w.fd < 0)
		http_conn_end(c);
	else if (c->linger)
		begin_linger(c);
	else if (c->close)
		http_conn_end(c);
	else
		begin_reading(c);
}

/* One message's bytes and fds. Returns the count of bytes, 0 at the end, or negative. More fds
 * than fit, or than we may hold open: -E2BIG, and those that came are closed. */
static ssize_t receive(int fd, void *buf, size_t len, int *ret_fds, unsigned *ret_nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * HTTP_FDS)];
	} control;
	struct iovec iov = {buf, len};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	*ret_nfds = 0;
	if (n < 0)
		return -errno;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		*ret_nfds = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(ret_fds, CMSG_DATA(h), *ret_nfds * sizeof(int));
	}
	if (!(m.msg_flags & MSG_CTRUNC))
		return n;
	while (*ret_nfds)
		close(ret_fds[--*ret_nfds]);
	return -E2BIG;
}

/* The end of what the client sends. Half a request is answered, for a client that only closed its
 * sending side. */
static void end_of_input(struct http_conn *c)
{
	if (c->work && c->work->began)
		http_refuse(c, 400, "the request ends too early");
	else
		http_conn_end(c);
}

static void discard(struct http_conn *c, ssize_t n, int *fds, unsigned nfds)
{
	while (nfds)
		close(fds[--nfds]);
	if (n <= 0 && n != -E2BIG)
		http_conn_end(c);
}

static void read_some(struct http_conn *c)
{
	char buf[HTTP_READ_BYTES];
	int fds[HTTP_FDS];
	unsigned nfds;
	ssize_t n = receive(c->w.fd, buf, sizeof(buf), fds, &nfds);

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (c->state == HTTP_LINGERING)
		discard(c, n, fds, nfds);
	else if (n == 0)
		end_of_input(c);
	else if (n == -E2BIG)
		http_refuse(c, 400, "too many file descriptors: at most 16 with one request");
	else if (n < 0)
		http_conn_end(c);
	else
		http_feed(c, buf, (size_t)n, fds, nfds);
}

/* An event while nothing is read. The client may have left, else what it sends must wait; a client
 * that has only closed its sending side still wants the answer. */
static void not_reading(struct http_conn *c, uint32_t events)
{
	if (!(events & (EPOLLHUP | EPOLLERR)))
		http_conn_watch(c, c->watched & ~(uint32_t)EPOLLIN);
	else if (c->state == HTTP_STREAMING)
		http_conn_end_stream(c);
	else if (c->state == HTTP_HANDLING)
		http_conn_lost(c);
	else
		http_conn_end(c);
}

static void can_write(struct http_conn *c)
{
	int r = http_flush(c);

	if (c->state == HTTP_STREAMING) {
		if (r < 0)
			http_conn_end_stream(c);
		else if (r == 0)
			http_conn_watch(c, EPOLLIN);
		return;
	}
	if (r < 0)
		http_conn_end(c);
	else if (r == 0)
		http_conn_answered(c);
	else
		http_conn_expect(c);
}

/* What came with the bytes of the last request. */
static void read_rest(struct http_conn *c)
{
	struct http_rest *r = steal_ptr(&c->rest);
	unsigned nfds = r->nfds;

	r->nfds = 0;
	c->server->held -= r->len;
	http_conn_watch(c, EPOLLIN);
	http_feed(c, r->bytes, r->len, r->fds, nfds); /* c may be gone */
	free(r);
}

static void conn_ready(struct ev_fd *w, uint32_t events)
{
	struct http_conn *c = container_of(w, struct http_conn, w);

	if (c->state == HTTP_READING && c->rest)
		read_rest(c);
	else if (c->state == HTTP_READING || c->state == HTTP_LINGERING)
		read_some(c);
	else if (events & EPOLLOUT && !(events & (EPOLLHUP | EPOLLERR)))
		can_write(c);
	else
		not_reading(c, events);
}

void http_conn_look_after(struct http_conn *c)
{
	if (c->cut)
		http_conn_end_stream(c);
	else if (c->state == HTTP_READING && c->rest)
		read_rest(c);
}

void http_conn_overdue(struct http_conn *c)
{
	http_conn_expect_nothing(c);
	if (c->state == HTTP_READING)
		http_refuse(c, 408, "the request took too long to arrive");
	else
		http_conn_end(c);
}

int http_conn_new(struct http_server *s, int fd)
{
	struct http_conn *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->server = s;
	c->w = (struct ev_fd){.fd = fd, .ready = conn_ready};
	c->watched = EPOLLIN;
	r = ev_add(s->loop, &c->w, EPOLLIN);
	if (r < 0) {
		free(c);
		return r;
	}
	list_init(&c->due);
	list_init(&c->later);
	list_add(&s->conns, &c->link);
	s->nconns++;
	s->peak = MAX(s->peak, s->nconns);
	return 0;
}
