/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over a connected stream socket, each after its length in four bytes, big-endian. What has
 * arrived is read into `in` as much at a time as fits and cut into frames there; a frame that the
 * socket takes only in part keeps its rest in `out`, and no other is sent before that. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "devices/backend/netdev.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"

#define LEN_BYTES 4
#define FRAME_MAX 65550
#define IN_BYTES  (LEN_BYTES + FRAME_MAX)
#define SEND_IOV  257

struct stream {
	struct netdev net; /* first */
	int fd;
	struct ev_fd watch;
	bool want_read, ended;
	void (*readable)(void *arg);
	void (*writable)(void *arg);
	void *arg;
	size_t in_at, in_len; /* unread bytes of in: [in_at, in_at + in_len) */
	size_t out_at, out_len;
	uint8_t in[IN_BYTES], out[LEN_BYTES + FRAME_MAX];
};

static struct stream *of_net(struct netdev *n)
{
	return (struct stream *)n;
}

static void listen_for(struct stream *s)
{
	ev_mod(&s->watch, (s->want_read && !s->ended ? EPOLLIN : 0) | (s->out_len ? EPOLLOUT : 0));
}

/* The peer is gone. */
static void end(struct stream *s)
{
	s->ended = true;
	s->net.gone = true;
	s->in_len = s->out_len = 0;
	ev_del(&s->watch);
}

/* Sends the rest of a frame; true when nothing is left. */
static bool flush(struct stream *s)
{
	while (s->out_len) {
		ssize_t r =
			send(s->fd, s->out + s->out_at, s->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno != EAGAIN)
			end(s);
		if (r <= 0)
			return !s->out_len;
		s->out_at += r;
		s->out_len -= r;
	}
	return true;
}

static void ready(struct ev_fd *w, uint32_t events)
{
	struct stream *s = container_of(w, struct stream, watch);

	if (events & EPOLLOUT && s->out_len && flush(s) && !s->ended) {
		listen_for(s);
		s->writable(s->arg);
	}
	if (s->watch.loop && events & (EPOLLHUP | EPOLLERR) && !(events & EPOLLIN && s->want_read))
		end(s);
	if (s->ended || (events & EPOLLIN && s->want_read))
		s->readable(s->arg);
}

static int stream_bind(struct netdev *n, struct ev_loop *loop, void (*readable)(void *arg),
	void (*writable)(void *arg), void *arg)
{
	struct stream *s = of_net(n);

	s->readable = readable;
	s->writable = writable;
	s->arg = arg;
	s->want_read = true;
	s->watch = (struct ev_fd){.fd = s->fd, .ready = ready};
	return s->ended ? 0 : ev_add(loop, &s->watch, EPOLLIN | (s->out_len ? EPOLLOUT : 0));
}

static void stream_unbind(struct netdev *n)
{
	ev_del(&of_net(n)->watch);
}

/* The whole frame at the front of `in`, or 0; *ret_len is its length. A length that no frame has
 * means that the peer is not speaking our protocol. */
static int peek_frame(struct stream *s, uint32_t *ret_len)
{
	uint32_t len;

	if (s->in_len < LEN_BYTES)
		return 0;
	memcpy(&len, s->in + s->in_at, LEN_BYTES);
	len = ntohl(len);
	if (!len || len > FRAME_MAX)
		return -EPROTO;
	*ret_len = len;
	return s->in_len >= LEN_BYTES + len;
}

static int read_more(struct stream *s)
{
	ssize_t r;

	memmove(s->in, s->in + s->in_at, s->in_len);
	s->in_at = 0;
	do
		r = recv(s->fd, s->in + s->in_len, sizeof(s->in) - s->in_len, MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (r <= 0)
		return -EPIPE;
	s->in_len += r;
	return 0;
}

static size_t scatter(const struct iovec *iov, unsigned niov, const uint8_t *p, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < niov && done < len; i++) {
		size_t part = MIN(iov[i].iov_len, len - done);

		memcpy(iov[i].iov_base, p + done, part);
		done += part;
	}
	return done;
}

static int stream_recv(struct netdev *n, const struct iovec *iov, unsigned niov)
{
	struct stream *s = of_net(n);
	uint32_t len = 0;
	int r;

	if (s->ended)
		return -EAGAIN;
	while ((r = peek_frame(s, &len)) == 0) {
		r = read_more(s);
		if (r == -EAGAIN)
			return r;
		if (r < 0)
			break;
	}
	if (r < 0) {
		end(s);
		return r;
	}
	r = scatter(iov, niov, s->in + s->in_at + LEN_BYTES, len);
	s->in_at += LEN_BYTES + len;
	s->in_len -= LEN_BYTES + len;
	return r;
}

static size_t keep_rest(struct stream *s, const struct iovec *iov, unsigned niov, size_t skip)
{
	size_t len = 0;

	for (unsigned i = 0; i < niov; i++) {
		size_t off = MIN(skip, iov[i].iov_len);

		skip -= off;
		memcpy(s->out + len, (uint8_t *)iov[i].iov_base + off, iov[i].iov_len - off);
		len += iov[i].iov_len - off;
	}
	return len;
}

static int stream_send(struct netdev *n, const struct iovec *iov, unsigned niov)
{
	struct stream *s = of_net(n);
	struct iovec v[SEND_IOV];
	struct msghdr msg = {.msg_iov = v, .msg_iovlen = niov + 1};
	uint64_t total = 0;
	uint32_t len;
	ssize_t r;

	if (s->ended)
		return -EPIPE;
	if (s->out_len)
		return -EAGAIN;
	if (niov >= SEND_IOV)
		return -EMSGSIZE;
	for (unsigned i = 0; i < niov; i++)
		total += iov[i].iov_len;
	if (!total || total > FRAME_MAX)
		return -EMSGSIZE;
	len = htonl(total);
	v[0] = (struct iovec){&len, LEN_BYTES};
	memcpy(v + 1, iov, niov * sizeof(v[0]));
	do
		r = sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno != EAGAIN) {
		r = -errno;
		end(s);
		return r;
	}
	if (r == (ssize_t)(total + LEN_BYTES))
		return 0;
	/* The socket is full: this frame is kept whole or in part, the next one waits. */
	s->out_at = 0;
	s->out_len = keep_rest(s, v, niov + 1, MAX(r, 0));
	listen_for(s);
	return 0;
}

static int stream_set_offload(struct netdev *n, unsigned tun_flags)
{
	return tun_flags ? -EOPNOTSUPP : 0;
}

static void stream_want_read(struct netdev *n, bool on)
{
	struct stream *s = of_net(n);

	s->want_read = on;
	listen_for(s);
}

static void stream_free(struct netdev *n)
{
	close(of_net(n)->fd);
	free(n);
}

static const struct netdev_ops stream_ops = {
	.name = "stream",
	.bind = stream_bind,
	.unbind = stream_unbind,
	.recv = stream_recv,
	.send = stream_send,
	.set_offload = stream_set_offload,
	.want_read = stream_want_read,
	.free = stream_free,
};

int netdev_stream_new(int fd, struct netdev **ret_netdev)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->net.ops = &stream_ops;
	s->fd = fd;
	*ret_netdev = &s->net;
	return 0;
}
