/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's own life: one thread, one poll(2). It reads requests, the program's stderr and
 * SIGCHLD, and waits for the moment of the next start. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/ev.h"
#include "vmm/base/num.h"
#include "vmm/supervisor_priv.h"

#define MS	    1000000ull
#define WAIT_MAX_MS 2000
#define STEADY_MS   500	 /* who lived as long is started again at once */
#define PATIENCE_MS 2000 /* from SIGTERM to SIGKILL, and from there to giving up */
#define WORDS	    128

struct keeper {
	int requests, news, log_fd, signals, err_fd;
	struct sup_request program; /* the last SUP_SERVE */
	char *word[WORDS + 1];
	int fd[SUPERVISOR_FDS];
	unsigned nfds;
	bool kept;
	uint64_t started_ns, again_ns; /* again: 0 = no start is due */
	unsigned wait_ms;
	char said[200];
	size_t nsaid;
	struct supervisor_status status;
	bool no_files; /* why the last start failed: one of fd could not be opened again */
	bool over;
	struct sup_request request; /* the one at hand */
};

/* ---- what it says ---- */

/* The last line of one that is on trial, which control tells; later all of it goes to the log. */
static void hear(struct keeper *k, const char *text, size_t n)
{
	if (k->kept && k->log_fd >= 0) {
		if (write(k->log_fd, text, n) < 0)
			return; /* a log that cannot be written loses lines */
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '\n' || k->nsaid == sizeof(k->said) - 1) {
			memcpy(k->status.said, k->said, k->nsaid);
			k->status.said[k->nsaid] = '\0';
			k->nsaid = 0;
		}
		if (text[i] != '\n')
			k->said[k->nsaid++] = text[i];
	}
}

static void listen_to_it(struct keeper *k)
{
	char text[1024];
	ssize_t n;

	if (k->err_fd < 0)
		return;
	while ((n = read(k->err_fd, text, sizeof(text))) > 0)
		hear(k, text, (size_t)n);
	if (n == 0) {
		close(k->err_fd);
		k->err_fd = -1;
	}
}

/* ---- starting and ending ---- */

static void close_fds(struct keeper *k)
{
	for (unsigned i = 0; i < k->nfds; i++)
		close(k->fd[i]);
	k->nfds = 0;
}

/* A file description of its own: the lock on the file is then the program's alone, and is let go by
 * the kernel only when its last I/O has ended. A descriptor that came from somebody who may more
 * than we do cannot be opened again; then the one there is must do, unless its I/O is direct and
 * could outlive a killed program. */
static int open_again(int fd)
{
	char path[40];
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	flags = (flags & (O_ACCMODE | O_DIRECT)) | O_CLOEXEC;
	if (S_ISBLK(st.st_mode) && (flags & O_ACCMODE) != O_RDONLY)
		flags |= O_EXCL; /* a mounted one is not touched */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int ret = open(path, flags);
	if (ret < 0 && (errno == EACCES || errno == EPERM) && !(flags & O_DIRECT))
		ret = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return ret < 0 ? -errno : ret;
}

static void close_again(const struct keeper *k, const int *fd, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (k->program.reopen >> i & 1)
			close(fd[i]);
}

/* What the program is given this time; close_again() afterwards. */
static int open_fds(const struct keeper *k, int fd[SUPERVISOR_FDS])
{
	for (unsigned i = 0; i < k->nfds; i++) {
		fd[i] = k->program.reopen >> i & 1 ? open_again(k->fd[i]) : k->fd[i];
		if (fd[i] < 0) {
			close_again(k, fd, i);
			return fd[i];
		}
	}
	return 0;
}

static int start(struct keeper *k)
{
	int fd[SUPERVISOR_FDS], said[2], r = open_fds(k, fd);

	k->no_files = r < 0;
	if (r < 0)
		return r;
	/* Ours does not block, its own does: what it says is not lost. */
	r = pipe2(said, O_CLOEXEC) < 0 || fcntl(said[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (!r) {
		listen_to_it(k);
		cleanup_closep(&k->err_fd);
		k->err_fd = said[0];
		r = supervisor_spawn(k->word, fd, k->nfds, said[1]);
		close(said[1]);
	}
	close_again(k, fd, k->nfds);
	k->again_ns = 0;
	k->started_ns = ev_now_ns();
	k->status.pid = r > 0 ? r : 0;
	return r < 0 ? r : 0;
}

static void start_later(struct keeper *k)
{
	k->again_ns = ev_now_ns() + k->wait_ms * MS;
	k->wait_ms = k->wait_ms ? MIN(2 * k->wait_ms, WAIT_MAX_MS) : 50;
}

static void start_again(struct keeper *k)
{
	k->status.restarts++;
	if (start(k) < 0)
		start_later(k);
	send(k->news, &k->status, sizeof(k->status), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void ended(struct keeper *k, int status)
{
	listen_to_it(k);
	k->status.pid = 0;
	k->status.wait_status = status;
	if (!k->kept) {
		close_fds(k); /* whoever connects is told at once */
		return;
	}
	if (ev_now_ns() - k->started_ns > STEADY_MS * MS)
		k->wait_ms = 0;
	start_later(k);
}

static void reap(struct keeper *k)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == k->status.pid)
			ended(k, status);
}

static bool gone_within(struct keeper *k, unsigned ms)
{
	const struct timespec pause = {.tv_nsec = 2 * MS};

	for (uint64_t end = ev_now_ns() + ms * MS; ev_now_ns() < end; nanosleep(&pause, NULL)) {
		listen_to_it(k); /* a full pipe would keep it from ending */
		if (waitpid(k->status.pid, &k->status.wait_status, WNOHANG) != 0)
			return true;
	}
	return false;
}

static void stop(struct keeper *k)
{
	k->kept = false;
	k->again_ns = 0;
	if (k->status.pid) {
		kill(k->status.pid, SIGTERM);
		if (!gone_within(k, PATIENCE_MS)) {
			kill(k->status.pid, SIGKILL);
			gone_within(k, PATIENCE_MS);
		}
	}
	k->status.pid = 0;
	close_fds(k);
}

/* ---- requests ---- */

static int take_words(struct keeper *k)
{
	char *at = k->program.args, *end = at + k->program.len;
	unsigned n = 0;

	while (n < k->program.nargs && n < WORDS && at < end) {
		k->word[n++] = at;
		at += strnlen(at, (size_t)(end - at)) + 1;
	}
	k->word[n] = NULL;
	return n && n == k->program.nargs ? 0 : -E2BIG;
}

static int serve(struct keeper *k, const struct sup_request *q, const int *fd, unsigned nfds)
{
	stop(k);
	k->program = *q;
	memcpy(k->fd, fd, nfds * sizeof(*fd));
	k->nfds = nfds;
	k->status = (struct supervisor_status){0};
	k->nsaid = 0;
	k->wait_ms = 0;
	int r = take_words(k);
	if (!r)
		r = start(k);
	if (r < 0)
		close_fds(k);
	return r;
}

static int keep(struct keeper *k)
{
	if (!k->status.pid)
		return -ESRCH;
	k->kept = true;
	return 0;
}

static void answer(struct keeper *k, const struct sup_request *q, const int *fd, unsigned nfds)
{
	struct sup_reply reply = {0};

	if (q->op == SUP_SERVE)
		reply.result = serve(k, q, fd, nfds);
	else if (q->op == SUP_KEEP)
		reply.result = keep(k);
	else if (q->op == SUP_STOP)
		stop(k);
	if (reply.result < 0 && k->no_files)
		snprintf(reply.why, sizeof(reply.why),
			"a file that it is given cannot be opened again: %s",
			strerrordesc_np(-reply.result));
	else if (reply.result == -ENOENT)
		snprintf(reply.why, sizeof(reply.why),
			"it is neither beside polyvisor nor in $PATH; install it");
	else if (reply.result < 0)
		snprintf(reply.why, sizeof(reply.why), "%s", strerrordesc_np(-reply.result));
	reply.status = k->status;
	send(k->requests, &reply, sizeof(reply), MSG_NOSIGNAL);
}

static void take_request(struct keeper *k)
{
	union {
		char buf[CMSG_SPACE(SUPERVISOR_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {&k->request, sizeof(k->request)};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf)};
	int fd[SUPERVISOR_FDS];
	unsigned nfds = 0;
	ssize_t n = recvmsg(k->requests, &m, MSG_CMSG_CLOEXEC);

	if (n <= 0) {
		k->over = n == 0 || (errno != EINTR && errno != EAGAIN);
		return;
	}
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_type == SCM_RIGHTS) {
		nfds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fd, CMSG_DATA(c), nfds * sizeof(int));
	}
	answer(k, &k->request, fd, nfds);
}

/* ---- the loop ---- */

/* A service manager's SIGTERM to the whole group is for the VMM to follow; we end when it has. */
static int block_signals(void)
{
	sigset_t all, child;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	return signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int until_start(const struct keeper *k)
{
	uint64_t now = ev_now_ns();

	if (!k->again_ns)
		return -1;
	return k->again_ns <= now ? 0 : (int)((k->again_ns - now + MS - 1) / MS);
}

static void one_round(struct keeper *k)
{
	struct pollfd p[] = {
		{k->requests, POLLIN, 0}, {k->signals, POLLIN, 0}, {k->err_fd, POLLIN, 0}};
	struct signalfd_siginfo si;

	if (poll(p, ARRAY_SIZE(p), until_start(k)) < 0 && errno != EINTR)
		k->over = true;
	if (p[2].revents)
		listen_to_it(k);
	if (p[1].revents && read(k->signals, &si, sizeof(si)) == sizeof(si))
		reap(k);
	if (k->again_ns && k->again_ns <= ev_now_ns())
		start_again(k);
	if (p[0].revents)
		take_request(k);
}

void supervisor_loop(int requests, int news, int log_fd)
{
	struct keeper *k = calloc(1, sizeof(*k));

	if (!k)
		return;
	*k = (struct keeper){.requests = requests,
		.news = news,
		.log_fd = log_fd,
		.signals = block_signals(),
		.err_fd = -1};
	while (!k->over)
		one_round(k);
	stop(k);
	free(k);
}
