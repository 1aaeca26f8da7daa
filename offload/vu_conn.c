/* SPDX-License-Identifier: Apache-2.0 */
/* The stream below the messages. Reading asks for just what the message under way still lacks, its
 * header and then its payload, so that file descriptors, which travel with the bytes that they were
 * sent with, stay with their message. What does not leave at once is copied and leaves when the
 * socket takes it. */
#include "offload/vu_msg.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"

#define HEAD	   12 /* request, flags, size */
#define PAYLOAD	   sizeof(((struct vu_msg *)0)->p)
#define QUEUED_MAX 64
#define BURST	   32 /* messages in one round: other fds of the loop want a turn, too */

struct queued {
	struct list link;
	size_t len, sent;
	unsigned nfds; /* not sent yet; owned */
	int fds[VU_FDS];
	uint8_t bytes[HEAD + PAYLOAD];
};

struct vu_conn {
	struct ev_fd io; /* owns fd */
	const struct vu_conn_ops *ops;
	void *arg;
	struct vu_msg in;
	size_t got; /* bytes of `in`, its header first */
	struct list out;
	unsigned nout;
	bool paused;
	bool in_handler, freed; /* freed from inside a handler: the last one out does it */
};

union fd_space {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(VU_FDS * sizeof(int))];
};

static void drop_queued(struct queued *q)
{
	list_del(&q->link);
	for (unsigned i = 0; i < q->nfds; i++)
		close(q->fds[i]);
	free(q);
}

static void destroy(struct vu_conn *c)
{
	list_for_each_safe (it, &c->out)
		drop_queued(container_of(it, struct queued, link));
	vu_msg_close_fds(&c->in);
	close(c->io.fd);
	free(c);
}

void vu_conn_free(struct vu_conn *c)
{
	if (!c || c->freed)
		return;
	ev_del(&c->io);
	c->freed = true;
	if (!c->in_handler)
		destroy(c);
}

static void watch(struct vu_conn *c)
{
	if (c->io.loop)
		ev_mod(&c->io, (c->paused ? 0 : EPOLLIN) | (c->nout ? EPOLLOUT : 0));
}

/* ---- out ---- */

/* Bytes sent from [at, at+len), the fds with the first; or a negative errno. */
static ssize_t send_some(int fd, const void *at, size_t len, const int *fds, unsigned nfds)
{
	struct iovec iov = {(void *)at, len};
	union fd_space space = {0};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (nfds) {
		m.msg_control = &space;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		space.align =
			(struct cmsghdr){CMSG_LEN(nfds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&space.align), fds, nfds * sizeof(int));
	}
	do
		n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* 0: all sent; -EAGAIN: the rest later; or broken. */
static int send_queued(int fd, struct queued *q)
{
	while (q->sent < q->len) {
		ssize_t n = send_some(fd, q->bytes + q->sent, q->len - q->sent, q->fds, q->nfds);

		if (n < 0)
			return n;
		q->sent += n;
		for (; q->nfds; q->nfds--)
			close(q->fds[q->nfds - 1]);
	}
	return 0;
}

static int flush(struct vu_conn *c)
{
	while (!list_empty(&c->out)) {
		struct queued *q = container_of(c->out.next, struct queued, link);
		int r = send_queued(c->io.fd, q);

		if (r < 0)
			return r == -EAGAIN ? 0 : r;
		drop_queued(q);
		c->nout--;
	}
	return 0;
}

static int enqueue(
	struct vu_conn *c, const uint8_t *bytes, size_t len, size_t sent, const struct vu_msg *m)
{
	struct queued *q;

	if (c->nout >= QUEUED_MAX)
		return -EPIPE;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	memcpy(q->bytes, bytes, len);
	q->len = len;
	q->sent = sent;
	list_add(&c->out, &q->link);
	for (unsigned i = 0; !sent && i < m->nfds; i++) {
		q->fds[i] = fcntl(m->fds[i], F_DUPFD_CLOEXEC, 0);
		if (q->fds[i] < 0) {
			int r = -errno;

			drop_queued(q);
			return r;
		}
		q->nfds++;
	}
	c->nout++;
	watch(c);
	return 0;
}

int vu_conn_send(struct vu_conn *c, const struct vu_msg *m)
{
	uint8_t bytes[HEAD + PAYLOAD];
	size_t len = HEAD + m->size;
	ssize_t n = 0;

	if (m->size > PAYLOAD || m->nfds > VU_FDS)
		return -EMSGSIZE;
	memcpy(bytes, m, HEAD);
	memcpy(bytes + HEAD, &m->p, m->size);
	if (!c->nout)
		n = send_some(c->io.fd, bytes, len, m->fds, m->nfds);
	if (n < 0 && n != -EAGAIN)
		return n;
	n = MAX(n, (ssize_t)0);
	return (size_t)n == len ? 0 : enqueue(c, bytes, len, n, m);
}

/* ---- in ---- */

/* Adds what came to in.fds. -EPROTO when there were more than a message may have. */
static int take_fds(struct vu_conn *c, struct msghdr *m)
{
	int r = m->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fd;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
			if (c->in.nfds < VU_FDS) {
				c->in.fds[c->in.nfds++] = fd;
			} else {
				close(fd);
				r = -EPROTO;
			}
		}
	}
	return r;
}

/* Bytes read, -ENOTCONN at the stream's end, -EAGAIN, or broken. */
static ssize_t receive(struct vu_conn *c, void *to, size_t len)
{
	struct iovec iov = {to, len};
	union fd_space space;
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &space,
		.msg_controllen = sizeof(space)};
	ssize_t n;
	int r;

	do
		n = recvmsg(c->io.fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	r = take_fds(c, &m);
	if (n == 0) /* inside a message it is a broken one */
		return c->got ? -EPROTO : -ENOTCONN;
	return r < 0 ? r : n;
}

/* 1: `in` is whole; else as receive(). */
static int read_message(struct vu_conn *c)
{
	for (;;) {
		uint8_t *to = c->got < HEAD ? (uint8_t *)&c->in + c->got
					    : (uint8_t *)&c->in.p + (c->got - HEAD);
		size_t end = c->got < HEAD ? HEAD : HEAD + c->in.size;
		ssize_t n;

		if (c->got >= HEAD && c->got == end)
			return 1;
		n = receive(c, to, end - c->got);
		if (n < 0)
			return n;
		c->got += n;
		if (c->got == HEAD &&
			((c->in.flags & 3) != VU_VERSION || c->in.size > sizeof(c->in.p)))
			return -EPROTO;
	}
}

/* Hands `in` over; what is left of its fds is closed. */
static int deliver(struct vu_conn *c)
{
	struct vu_msg m = c->in;
	int r;

	c->in.nfds = 0;
	c->in.size = 0;
	memset(&c->in.p, 0, sizeof(c->in.p)); /* what a short payload leaves out is zero */
	c->got = 0;
	r = c->ops->message(c->arg, &m);
	vu_msg_close_fds(&m);
	return r;
}

/* 0, or why the connection ends. */
static int read_messages(struct vu_conn *c)
{
	for (int i = 0; i < BURST && !c->paused; i++) {
		int r = read_message(c);

		if (r == -EAGAIN)
			return 0;
		if (r > 0)
			r = deliver(c);
		if (r < 0 || c->freed)
			return r;
	}
	return 0;
}

static void ready(struct ev_fd *w, uint32_t events)
{
	struct vu_conn *c = container_of(w, struct vu_conn, io);
	int r = 0;

	c->in_handler = true;
	if (events & EPOLLOUT) {
		r = flush(c);
		watch(c);
	}
	if (r == 0 && !c->paused)
		r = read_messages(c);
	else if (r == 0 && events & (EPOLLHUP | EPOLLERR))
		r = -ENOTCONN;
	if (r < 0 && !c->freed) {
		ev_del(&c->io);
		c->ops->gone(c->arg, r);
	}
	c->in_handler = false;
	if (c->freed)
		destroy(c);
}

void vu_conn_pause(struct vu_conn *c, bool paused)
{
	c->paused = paused;
	watch(c);
}

bool vu_conn_hung_up(const struct vu_conn *c)
{
	struct pollfd p = {.fd = c->io.fd};

	return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR);
}

int vu_conn_new(struct ev_loop *loop, int fd, const struct vu_conn_ops *ops, void *arg,
	struct vu_conn **ret_conn)
{
	struct vu_conn *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	*c = (struct vu_conn){.io = {.fd = fd, .ready = ready}, .ops = ops, .arg = arg};
	list_init(&c->out);
	r = ev_add(loop, &c->io, EPOLLIN);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret_conn = c;
	return 0;
}
