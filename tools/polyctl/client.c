/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 on a unix stream socket: connect, one sendmsg that holds the request and its
 * descriptors, then the answer. A server that hangs is noticed when it does not take the connection
 * or the bytes; how long an answer may take is for the caller to decide (a core dump is long). */
#include "tools/polyctl/client.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include "tools/polyctl/reply.h"
#include "vmm/base/cleanup.h"

#define TAKE_SECONDS 10 /* for a server to accept, and to read on */

static int cannot_connect(const char *path, int error, struct err *e)
{
	const char *advice = "";

	if (error == ENOENT)
		advice = "; start polyvisor with --api-socket path=FILE, or name its socket with "
			 "--socket";
	else if (error == ECONNREFUSED)
		advice = ": nobody listens there any more; the polyvisor that made it has ended";
	else if (error == EACCES)
		advice = "; be the user that runs polyvisor, or root";
	else if (error == EAGAIN)
		advice = ": polyvisor takes no connection; it is very busy or hangs";
	return err_set(e, ERR_HOST, -error, "%.107s: %s%s", path,
		error == EAGAIN ? "timeout" : strerrordesc_np(error), advice);
}

static int connect_to(const char *path, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = TAKE_SECONDS};
	cleanup_fd int fd = -1;

	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(e, ERR_USAGE, -ENAMETOOLONG,
			"--socket: a path of at most %zu bytes is allowed, not %zu",
			sizeof(a.sun_path) - 1, strlen(path));
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* unix(7): a connect() to a full backlog waits as long as a send does. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
		connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return cannot_connect(path, errno, e);
	return steal_fd(&fd);
}

/* Sends everything, descriptors with the first byte. A server that has answered early and closed
 * (-EPIPE) may still be read from. */
static int send_all(int fd, const char *text, size_t len, const int *fds, unsigned nfds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(CLIENT_FDS * sizeof(int))];
	} control = {0};
	size_t at = 0;

	while (at < len) {
		struct iovec iov = {(char *)text + at, len - at};
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

		if (at == 0 && nfds) {
			m.msg_control = control.buf;
			m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
			struct cmsghdr *c = CMSG_FIRSTHDR(&m);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
			memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
		}
		ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return 0;
}

static int send_request(int fd, const char *socket, const struct client_req *q, struct err *e)
{
	cleanup_free char *text = NULL;
	int head, r;

	head = asprintf(&text,
		"%s %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: polyctl/" POLYVISOR_VERSION
		"\r\nAccept: */*\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n",
		q->method, q->path, q->body ? "Content-Type: application/json\r\n" : "", q->len);
	if (head < 0) {
		text = NULL;
		return err_set(e, ERR_HOST, -ENOMEM, "out of memory");
	}
	if (q->len) {
		char *more = realloc(text, (size_t)head + q->len);
		if (!more)
			return err_set(e, ERR_HOST, -ENOMEM, "out of memory");
		memcpy(more + head, q->body, q->len);
		text = more;
	}
	r = send_all(fd, text, (size_t)head + q->len, q->fds, q->nfds);
	if (r == -EPIPE || r == -ECONNRESET)
		return 0; /* its answer, if there is one, says why */
	if (r == -EBADF)
		return err_set(e, ERR_USAGE, r, "a file descriptor to pass is not open");
	return r < 0 ? err_set(e, ERR_HOST, r, "%s: cannot send the request: %s", socket,
			       r == -EAGAIN ? "polyvisor reads nothing; it hangs"
					    : strerrordesc_np(-r))
		     : 0;
}

static int no_answer(const char *socket, int r, struct err *e)
{
	const char *why = strerrordesc_np(-r);

	if (r == -ENODATA || r == -ECONNRESET)
		why = "closed without an answer; has polyvisor ended? Its log says why";
	else if (r == -EPROTO)
		why = "what answers there is no REST API, or its answer was cut off";
	else if (r == -EFBIG)
		why = "the answer is larger than any of this API";
	return err_set(e, ERR_HOST, r, "%s: %s", socket, why);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Feeds r until it is whole. */
static int receive(int fd, const struct client_req *q, struct reply *r)
{
	int64_t start = now_ms();
	unsigned told = 0;

	for (;;) {
		struct pollfd p = {fd, POLLIN, 0};
		char buf[16384];

		int n = poll(&p, 1, q->tick ? 250 : -1);
		unsigned seconds = (unsigned)((now_ms() - start) / 1000);
		if (q->tick && seconds > told)
			q->tick(q->arg, told = seconds);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		ssize_t got = recv(fd, buf, sizeof(buf), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		int done = got ? reply_feed(r, buf, (size_t)got) : reply_end(r);
		if (done)
			return done;
	}
}

int client_stream(const char *socket, const struct client_req *q,
	int (*take)(void *arg, const char *p, size_t n), void *arg, struct client_reply *ret_reply,
	struct err *e)
{
	cleanup_fd int fd = connect_to(socket, e);
	struct reply reply;
	int r = fd < 0 ? fd : send_request(fd, socket, q, e);

	if (r < 0)
		return r;
	reply_init(&reply, take, arg);
	r = receive(fd, q, &reply);
	/* A stream that breaks off has ended, too: its server was killed. */
	if (r < 0 && !(take && reply_status(&reply) == 200 && r != -EFBIG)) {
		reply_fini(&reply);
		return no_answer(socket, r, e);
	}
	*ret_reply = (struct client_reply){
		.status = reply_status(&reply), .body = reply.body, .len = reply.len};
	memcpy(ret_reply->type, reply.type, sizeof(ret_reply->type));
	return 0;
}

int client_call(const char *socket, const struct client_req *q, struct client_reply *ret_reply,
	struct err *e)
{
	return client_stream(socket, q, NULL, NULL, ret_reply, e);
}
