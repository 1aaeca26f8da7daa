/* SPDX-License-Identifier: Apache-2.0 */
/* See child.h. The child leads a process group of its own, so that it and what it starts can be
 * signalled together; what leaves the group (a daemon) is reparented to us, its subreaper, and
 * found when the child is gone. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define GRACE_S 3.0
#define POLL_MS 20

/* The one thing a signal handler can reach. */
static volatile sig_atomic_t stop_signal;

static void on_stop(int sig)
{
	stop_signal = sig;
}

void child_init(void)
{
	struct sigaction sa = {.sa_handler = on_stop};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

int child_stop_signal(void)
{
	return stop_signal;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Keeps the last CHILD_TEXT - 1 bytes. */
static void keep(struct child_result *r, const char *data, size_t len)
{
	size_t room = sizeof(r->text) - 1, over;

	if (len > room) {
		data += len - room;
		len = room;
	}
	over = r->len + len > room ? r->len + len - room : 0;
	memmove(r->text, r->text + over, r->len - over);
	memcpy(r->text + r->len - over, data, len);
	r->len += len - over;
	r->text[r->len] = '\0';
}

static void read_some(int fd, struct child_result *r)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		keep(r, buf, (size_t)n);
}

_Noreturn static void become(char *const argv[], int out)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGQUIT, SIG_DFL); /* a shell ignores it in what it starts in the background */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	else
		close(STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	execv(argv[0], argv);
	fprintf(stderr, "cannot run %s: %s\n", argv[0], strerrordesc_np(errno));
	_exit(127);
}

/* Children of ours that are left after the child: orphans that its descendants became. */
static void end_orphans(void)
{
	char text[512] = "";
	cleanup_fd int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	for (char *at = text, *end; n > 0; at = end) {
		long pid = strtol(at, &end, 10);
		if (end == at || pid <= 1)
			break;
		kill((pid_t)pid, SIGKILL);
		waitpid((pid_t)pid, NULL, 0);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* Waits for pid until the time is over, emptying the pipe. Where the kernel has no pidfd the end
 * is only noticed at the next step. */
static void wait_for(pid_t pid, int out, double seconds, struct child_result *r)
{
	cleanup_fd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p[2] = {{.fd = out, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
	double end = now_s() + seconds;
	bool quit = false;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		bool stop = child_stop_signal() != 0;
		if (poll(p, 2, POLL_MS) > 0) {
			read_some(out, r);
			if (p[0].revents & POLLHUP)
				p[0].fd = -1; /* only its end is to be waited for */
		}
		if (now_s() < end && !stop)
			continue;
		r->timed_out = !stop && !r->interrupted;
		r->interrupted = r->interrupted || stop;
		kill(-pid, quit || stop ? SIGKILL : SIGQUIT);
		quit = true;
		end = now_s() + GRACE_S;
	}
	read_some(out, r);
	r->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int child_run(char *const argv[], unsigned timeout_ms, struct child_result *ret)
{
	double start = now_s();
	int ends[2];

	*ret = (struct child_result){0};
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	cleanup_fd int in = ends[0], out = ends[1];
	fcntl(in, F_SETFL, O_NONBLOCK);
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		become(argv, out);
	setpgid(pid, pid);
	close(steal_fd(&out));
	wait_for(pid, in, timeout_ms / 1000.0, ret);
	ret->seconds = now_s() - start;
	kill(-pid, SIGKILL);
	end_orphans();
	return 0;
}
