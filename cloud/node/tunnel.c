/* SPDX-License-Identifier: Apache-2.0 */
/* A stream to a port of the guest, through passt's port on 127.0.0.1. passt takes the connection
 * before the guest does, and resets it when the guest refuses or is not up yet: as long as nothing
 * came from the guest, the node tries again, so that "ssh" just after "create" waits instead of
 * failing. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/node/node_priv.h"

#define WAIT_S	 60	     /* when the request does not say wait=SECONDS */
#define AGAIN_NS 250000000u  /* between tries */
#define SAID_MAX (64u << 10) /* of the client, to be said again */

struct tunnel {
	struct node *node;
	struct link_stream *s;
	struct ev_fd watch;
	struct ev_timer timer;
	char id[64];
	unsigned guest;
	uint64_t until_ns;
	char *out; /* of the client */
	size_t len, sent;
	bool connected, heard, eof, shut, full;
};

static void begin(struct tunnel *t);

static void hang_up(struct tunnel *t)
{
	if (t->watch.fd < 0)
		return;
	ev_del(&t->watch);
	close(t->watch.fd);
	t->watch.fd = -1;
}

/* Not heard of the guest yet: what was said is said again. Else it is over. */
static void lost(struct tunnel *t)
{
	hang_up(t);
	t->connected = false;
	if (t->heard || ev_now_ns() > t->until_ns) {
		if (t->heard)
			link_stream_end(t->s);
		else
			link_stream_reset(t->s);
		return;
	}
	t->sent = 0;
	t->shut = false;
	ev_timer_arm(t->node->loop, &t->timer, ev_now_ns() + AGAIN_NS);
}

static void watch_for(struct tunnel *t)
{
	uint32_t events = t->full ? 0 : EPOLLIN;

	if (!t->connected || t->sent < t->len)
		events |= EPOLLOUT;
	if (t->watch.fd >= 0)
		ev_mod(&t->watch, events);
}

/* To the guest. Kept until it has been heard of, for another try. */
static int give(struct tunnel *t)
{
	while (t->sent < t->len) {
		ssize_t n = send(t->watch.fd, t->out + t->sent, t->len - t->sent,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		t->sent += (size_t)n;
	}
	if (t->heard && t->len) {
		link_stream_took(t->s, t->len);
		t->len = t->sent = 0;
	}
	if (t->eof && !t->shut) {
		t->shut = true;
		shutdown(t->watch.fd, SHUT_WR);
	}
	return 0;
}

static int take(struct tunnel *t)
{
	char buf[16384];
	ssize_t n = recv(t->watch.fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return t->heard ? -EPIPE : -ECONNRESET;
	t->heard = true;
	if (link_stream_write(t->s, buf, (size_t)n) < (ssize_t)sizeof(buf))
		t->full = true; /* no room for another piece */
	return give(t);
}

static void on_ready(struct ev_fd *w, uint32_t events)
{
	struct tunnel *t = container_of(w, struct tunnel, watch);
	int error = 0, r = 0;
	socklen_t len = sizeof(error);

	if (!t->connected) {
		getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		t->connected = !error;
		r = -error;
	}
	if (r == 0)
		r = give(t);
	if (r == 0 && !t->full && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		r = take(t);
	if (r < 0)
		lost(t);
	else
		watch_for(t);
}

static void begin(struct tunnel *t)
{
	struct instance *in = instance_find(t->node, t->id);
	unsigned port = in ? port_of(in, t->guest) : 0;
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (!in || in->deleting || fd < 0) {
		if (fd >= 0)
			close(fd);
		link_stream_reset(t->s);
		return;
	}
	t->watch = (struct ev_fd){.fd = fd, .ready = on_ready};
	if (!port || (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno != EINPROGRESS) ||
		ev_add(t->node->loop, &t->watch, EPOLLOUT) < 0) {
		close(fd);
		t->watch.fd = -1;
		lost(t);
	}
}

static void on_time(struct ev_timer *timer)
{
	begin(container_of(timer, struct tunnel, timer));
}

/* ---- the client ---- */

static void on_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	struct tunnel *t = arg;
	char *more = realloc(t->out, t->len + n);

	if (!more || t->len + n > 4 * SAID_MAX) {
		link_stream_reset(s);
		return;
	}
	memcpy(more + t->len, p, n);
	t->out = more;
	t->len += n;
	if (t->connected && give(t) < 0)
		lost(t);
	else if (t->connected)
		watch_for(t);
}

static void on_writable(struct link_stream *s, void *arg)
{
	struct tunnel *t = arg;

	t->full = false;
	watch_for(t);
}

static void on_eof(struct link_stream *s, void *arg)
{
	struct tunnel *t = arg;

	t->eof = true;
	if (t->connected && give(t) < 0)
		lost(t);
}

static void on_closed(struct link_stream *s, int error, void *arg)
{
	struct tunnel *t = arg;

	hang_up(t);
	ev_timer_cancel(&t->timer);
	free(t->out);
	free(t);
}

static const struct link_stream_ops ops = {
	.data = on_data, .writable = on_writable, .eof = on_eof, .closed = on_closed};

void tunnel_open(struct instance *in, struct link_req *r)
{
	unsigned guest = request_number(r, "port", 22);
	struct tunnel *t;

	if (guest < 1 || guest > 65535) {
		link_problem(r, 400, "port: 1 to 65535 is allowed");
		return;
	}
	if (!part_needed(in, PART_NET)) {
		link_problem(r, 409, "the instance has no network");
		return;
	}
	t = calloc(1, sizeof(*t));
	if (!t) {
		link_problem(r, 500, "out of memory");
		return;
	}
	*t = (struct tunnel){.node = in->node,
		.watch.fd = -1,
		.timer.fire = on_time,
		.guest = guest,
		.until_ns = ev_now_ns() + request_number(r, "wait", WAIT_S) * 1000000000ull};
	memcpy(t->id, in->id, sizeof(t->id));
	t->s = link_accept(r, &ops, t);
	if (!t->s) {
		free(t);
		return;
	}
	/* A port that nobody asked for yet: passt is started anew with it, the guest goes on. */
	if (!port_of(in, guest) && port_make(in, guest)) {
		instance_save(in);
		in->net_stale = true;
		instance_dirty(in);
	}
	ev_timer_arm(t->node->loop, &t->timer, ev_now_ns());
}
