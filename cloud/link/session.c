/* SPDX-License-Identifier: Apache-2.0 */
/* The connection's life: bytes in and out in bounded turns, so that one busy link does not starve
 * the loop; PINGs both ways, so that a peer that vanished without a word is noticed; and its end,
 * in which every call is answered and every stream closed. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cloud/link/internal.h"

#define READ_SIZE  (16u << 10)
#define TURN_READ  (256u << 10) /* bytes, then others have their turn */
#define TURN_WRITE (1u << 20)
#define TICK_NS	   (3ull * 1000000000) /* noticed within TICK + DEAD */
#define DEAD_NS	   (11ull * 1000000000)

void link_break(struct link *l, const char *fmt, ...)
{
	va_list ap;

	if (l->broken)
		return;
	l->broken = true;
	va_start(ap, fmt);
	vsnprintf(l->why, sizeof(l->why), fmt, ap);
	va_end(ap);
	link_kick(l);
}

void link_kick(struct link *l)
{
	if (l->depth == 0 && !l->freed && !l->wake.loop)
		ev_timer_arm(l->loop, &l->wake, 0);
}

/* ---- bytes ---- */

static void read_some(struct link *l)
{
	uint8_t buf[READ_SIZE];
	size_t total = 0;
	ssize_t n = 0, used;

	while (!l->broken && !l->freed && total < TURN_READ) {
		n = l->w->read(l->w, buf, sizeof(buf));
		if (n <= 0)
			break;
		total += (size_t)n;
		l->heard_ns = ev_now_ns();
		used = nghttp2_session_mem_recv(l->h2, buf, (size_t)n);
		if (l->freed)
			return;
		if (used < 0)
			link_break(
				l, "the other end broke HTTP/2: %s", nghttp2_strerror((int)used));
	}
	if (l->broken || l->freed)
		return;
	if (n == 0 && total < TURN_READ)
		link_break(l, "the other end closed the connection");
	else if (n < 0 && n != -EAGAIN)
		link_break(l, "the connection broke: %s", strerror((int)-n));
	else if (n > 0 && l->w->pending(l->w))
		ev_timer_arm(l->loop, &l->wake, 0);
}

/* The next bytes of the session: 1, 0 when it has none, or negative. */
static int next_piece(struct link *l)
{
	ssize_t n;

	if (l->out_len)
		return 1;
	n = nghttp2_session_mem_send(l->h2, &l->out);
	if (n < 0)
		return (int)n;
	l->out_len = (size_t)n;
	return n > 0;
}

static void write_some(struct link *l)
{
	uint32_t interest = EPOLLIN;
	size_t total = 0;
	ssize_t n;
	int r;

	while (!l->broken && !l->freed && (r = next_piece(l)) != 0) {
		if (l->freed)
			return;
		if (r < 0) {
			link_break(l, "cannot go on with HTTP/2: %s", nghttp2_strerror(r));
			return;
		}
		n = total < TURN_WRITE ? l->w->write(l->w, l->out, l->out_len) : -EAGAIN;
		if (n == -EAGAIN) {
			interest |= EPOLLOUT;
			break;
		}
		if (n < 0) {
			link_break(l, "the connection broke: %s", strerror((int)-n));
			return;
		}
		l->out += n;
		l->out_len -= (size_t)n;
		total += (size_t)n;
	}
	if (l->freed || l->broken)
		return;
	if (!nghttp2_session_want_read(l->h2) && !nghttp2_session_want_write(l->h2))
		link_break(l, "the other end broke HTTP/2, and was told");
	if (interest == l->interest)
		return;
	l->interest = interest;
	ev_mod(&l->fd, interest);
}

/* What is owed to the owners of streams; what they start in turn waits for the next turn. */
static void tell_ready(struct link *l)
{
	struct list now;

	list_init(&now);
	while (!list_empty(&l->ready)) {
		struct list *n = l->ready.next;

		list_del(n);
		list_add(&now, n);
	}
	while (!list_empty(&now) && !l->freed) {
		struct link_stream *s = container_of(now.next, struct link_stream, ready);

		list_del(&s->ready);
		link_stream_tell(s);
	}
}

/* ---- the end ---- */

static void close_streams(struct link *l)
{
	while (!list_empty(&l->streams))
		link_stream_over(
			container_of(l->streams.next, struct link_stream, node), -ECONNRESET);
	while (!list_empty(&l->requests)) {
		struct link_req_full *r =
			container_of(l->requests.next, struct link_req_full, node);

		list_del(&r->node);
		r->l = NULL;
		r->s = NULL;
	}
}

static void stop(struct link *l)
{
	if (l->fd.loop)
		ev_del(&l->fd);
	ev_timer_cancel(&l->wake);
	ev_timer_cancel(&l->ticker);
}

static void tell_gone(struct link *l)
{
	l->told = true;
	stop(l);
	close_streams(l);
	if (l->freed)
		return;
	if (l->server && l->handler.gone)
		l->handler.gone(l, l->why, l->handler.arg);
	else if (!l->server && l->ev.gone)
		l->ev.gone(l, l->why, l->ev.arg);
}

static void destroy(struct link *l)
{
	nghttp2_session_del(l->h2);
	l->w->free(l->w);
	free(l);
}

void link_free(struct link *l)
{
	if (!l || l->freed)
		return;
	if (!l->broken)
		snprintf(l->why, sizeof(l->why), "this end closed the connection");
	l->broken = true;
	l->freed = true;
	l->depth++;
	stop(l);
	close_streams(l);
	if (--l->depth == 0)
		destroy(l);
}

/* ---- turns ---- */

static void work(struct link *l, bool readable)
{
	l->depth++;
	if (readable)
		read_some(l);
	if (!l->freed)
		tell_ready(l);
	if (!l->freed && !l->broken)
		write_some(l);
	if (!l->freed && !l->broken && !list_empty(&l->ready))
		ev_timer_arm(l->loop, &l->wake, 0);
	if (l->broken && !l->freed && !l->told)
		tell_gone(l);
	if (--l->depth == 0 && l->freed)
		destroy(l);
}

static void on_fd(struct ev_fd *w, uint32_t events)
{
	work(container_of(w, struct link, fd), events & ~EPOLLOUT);
}

static void on_wake(struct ev_timer *t)
{
	struct link *l = container_of(t, struct link, wake);

	work(l, !l->told && l->w->pending(l->w));
}

/* RFC 9113 §6.7. One PING is out at a time; any byte is a sign of life, so that a slow line full
 * of data is not taken for a dead one. */
static void on_tick(struct ev_timer *t)
{
	struct link *l = container_of(t, struct link, ticker);
	uint64_t now = ev_now_ns();

	ev_timer_arm(l->loop, t, now + l->tick_ns);
	if (now - l->heard_ns > l->dead_ns)
		link_break(l, "the other end has been silent for %llu s",
			(unsigned long long)((now - l->heard_ns) / 1000000000));
	else if (!l->ping_out && nghttp2_submit_ping(l->h2, NGHTTP2_FLAG_NONE, NULL) == 0)
		l->ping_out = true;
	work(l, false);
}

void link_keepalive(struct link *l, uint64_t tick_ns, uint64_t dead_ns)
{
	l->tick_ns = tick_ns;
	l->dead_ns = dead_ns;
	ev_timer_arm(l->loop, &l->ticker, ev_now_ns() + tick_ns);
}

int link_new(struct ev_loop *loop, struct link_wire *w, bool server, struct link **ret_link)
{
	struct link *l = w ? calloc(1, sizeof(*l)) : NULL;
	int r = -ENOMEM;

	if (!l)
		goto fail;
	l->loop = loop;
	l->w = w;
	l->server = server;
	l->fd = (struct ev_fd){.fd = w->fd, .ready = on_fd};
	l->wake.fire = on_wake;
	l->ticker.fire = on_tick;
	l->heard_ns = ev_now_ns();
	l->interest = EPOLLIN;
	list_init(&l->streams);
	list_init(&l->requests);
	list_init(&l->ready);
	r = link_session_new(l);
	if (r == 0)
		r = ev_add(loop, &l->fd, l->interest);
	if (r < 0) {
		nghttp2_session_del(l->h2);
		goto fail;
	}
	link_keepalive(l, TICK_NS, DEAD_NS);
	ev_timer_arm(loop, &l->wake, 0); /* the preface, and what a wire has already */
	*ret_link = l;
	return 0;
fail:
	if (w)
		w->free(w);
	free(l);
	return r;
}
