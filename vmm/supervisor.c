/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"
#include "vmm/supervisor_priv.h"

struct supervisor {
	pid_t pid;
	int requests, news;
};

/* ---- life ---- */

/* Moves n descriptors to 3…, and closes every other but the standard ones: what the user gave the
 * VMM is not the supervisor's business, and the VMM's ends of its sockets would hide the VMM's end
 * from it. There may be few numbers to have (RLIMIT_NOFILE). */
static int keep_only(int *fd, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if ((fd[i] = fcntl(fd[i], F_DUPFD_CLOEXEC, 3 + (int)n)) < 0)
			return -errno;
	for (unsigned i = 0; i < n; i++)
		if ((fd[i] = dup3(fd[i], 3 + (int)i, O_CLOEXEC)) < 0)
			return -errno;
	return close_range(3 + n, ~0u, 0) < 0 ? -errno : 0;
}

/* It leaves the terminal, whose Ctrl-C is the VMM's. */
static void be_supervisor(int requests, int news, int log_fd)
{
	int fd[3] = {requests, news, log_fd};

	prctl(PR_SET_NAME, "pv-supervisor");
	setsid();
	if (keep_only(fd, log_fd < 0 ? 2 : 3) < 0)
		_exit(1);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3 && null >= 0; i++)
		dup2(null, i);
	supervisor_loop(fd[0], fd[1], fd[2]);
	_exit(0);
}

static int fork_it(struct supervisor *s, int log_fd)
{
	int requests[2], news[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, requests) < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, news) < 0) {
		int r = -errno;
		close(requests[0]);
		close(requests[1]);
		return r;
	}
	s->pid = fork();
	if (s->pid == 0)
		be_supervisor(requests[1], news[1], log_fd);
	int r = s->pid < 0 ? -errno : 0;
	close(requests[1]);
	close(news[1]);
	s->requests = requests[0];
	s->news = news[0];
	return r;
}

int supervisor_new(int log_fd, struct supervisor **ret_supervisor)
{
	struct supervisor *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->requests = s->news = -1;
	int r = fork_it(s, log_fd);
	if (r < 0) {
		supervisor_free(s);
		return r;
	}
	*ret_supervisor = s;
	return 0;
}

void supervisor_free(struct supervisor *s)
{
	if (!s)
		return;
	cleanup_closep(&s->requests); /* which is the end for it */
	cleanup_closep(&s->news);
	if (s->pid > 0)
		waitpid(s->pid, NULL, 0);
	free(s);
}

/* ---- asking ---- */

static int send_request(
	struct supervisor *s, const struct sup_request *q, const int *fd, unsigned nfds)
{
	union {
		char buf[CMSG_SPACE(SUPERVISOR_FDS * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(void *)q, offsetof(struct sup_request, args) + q->len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nfds) {
		m.msg_control = control.buf;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fd, nfds * sizeof(int));
	}
	return sendmsg(s->requests, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int ask(struct supervisor *s, const struct sup_request *q, const int *fd, unsigned nfds,
	struct sup_reply *ret)
{
	ssize_t n;
	int r = send_request(s, q, fd, nfds);

	if (r < 0)
		return r;
	do
		n = recv(s->requests, ret, sizeof(*ret), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(*ret))
		return n < 0 ? -errno : -EPIPE;
	return ret->result;
}

static int ask_plain(struct supervisor *s, enum sup_op op, struct sup_reply *ret)
{
	const struct sup_request q = {.op = op};

	return ask(s, &q, NULL, 0, ret);
}

int supervisor_serve(struct supervisor *s, const struct supervisor_program *p, struct err *e)
{
	cleanup_free struct sup_request *q = calloc(1, sizeof(*q));
	struct sup_reply reply = {0};

	if (!q)
		return -ENOMEM;
	if (p->nfds > SUPERVISOR_FDS)
		return -E2BIG;
	q->op = SUP_SERVE;
	q->reopen = p->reopen;
	for (; p->argv[q->nargs]; q->nargs++) {
		size_t len = strlen(p->argv[q->nargs]) + 1;
		if (len > SUP_ARGS - q->len)
			return -E2BIG;
		memcpy(q->args + q->len, p->argv[q->nargs], len);
		q->len += (uint32_t)len;
	}
	int r = ask(s, q, p->fd, p->nfds, &reply);
	if (r < 0)
		return err_set(e, ERR_HOST, r, "offload=auto: %s cannot be started: %s", p->argv[0],
			*reply.why ? reply.why : strerrordesc_np(-r));
	return 0;
}

int supervisor_keep(struct supervisor *s)
{
	struct sup_reply reply;

	return ask_plain(s, SUP_KEEP, &reply);
}

void supervisor_stop(struct supervisor *s)
{
	struct sup_reply reply;

	ask_plain(s, SUP_STOP, &reply);
}

int supervisor_status(struct supervisor *s, struct supervisor_status *ret)
{
	struct sup_reply reply;
	int r = ask_plain(s, SUP_STATUS, &reply);

	if (!r)
		*ret = reply.status;
	return r;
}

/* ---- news ---- */

int supervisor_news_fd(const struct supervisor *s)
{
	return s->news;
}

int supervisor_news(struct supervisor *s, struct supervisor_status *ret)
{
	ssize_t n = recv(s->news, ret, sizeof(*ret), 0);

	if (n == sizeof(*ret))
		return 1;
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -EPIPE;
}
