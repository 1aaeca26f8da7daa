/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd inside the loop. It never blocks and has no thread: its epoll descriptor becomes
 * readable when there is something to do, and its timeout says when there is without news. */
#include "cloud/control/server.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "cloud/control/server_internal.h"

#define IDLE_S	    30 /* a client that says nothing for so long in mid-request is gone */
#define CONNECTIONS 2048
#define PER_ADDRESS 1024

#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

/* ---- running it ---- */

static void rearm(struct server *s)
{
	uint64_t soonest = UINT64_MAX;

	for (unsigned i = 0; i < 2; i++) {
		MHD_UNSIGNED_LONG_LONG ms;

		if (s->listener[i].mhd && MHD_get_timeout(s->listener[i].mhd, &ms) == MHD_YES &&
			ms < soonest)
			soonest = ms;
	}
	if (soonest == UINT64_MAX)
		ev_timer_cancel(&s->timer);
	else
		ev_timer_arm(s->loop, &s->timer, ev_now_ns() + soonest * 1000000);
}

static void run(struct server *s)
{
	for (unsigned i = 0; i < 2; i++)
		if (s->listener[i].mhd)
			MHD_run(s->listener[i].mhd);
	rearm(s);
}

static void epoll_ready(struct ev_fd *w, uint32_t events)
{
	(void)events;
	run(container_of(w, struct listener, epoll)->server);
}

static void timer_fired(struct ev_timer *t)
{
	run(container_of(t, struct server, timer));
}

void server_kick(struct server *s)
{
	ev_timer_arm(s->loop, &s->timer, ev_now_ns());
}

/* ---- what it calls ---- */

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *conn)
{
	(void)conn;
	return req_new(arg, uri);
}

/* Our own decoder works on the raw text. */
static size_t keep_escapes(void *arg, struct MHD_Connection *conn, char *text)
{
	(void)arg;
	(void)conn;
	return strlen(text);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn, const char *url,
	const char *method, const char *version, const char *data, size_t *n, void **con_cls)
{
	struct req *r = *con_cls;
	enum MHD_Result ret = MHD_YES;

	(void)arg;
	(void)url;
	(void)version;
	if (!r)
		return MHD_NO;
	r->conn = conn;
	r->in_callback = true;
	if (r->phase == REQ_NEW) {
		r->phase = REQ_HEADERS;
		req_begin(r, method);
	} else if (*n) {
		r->phase = REQ_BODY;
		ret = req_take(r, data, *n) < 0 ? MHD_NO : MHD_YES;
		*n = 0;
	} else {
		r->phase = REQ_WHOLE;
		req_whole(r);
	}
	r->in_callback = false;
	return ret;
}

static void on_completed(
	void *arg, struct MHD_Connection *conn, void **con_cls, enum MHD_RequestTerminationCode why)
{
	struct req *r = *con_cls;

	(void)arg;
	(void)conn;
	(void)why;
	*con_cls = NULL;
	if (r)
		req_gone(r);
}

static void on_log(void *arg, const char *fmt, va_list ap)
{
	struct server *s = arg;
	char text[256];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	vsnprintf(text, sizeof(text), fmt, ap);
#pragma GCC diagnostic pop
	text[strcspn(text, "\n")] = 0;
	log_line(s->control->log, LOG_DEBUG, "http", "%s", text);
}

/* ---- making it ---- */

/* A client whose TLS is done; libmicrohttpd takes the descriptor also when it refuses. */
static void opened(void *arg, int fd, const struct sockaddr *a, socklen_t len)
{
	struct listener *l = arg;

	MHD_add_connection(l->mhd, fd, a, len);
	server_kick(l->server);
}

/* libmicrohttpd listens on the unix socket itself; for TCP, clients come through the front. */
static int listen_on(
	struct server *s, struct listener *l, int fd, const struct server_opts *o, struct err *e)
{
	unsigned flags =
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem socket[] = {
		{MHD_OPTION_LISTEN_SOCKET, fd, NULL}, {MHD_OPTION_END, 0, NULL}};
	struct MHD_OptionItem per_address[] = {
		{MHD_OPTION_PER_IP_CONNECTION_LIMIT, PER_ADDRESS, NULL}, {MHD_OPTION_END, 0, NULL}};
	struct front_opts front = {fd, o->cert, o->key, opened, l};
	const union MHD_DaemonInfo *info;
	int r;

	l->server = s;
	if (!l->local)
		flags |= MHD_USE_NO_LISTEN_SOCKET;
	l->mhd = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER,
		on_log, s, MHD_OPTION_URI_LOG_CALLBACK, on_uri, l, MHD_OPTION_UNESCAPE_CALLBACK,
		keep_escapes, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)CONNECTIONS, MHD_OPTION_ARRAY, l->local ? socket : per_address,
		MHD_OPTION_END);
	if (!l->mhd)
		return err_set(
			e, ERR_HOST, -EIO, "cannot serve %s", l->local ? "the socket" : "with TLS");
	info = MHD_get_daemon_info(l->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	l->epoll = (struct ev_fd){.fd = info->epoll_fd, .ready = epoll_ready};
	r = ev_add(s->loop, &l->epoll, EPOLLIN);
	return r < 0 || l->local ? r : front_new(s->loop, &front, &l->front, e);
}

int server_new(struct control *c, const struct route_table *tables, const struct server_opts *o,
	struct server **ret_server, struct err *e)
{
	struct server *s = calloc(1, sizeof(*s));
	int r = s ? 0 : -ENOMEM;

	if (!s)
		return r;
	s->control = c;
	s->loop = c->loop;
	s->url = o->url;
	s->pinned = o->pinned;
	s->timer.fire = timer_fired;
	s->listener[0].local = true;
	for (const struct route_table *t = tables; t->rows && r == 0; t++)
		r = router_add(&s->router, t->rows, t->n);
	s->stats = calloc(s->router.n + 1, sizeof(*s->stats)); /* the last: no row */
	if (r < 0 || !s->stats) {
		server_free(s);
		return -ENOMEM;
	}
	followers_init(s);
	if (o->unix_fd >= 0)
		r = listen_on(s, &s->listener[0], o->unix_fd, o, e);
	if (r == 0 && o->tcp_fd >= 0)
		r = listen_on(s, &s->listener[1], o->tcp_fd, o, e);
	if (r < 0) {
		server_free(s);
		return r;
	}
	rearm(s);
	*ret_server = s;
	return 0;
}

/* A suspended connection must be resumed before its daemon stops: libmicrohttpd's rule. */
static void resume_all(struct server *s)
{
	for (struct req *r = s->reqs; r; r = r->next)
		if (r->suspended && r->conn) {
			r->suspended = false;
			MHD_resume_connection(r->conn);
		}
}

void server_free(struct server *s)
{
	if (!s)
		return;
	followers_fini(s);
	pipes_fini(s);
	resume_all(s);
	for (unsigned i = 0; i < 2; i++) {
		if (s->listener[i].epoll.loop)
			ev_del(&s->listener[i].epoll);
		if (s->listener[i].mhd)
			MHD_stop_daemon(s->listener[i].mhd);
		front_free(s->listener[i].front);
	}
	while (s->reqs)
		req_free(s->reqs);
	ev_timer_cancel(&s->timer);
	router_fini(&s->router);
	free(s->stats);
	free(s);
}

const char *server_url(const struct control *c)
{
	return c->server ? c->server->url : NULL;
}

const char *server_fingerprint(const struct control *c)
{
	return c->server ? c->server->pinned : NULL;
}
