/* SPDX-License-Identifier: Apache-2.0 */
/* A stream to a port of the guest, through passt's port on 127.0.0.1. passt takes the connection
 * before the guest does, and resets it when the guest refuses or is not up yet: as long as nothing
 * came from the guest, and little from the client, the node tries again, so that "ssh" just after
 * "create" waits instead of failing. Each way ends by itself. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/node/node_priv.h"

#define WAIT_S	 60	      /* when the request does not say wait=SECONDS */
#define AGAIN_NS 250000000u   /* between tries */
#define SAID_MAX (64u << 10)  /* of the client, to be said again */
#define WINDOW	 (256u << 10) /* of a stream: more is never kept */

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
	bool connected;
	bool settled;	/* the guest was heard of, or too much was said to say it again */
	bool eof, shut; /* the client has ended, and the guest was told */
	bool guest_eof; /* and the other way */
	bool full, over;
};

static void begin(struct tunnel *t);

static void hang_up(struct tunnel *t)
{
	if (t->watch.fd < 0)
		return;
	if (t->watch.loop)
		ev_del(&t->watch);
	close(t->watch.fd);
	t->watch.fd = -1;
}

/* Not settled yet: what was said is said again. Else it is over, and the client gets what is still
 * queued for it. */
static void lost(struct tunnel *t)
{
	hang_up(t);
	t->connected = false;
	if (!t->settled && ev_now_ns() <= t->until_ns) {
		t->sent = 0;
		t->shut = false;
		ev_timer_arm(t->node->loop, &t->timer, ev_now_ns() + AGAIN_NS);
		return;
	}
	t->over = true;
	link_stream_took(t->s, t->len);
	t->len = t->sent = 0;
	if (t->settled)
		link_stream_end(t->s);
	else
		link_stream_reset(t->s);
}

/* With nothing to wait for it is not watched at all: a hang-up is always told. */
static void watch_for(struct tunnel *t)
{
	uint32_t events = t->full || t->guest_eof ? 0 : EPOLLIN;
	int r = 0;

	if (t->watch.fd < 0)
		return;
	if (!t->connected || t->sent < t->len)
		events |= EPOLLOUT;
	if (events && t->watch.loop)
		r = ev_mod(&t->watch, events);
	else if (events)
		r = ev_add(t->node->loop, &t->watch, events);
	else if (t->watch.loop)
		ev_del(&t->watch);
	if (r < 0)
		link_stream_reset(t->s);
}

/* To the guest. Kept for another try until it is settled. */
static int give(struct tunnel *t)
{
	while (t->sent < t->len) {
		ssize_t n = send(t->watch.fd, t->out + t->sent, t->len - t->sent,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0)
			break;
		t->sent += (size_t)n;
	}
	t->settled |= t->sent > SAID_MAX;
	if (t->settled && t->sent) {
		link_stream_took(t->s, t->sent);
		t->len -= t->sent;
		memmove(t->out, t->out + t->sent, t->len);
		t->sent = 0;
	}
	if (t->eof && !t->shut && t->sent == t->len) {
		t->shut = true;
		shutdown(t->watch.fd, SHUT_WR);
	}
	return t->shut && t->guest_eof ? -EPIPE : 0;
}

static int take(struct tunnel *t)
{
	char buf[16384];
	ssize_t n = recv(t->watch.fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	t->settled = true;
	if (n == 0) {
		t->guest_eof = true;
		link_stream_end(t->s);
	} else if (link_stream_write(t->s, buf, (size_t)n) < (ssize_t)sizeof(buf)) {
		t->full = true; /* no room for another piece */
	}
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
	if (r == 0 && !t->full && !t->guest_eof && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
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

/* There is more to tell the guest. */
static void told(struct tunnel *t)
{
	if (t->connected && give(t) < 0)
		lost(t);
	else if (t->connected)
		watch_for(t);
}

static void on_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	struct tunnel *t = arg;
	char *more = t->over ? NULL : realloc(t->out, t->len + n);

	if (!more) {
		link_stream_took(s, n);
		if (!t->over)
			link_stream_reset(s);
		return;
	}
	memcpy(more + t->len, p, n);
	t->out = more;
	t->len += n;
	told(t);
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
	told(t);
	if (t->over)
		link_stream_end(s);
}

static void on_closed(struct link_stream *s, int error, void *arg)
{
	struct tunnel *t = arg;

	/* Both ways have ended, but the guest did not read all yet: the kernel keeps the rest. */
	if (!error && t->eof && t->connected && t->sent < t->len) {
		int room = 2 * WINDOW;

		if (setsockopt(t->watch.fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
			setsockopt(t->watch.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
		give(t);
	}
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
