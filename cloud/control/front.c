/* SPDX-License-Identifier: Apache-2.0 */
/* A peer is a client: its socket with TLS, our end of the pair, and one buffer each way. A buffer
 * that is not empty stops the reading that fills it, which is all the back-pressure there is.
 * GnuTLS wants a record that did not go offered again unchanged; the buffer waits for that.
 */
#include "cloud/control/front.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/base/list.h"

#define PEERS	    2048
#define HANDSHAKE_S 10
#define RETRY_MS    100 /* after accept() failed for want of descriptors, or with all places taken */
#define TURNS	    32	/* buffers that one peer moves before others have their turn */
#define BUF_SIZE    16384

struct way {
	size_t at, len; /* of buf, what is still to be written */
	bool eof;	/* its reading end is over */
	bool closed;	/* and that was passed on */
	char buf[BUF_SIZE];
};

struct peer {
	struct list node;
	struct front *front;
	gnutls_session_t tls;
	struct ev_fd net, inner;
	uint32_t net_events, inner_events; /* watched; 0 = not in the loop */
	struct ev_timer timer;		   /* the handshake's end; later: goes on */
	bool ready;
	struct way in, out; /* from the client, to it */
	struct sockaddr_storage addr;
	socklen_t addr_len;
};

struct front {
	struct ev_loop *loop;
	struct front_opts o;
	gnutls_certificate_credentials_t cred;
	gnutls_priority_t priority;
	struct ev_fd listen;
	struct ev_timer again;
	struct list peers;
	unsigned n;
};

static void peer_free(struct peer *p)
{
	struct front *f = p->front;

	ev_timer_cancel(&p->timer);
	if (p->net_events)
		ev_del(&p->net);
	if (p->inner_events)
		ev_del(&p->inner);
	if (p->tls)
		gnutls_deinit(p->tls);
	if (p->net.fd >= 0)
		close(p->net.fd);
	if (p->inner.fd >= 0)
		close(p->inner.fd);
	list_del(&p->node);
	f->n--;
	free(p);
}

/* An fd that waits for nothing leaves the loop: a hang-up would be reported without end. */
static int watch(struct peer *p, struct ev_fd *w, uint32_t *now, uint32_t want)
{
	int r = 0;

	if (want == *now)
		return 0;
	if (!want)
		ev_del(w);
	else
		r = *now ? ev_mod(w, want) : ev_add(p->front->loop, w, want);
	if (r == 0)
		*now = want;
	return r;
}

static bool soft(ssize_t r)
{
	return r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED;
}

/* ---- the two ways: 1 something moved, 0 nothing, negative the peer is over ---- */

static int fill_in(struct peer *p)
{
	ssize_t n = gnutls_record_recv(p->tls, p->in.buf, sizeof(p->in.buf));

	if (soft(n) || n == GNUTLS_E_REHANDSHAKE || n == GNUTLS_E_WARNING_ALERT_RECEIVED)
		return 0;
	if (n < 0 && n != GNUTLS_E_PREMATURE_TERMINATION)
		return -EPROTO;
	p->in.eof = n <= 0;
	p->in.at = 0;
	p->in.len = n > 0 ? (size_t)n : 0;
	return 1;
}

static int drain_in(struct peer *p)
{
	ssize_t n = send(p->inner.fd, p->in.buf + p->in.at, p->in.len, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	p->in.at += (size_t)n;
	p->in.len -= (size_t)n;
	return 1;
}

static int fill_out(struct peer *p)
{
	ssize_t n = recv(p->inner.fd, p->out.buf, sizeof(p->out.buf), 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	p->out.eof = n == 0;
	p->out.at = 0;
	p->out.len = (size_t)n;
	return 1;
}

static int drain_out(struct peer *p)
{
	ssize_t n = gnutls_record_send(p->tls, p->out.buf + p->out.at, p->out.len);

	if (n < 0)
		return soft(n) ? 0 : -EPROTO;
	p->out.at += (size_t)n;
	p->out.len -= (size_t)n;
	return 1;
}

static int move_in(struct peer *p)
{
	if (p->in.len)
		return drain_in(p);
	if (!p->in.eof)
		return fill_in(p);
	if (p->in.closed)
		return 0;
	p->in.closed = true;
	shutdown(p->inner.fd, SHUT_WR);
	return 1;
}

static int move_out(struct peer *p)
{
	int r;

	if (p->out.len)
		return drain_out(p);
	if (!p->out.eof)
		return fill_out(p);
	if (p->out.closed)
		return 0;
	r = gnutls_bye(p->tls, GNUTLS_SHUT_WR);
	if (soft(r))
		return 0;
	p->out.closed = true;
	shutdown(p->net.fd, SHUT_WR);
	return r < 0 ? -EPROTO : 1;
}

static int handshake(struct peer *p)
{
	int r = gnutls_handshake(p->tls), pair[2];

	if (r < 0)
		return gnutls_error_is_fatal(r) ? -EPROTO : soft(r) ? 0 : 1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ev_timer_cancel(&p->timer);
	p->ready = true;
	p->inner.fd = pair[0];
	p->front->o.opened(
		p->front->o.arg, pair[1], (const struct sockaddr *)&p->addr, p->addr_len);
	return 1;
}

static int wishes(struct peer *p)
{
	uint32_t net, inner = 0;

	if (!p->ready)
		return watch(p, &p->net, &p->net_events,
			gnutls_record_get_direction(p->tls) ? EPOLLOUT : EPOLLIN);
	net = !p->in.len && !p->in.eof ? EPOLLIN : 0;
	if (p->out.len || (p->out.eof && !p->out.closed))
		net |= EPOLLOUT;
	if (p->in.len)
		inner = EPOLLOUT;
	if (!p->out.len && !p->out.eof)
		inner |= EPOLLIN;
	/* The server may close all while the client says nothing. A hang-up, which is always
	 * reported, tells; a socket of a pair has never anything urgent. */
	if (!inner && p->out.closed && !p->in.closed)
		inner = EPOLLPRI;
	if (watch(p, &p->net, &p->net_events, net) < 0)
		return -ENOMEM;
	return watch(p, &p->inner, &p->inner_events, inner);
}

static void run(struct peer *p)
{
	int turn, moved = 1;

	for (turn = 0; turn < TURNS && moved > 0; turn++) {
		if (!p->ready) {
			moved = handshake(p);
			continue;
		}
		int in = move_in(p), out = in < 0 ? in : move_out(p);
		moved = out < 0 ? out : in | out;
	}
	if (moved < 0 || (p->in.closed && p->out.closed) || wishes(p) < 0) {
		peer_free(p);
		return;
	}
	/* What GnuTLS has read already makes no descriptor readable. */
	if (moved && p->ready)
		ev_timer_arm(p->front->loop, &p->timer, ev_now_ns());
}

static void net_ready(struct ev_fd *w, uint32_t events)
{
	(void)events;
	run(container_of(w, struct peer, net));
}

static void inner_ready(struct ev_fd *w, uint32_t events)
{
	struct peer *p = container_of(w, struct peer, inner);

	/* Nothing of the server's is left to be sent, and it has gone. */
	if (events & EPOLLHUP && p->out.closed)
		peer_free(p);
	else
		run(p);
}

static void timer_fired(struct ev_timer *t)
{
	struct peer *p = container_of(t, struct peer, timer);

	if (p->ready)
		run(p);
	else
		peer_free(p);
}

/* ---- accepting ---- */

static void peer_new(struct front *f, int fd, const struct sockaddr_storage *a, socklen_t len)
{
	struct peer *p = calloc(1, sizeof(*p));
	int on = 1;

	if (!p) {
		close(fd);
		return;
	}
	p->front = f;
	p->addr = *a;
	p->addr_len = len;
	p->net = (struct ev_fd){.fd = fd, .ready = net_ready};
	p->inner = (struct ev_fd){.fd = -1, .ready = inner_ready};
	p->timer.fire = timer_fired;
	list_init(&p->node);
	list_add(&f->peers, &p->node);
	f->n++;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (gnutls_init(&p->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0 ||
		gnutls_priority_set(p->tls, f->priority) < 0 ||
		gnutls_credentials_set(p->tls, GNUTLS_CRD_CERTIFICATE, f->cred) < 0) {
		peer_free(p);
		return;
	}
	gnutls_transport_set_int(p->tls, fd);
	ev_timer_arm(f->loop, &p->timer, ev_now_ns() + HANDSHAKE_S * 1000000000ull);
	run(p);
}

static void accept_ready(struct ev_fd *w, uint32_t events)
{
	struct front *f = container_of(w, struct front, listen);
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	int fd;

	(void)events;
	fd = f->n < PEERS
		     ? accept4(w->fd, (struct sockaddr *)&a, &len, SOCK_NONBLOCK | SOCK_CLOEXEC)
		     : -1;
	if (fd >= 0) {
		peer_new(f, fd, &a, len);
	} else if (f->n >= PEERS || errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
		ev_del(w);
		ev_timer_arm(f->loop, &f->again, ev_now_ns() + RETRY_MS * 1000000ull);
	}
}

static void accept_again(struct front *f)
{
	if (ev_add(f->loop, &f->listen, EPOLLIN) < 0)
		ev_timer_arm(f->loop, &f->again, ev_now_ns() + RETRY_MS * 1000000ull);
}

static void again_fired(struct ev_timer *t)
{
	accept_again(container_of(t, struct front, again));
}

int front_new(
	struct ev_loop *loop, const struct front_opts *o, struct front **ret_front, struct err *e)
{
	gnutls_datum_t cert = {(unsigned char *)o->cert, (unsigned)strlen(o->cert)};
	gnutls_datum_t key = {(unsigned char *)o->key, (unsigned)strlen(o->key)};
	struct front *f = calloc(1, sizeof(*f));
	int r;

	if (!f) {
		close(o->fd);
		return err_set(e, ERR_HOST, -ENOMEM, "no memory");
	}
	f->loop = loop;
	f->o = *o;
	f->listen = (struct ev_fd){.fd = o->fd, .ready = accept_ready};
	f->again.fire = again_fired;
	list_init(&f->peers);
	if ((r = gnutls_certificate_allocate_credentials(&f->cred)) < 0 ||
		(r = gnutls_certificate_set_x509_key_mem(
			 f->cred, &cert, &key, GNUTLS_X509_FMT_PEM)) < 0 ||
		(r = gnutls_priority_init(&f->priority, NULL, NULL)) < 0) {
		front_free(f);
		return err_set(e, ERR_HOST, -EIO, "TLS cannot be set up: %s", gnutls_strerror(r));
	}
	r = ev_add(loop, &f->listen, EPOLLIN);
	if (r < 0) {
		front_free(f);
		return r;
	}
	*ret_front = f;
	return 0;
}

void front_free(struct front *f)
{
	if (!f)
		return;
	while (!list_empty(&f->peers))
		peer_free(container_of(f->peers.next, struct peer, node));
	ev_timer_cancel(&f->again);
	if (f->listen.loop)
		ev_del(&f->listen);
	close(f->listen.fd);
	if (f->priority)
		gnutls_priority_deinit(f->priority);
	if (f->cred)
		gnutls_certificate_free_credentials(f->cred);
	free(f);
}
