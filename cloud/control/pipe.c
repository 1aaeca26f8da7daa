/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes both ways after a 101. The pipe exists from the handler's answer on; what is written is
 * kept until libmicrohttpd gives the socket. Under TLS that socket is one of a pair that it copies
 * to and from.
 *
 *   pipe_write() ► [ws frame] ► out ► socket        socket ► [ws frame] ► data(), until 256 KiB
 *                                                   are not taken */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/control/server_internal.h"
#include "cloud/control/ws.h"

#define WINDOW	   (256u << 10)
#define FLUSH_S	   10 /* what was written before pipe_close() has so long to go */
#define HEAD_SPARE 64 /* of frames, beyond the window */

#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

struct pipe_end {
	struct server *server;
	struct req *req; /* until the upgrade; then NULL */
	struct MHD_UpgradeResponseHandle *urh;
	struct ev_fd sock;
	struct ev_timer over; /* closed() comes from the loop */
	const struct pipe_ops *ops;
	void *arg;
	struct ws *ws; /* NULL: bytes as they are */
	char *out;
	size_t out_len, out_cap;
	size_t untaken;
	uint32_t events;
	bool closing, dead, want_writable;
	char token[32];		     /* id of the one that opened it; "" = none */
	struct pipe_end *next, **at; /* server->pipes */
};

/* ---- its end ---- */

static void end_now(struct pipe_end *p)
{
	const struct pipe_ops *ops = p->ops;

	ev_timer_cancel(&p->over);
	if (p->sock.loop)
		ev_del(&p->sock);
	if (p->req)
		p->req->pipe = NULL;
	if (p->urh) {
		MHD_upgrade_action(p->urh, MHD_UPGRADE_ACTION_CLOSE);
		server_kick(p->server);
	}
	*p->at = p->next;
	if (p->next)
		p->next->at = p->at;
	ops->closed(p, p->arg);
	ws_free(p->ws);
	free(p->out);
	free(p);
}

static void over(struct ev_timer *t)
{
	end_now(container_of(t, struct pipe_end, over));
}

static void die(struct pipe_end *p)
{
	p->dead = true;
	if (p->sock.loop)
		ev_del(&p->sock);
	ev_timer_arm(p->server->loop, &p->over, ev_now_ns());
}

void pipe_gone(struct pipe_end *p)
{
	p->req = NULL;
	die(p);
}

void pipes_fini(struct server *s)
{
	while (s->pipes)
		end_now(s->pipes);
}

void pipes_revoke(struct server *s, const char *token_id)
{
	for (struct pipe_end *p = s->pipes; p; p = p->next)
		if (!strcmp(p->token, token_id))
			die(p);
}

/* ---- the socket ---- */

static void want(struct pipe_end *p)
{
	uint32_t events = 0;

	if (!p->sock.loop)
		return;
	if (!p->closing && p->untaken < WINDOW)
		events |= EPOLLIN;
	if (p->out_len)
		events |= EPOLLOUT;
	if (events != p->events)
		ev_mod(&p->sock, events);
	p->events = events;
}

static void flush(struct pipe_end *p)
{
	size_t sent = 0;

	if (p->dead || !p->urh)
		return;
	while (sent < p->out_len) {
		ssize_t n = send(
			p->sock.fd, p->out + sent, p->out_len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			die(p);
			return;
		}
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	if (sent)
		memmove(p->out, p->out + sent, p->out_len - sent);
	p->out_len -= sent;
	if (!p->out_len && p->closing)
		die(p);
	else
		want(p);
}

static int append(void *arg, const void *data, size_t n)
{
	struct pipe_end *p = arg;

	if (p->out_len + n > p->out_cap) {
		size_t cap = (p->out_len + n) * 3 / 2;
		char *out = realloc(p->out, cap);

		if (!out)
			return -ENOMEM;
		p->out = out;
		p->out_cap = cap;
	}
	memcpy(p->out + p->out_len, data, n);
	p->out_len += n;
	return 0;
}

static void deliver(void *arg, const void *data, size_t n)
{
	struct pipe_end *p = arg;

	if (p->closing || p->dead || !n)
		return;
	p->untaken += n;
	p->ops->data(p, data, n, p->arg);
}

static void came(struct pipe_end *p, const void *data, size_t n)
{
	if (!p->ws)
		deliver(p, data, n);
	else if (ws_feed(p->ws, data, n) < 0)
		p->closing = true;
	/* Pongs fill the queue as what is written does; who asks for more than the window without
	 * reading is not worth keeping. */
	if (p->out_len > 2 * WINDOW)
		die(p);
	flush(p);
}

static void ready(struct ev_fd *w, uint32_t events)
{
	struct pipe_end *p = container_of(w, struct pipe_end, sock);
	char buf[16384];
	ssize_t n;

	if (events & EPOLLOUT) {
		flush(p);
		if (!p->dead && !p->closing && !p->out_len && p->want_writable) {
			p->want_writable = false;
			p->ops->writable(p, p->arg);
		}
	}
	if (p->dead || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (!(p->events & EPOLLIN)) { /* hung up while paused: the rest of it does not matter */
		die(p);
		return;
	}
	n = recv(p->sock.fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (n > 0)
		came(p, buf, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		die(p);
}

/* Small messages go at once: with Nagle's algorithm (RFC 896) each one waits for the peer's delayed
 * acknowledgement of the last, 40 ms. Under TLS the socket is libmicrohttpd's own. */
static void no_delay(struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	const int one = 1;

	if (info) /* fails on a unix socket, which does not wait */
		setsockopt(info->connect_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void upgraded(void *arg, struct MHD_Connection *conn, void *con_cls, const char *extra,
	size_t n_extra, MHD_socket sock, struct MHD_UpgradeResponseHandle *urh)
{
	struct req *r = con_cls;
	struct pipe_end *p = r->pipe;

	(void)arg;
	no_delay(conn);
	r->pipe = NULL;
	if (!p) {
		MHD_upgrade_action(urh, MHD_UPGRADE_ACTION_CLOSE);
		return;
	}
	p->req = NULL;
	p->urh = urh;
	p->sock = (struct ev_fd){.fd = sock, .ready = ready};
	p->events = EPOLLIN;
	if (ev_add(p->server->loop, &p->sock, EPOLLIN) < 0) {
		die(p);
		return;
	}
	if (n_extra)
		came(p, extra, n_extra);
	if (!p->dead)
		flush(p);
}

/* ---- the handshake ---- */

static bool has_word(const char *list, const char *word)
{
	return list && strcasestr(list, word);
}

static struct MHD_Response *switching(struct req *r, const char *protocol)
{
	struct MHD_Response *m = MHD_create_response_for_upgrade(upgraded, NULL);

	if (m)
		MHD_add_response_header(m, "Upgrade", protocol);
	return m;
}

/* NULL after answering. RFC 6455 §4.2. */
static struct MHD_Response *websocket(struct req *r)
{
	const char *key = call_header(&r->call, "Sec-WebSocket-Key");
	const char *version = call_header(&r->call, "Sec-WebSocket-Version");
	struct MHD_Response *m;
	char accept[32];

	if (!version || strcmp(version, "13") || !key || !ws_accept(key, accept)) {
		call_problem(&r->call, 400, "Sec-WebSocket-Version",
			"not a WebSocket handshake; allowed: version 13 with a key of 16 bytes");
		return NULL;
	}
	m = switching(r, "websocket");
	if (m)
		MHD_add_response_header(m, "Sec-WebSocket-Accept", accept);
	if (m && has_word(call_header(&r->call, "Sec-WebSocket-Protocol"), "polycloud-stream"))
		MHD_add_response_header(m, "Sec-WebSocket-Protocol", "polycloud-stream");
	return m;
}

static struct pipe_end *pipe_new(struct req *r, const struct pipe_ops *ops, void *arg, bool framed)
{
	static const struct ws_ops ws_ops = {deliver, append};
	struct pipe_end *p = calloc(1, sizeof(*p));

	if (!p || (framed && ws_new(&ws_ops, p, &p->ws) < 0)) {
		free(p);
		return NULL;
	}
	p->server = r->server;
	p->ops = ops;
	p->arg = arg;
	p->over.fire = over;
	p->req = r;
	if (r->call.token_id)
		snprintf(p->token, sizeof(p->token), "%s", r->call.token_id);
	r->pipe = p;
	p->next = p->server->pipes;
	p->at = &p->server->pipes;
	if (p->next)
		p->next->at = &p->next;
	p->server->pipes = p;
	return p;
}

static struct pipe_end *answer(
	struct req *r, struct MHD_Response *m, const struct pipe_ops *ops, void *arg, bool framed)
{
	struct pipe_end *p = m ? pipe_new(r, ops, arg, framed) : NULL;

	if (!p) {
		if (m)
			MHD_destroy_response(m);
		call_problem(&r->call, 500, NULL, "out of memory");
		return NULL;
	}
	if (!r->conn) { /* the client has left already */
		r->pipe = NULL;
		pipe_gone(p);
	}
	req_answer(r, 101, m);
	return p;
}

struct pipe_end *call_upgrade(struct call *c, const struct pipe_ops *ops, void *arg)
{
	struct req *r = req_of(c);
	const char *upgrade = call_header(c, "Upgrade");
	bool framed = has_word(upgrade, "websocket");
	struct MHD_Response *m;

	if (!framed && !has_word(upgrade, "polycloud-stream")) {
		call_problem(c, 426, "Upgrade",
			"this is a stream; allowed: Upgrade: websocket or polycloud-stream");
		return NULL;
	}
	m = framed ? websocket(r) : switching(r, "polycloud-stream");
	if (framed && !m)
		return NULL;
	return answer(r, m, ops, arg, framed);
}

/* ---- for its user ---- */

ssize_t pipe_write(struct pipe_end *p, const void *buf, size_t n)
{
	int r;

	if (p->dead || p->closing)
		return -EPIPE;
	if (n > WINDOW)
		return -EMSGSIZE;
	if (p->out_len + n > WINDOW + HEAD_SPARE) {
		p->want_writable = true;
		return -EAGAIN;
	}
	r = p->ws ? ws_write(p->ws, buf, n) : append(p, buf, n);
	if (r < 0) {
		die(p);
		return r;
	}
	flush(p);
	if (p->out_len)
		p->want_writable = true;
	return p->out_len < WINDOW ? (ssize_t)(WINDOW - p->out_len) : 0;
}

void pipe_took(struct pipe_end *p, size_t n)
{
	p->untaken -= n < p->untaken ? n : p->untaken;
	if (!p->dead)
		want(p);
}

void pipe_close(struct pipe_end *p)
{
	if (p->dead || p->closing)
		return;
	if (p->ws)
		ws_close(p->ws);
	p->closing = true;
	ev_timer_arm(p->server->loop, &p->over, ev_now_ns() + FLUSH_S * 1000000000ull);
	flush(p);
}

/* ---- for a protocol of its own: a socket pair that is copied to and from ---- */

struct relay {
	struct pipe_end *pipe;
	struct ev_fd sock;
	char *out; /* from the client, not yet written */
	size_t out_len;
	uint32_t events;
};

static void relay_want(struct relay *y, bool read)
{
	uint32_t events = (read ? EPOLLIN : 0) | (y->out_len ? EPOLLOUT : 0);

	if (events != y->events && y->sock.loop)
		ev_mod(&y->sock, events);
	y->events = events;
}

static void relay_flush(struct relay *y)
{
	ssize_t n = send(y->sock.fd, y->out, y->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0) {
		memmove(y->out, y->out + n, y->out_len - (size_t)n);
		y->out_len -= (size_t)n;
		pipe_took(y->pipe, (size_t)n);
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		pipe_close(y->pipe);
		y->out_len = 0;
	}
	relay_want(y, y->events & EPOLLIN);
}

static void relay_data(struct pipe_end *p, const void *buf, size_t n, void *arg)
{
	struct relay *y = arg;

	/* The window holds a read beyond it at most. */
	memcpy(y->out + y->out_len, buf, n);
	y->out_len += n;
	relay_flush(y);
}

static void relay_writable(struct pipe_end *p, void *arg)
{
	relay_want(arg, true);
}

static void relay_closed(struct pipe_end *p, void *arg)
{
	struct relay *y = arg;

	(void)p;
	ev_del(&y->sock);
	close(y->sock.fd);
	free(y->out);
	free(y);
}

static void relay_ready(struct ev_fd *w, uint32_t events)
{
	struct relay *y = container_of(w, struct relay, sock);
	char buf[32768];
	ssize_t n, room;

	if ((events & EPOLLOUT) && y->out_len)
		relay_flush(y);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	n = recv(w->fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ev_del(&y->sock);
		pipe_close(y->pipe);
		return;
	}
	room = pipe_write(y->pipe, buf, (size_t)n);
	if (room < (ssize_t)sizeof(buf))
		relay_want(y, false);
}

static const struct pipe_ops relay_ops = {relay_data, relay_writable, relay_closed};

struct link_wire *call_upgrade_wire(struct call *c, const char *protocol)
{
	struct req *r = req_of(c);
	struct relay *y = calloc(1, sizeof(*y));
	int pair[2];

	if (!has_word(call_header(c, "Upgrade"), protocol)) {
		free(y);
		call_problem(c, 426, "Upgrade", "allowed: Upgrade: %s", protocol);
		return NULL;
	}
	if (y)
		y->out = malloc(WINDOW + 16384);
	if (!y || !y->out ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		free(y ? y->out : NULL);
		free(y);
		call_problem(c, 500, NULL, "out of memory or descriptors");
		return NULL;
	}
	y->sock = (struct ev_fd){.fd = pair[0], .ready = relay_ready};
	y->events = EPOLLIN;
	if (ev_add(c->control->loop, &y->sock, EPOLLIN) == 0)
		y->pipe = answer(r, switching(r, protocol), &relay_ops, y, false);
	else
		call_problem(c, 500, NULL, "out of memory or descriptors");
	if (!y->pipe) {
		if (y->sock.loop)
			ev_del(&y->sock);
		close(pair[0]);
		close(pair[1]);
		free(y->out);
		free(y);
		return NULL;
	}
	return link_wire_socket(pair[1]);
}
