/* SPDX-License-Identifier: Apache-2.0 */
/* The server: its listening socket, its timers, its end. One timer serves all deadlines, since all
 * are equally far away: the list is in order by itself. */
#include "vmm/http/http.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "vmm/http/http_internal.h"
#include "vmm/base/cleanup.h"

/* Only what is listed now: what comes of it has its turn in the next round. */
static void fire_later(struct ev_timer *t)
{
	struct http_server *s = container_of(t, struct http_server, later_timer);
	struct list now;

	list_init(&now);
	while (!list_empty(&s->later)) {
		struct list *l = s->later.next;

		list_del(l);
		list_add(&now, l);
	}
	while (!list_empty(&now)) {
		struct list *l = now.next;

		list_del(l);
		http_conn_look_after(container_of(l, struct http_conn, later));
	}
}

static void fire_due(struct ev_timer *t)
{
	struct http_server *s = container_of(t, struct http_server, due_timer);
	uint64_t now = ev_now_ns();

	while (!list_empty(&s->due)) {
		struct http_conn *c = container_of(s->due.next, struct http_conn, due);

		if (c->due_ns > now) {
			ev_timer_arm(s->loop, t, c->due_ns);
			return;
		}
		http_conn_overdue(c);
	}
}

static void fire_accept(struct ev_timer *t)
{
	struct http_server *s = container_of(t, struct http_server, accept_timer);

	if (ev_add(s->loop, &s->listener, EPOLLIN) < 0)
		ev_timer_arm(s->loop, t, ev_now_ns() + HTTP_ACCEPT_AGAIN_NS);
}

/* Out of fds or memory: the client stays in the queue, and the listener would be ready for ever. */
static void accept_later(struct http_server *s, int why)
{
	log_limited(s->log, &s->full, LOG_WARN, "api", "cannot accept a client: %s", strerror(why));
	ev_del(&s->listener);
	ev_timer_arm(s->loop, &s->accept_timer, ev_now_ns() + HTTP_ACCEPT_AGAIN_NS);
}

static void listener_ready(struct ev_fd *w, uint32_t events)
{
	struct http_server *s = container_of(w, struct http_server, listener);
	int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			accept_later(s, errno);
	} else if (s->nconns >= HTTP_CLIENTS || http_conn_new(s, fd) < 0) {
		log_limited(s->log, &s->full, LOG_WARN, "api",
			"a client was turned away: %u are served", s->nconns);
		http_turn_away(fd);
		close(fd);
	}
}

int http_server_new(struct ev_loop *loop, int fd, const struct http_handler *h, struct log *log,
	struct http_server **ret_server)
{
	struct http_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	*s = (struct http_server){.loop = loop,
		.handler = *h,
		.log = log,
		.patience_ns = HTTP_READ_NS,
		.listener = {.fd = fd, .ready = listener_ready},
		.due_timer.fire = fire_due,
		.later_timer.fire = fire_later,
		.accept_timer.fire = fire_accept};
	list_init(&s->conns);
	list_init(&s->due);
	list_init(&s->later);
	/* A client may leave between epoll and accept. */
	r = fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0
		    ? -errno
		    : ev_add(loop, &s->listener, EPOLLIN);
	if (r < 0) {
		close(fd);
		free(s);
		return r;
	}
	*ret_server = s;
	return 0;
}

/* Sends to all who take it; lists those who are not done. */
static unsigned flush_all(struct http_server *s, struct pollfd *ret_waiting)
{
	unsigned n = 0;

	list_for_each (l, &s->conns) {
		struct http_conn *c = container_of(l, struct http_conn, link);

		if (c->w.fd >= 0 && http_flush(c) > 0)
			ret_waiting[n++] = (struct pollfd){.fd = c->w.fd, .events = POLLOUT};
	}
	return n;
}

/* The last bytes, while there is time. */
static void drain(struct http_server *s)
{
	uint64_t end_ns = ev_now_ns() + HTTP_FLUSH_NS, now;
	cleanup_free struct pollfd *waiting = calloc(s->nconns + 1, sizeof(*waiting));
	unsigned n;

	list_for_each (l, &s->conns) {
		struct http_conn *c = container_of(l, struct http_conn, link);

		if (c->state == HTTP_STREAMING && c->w.fd >= 0)
			http_stream_last(c);
	}
	while (waiting && (n = flush_all(s, waiting)) && (now = ev_now_ns()) < end_ns)
		if (poll(waiting, n, (int)((end_ns - now) / 1000000 + 1)) < 0)
			return;
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	if (s->listener.loop)
		ev_del(&s->listener);
	close(s->listener.fd);
	drain(s);
	while (!list_empty(&s->conns)) {
		struct http_conn *c = container_of(s->conns.next, struct http_conn, link);

		if (c->state == HTTP_STREAMING)
			http_conn_end_stream(c);
		else
			http_conn_end(c);
	}
	ev_timer_cancel(&s->due_timer);
	ev_timer_cancel(&s->later_timer);
	ev_timer_cancel(&s->accept_timer);
	free(s);
}

unsigned http_clients(const struct http_server *s)
{
	return s->nconns;
}
