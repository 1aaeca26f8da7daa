/* SPDX-License-Identifier: Apache-2.0 */
/* passt: user-mode networking in a process of its own, without privilege. It is given one end of a
 * socket pair. It ends by itself when that closes, and the kernel ends it when we die. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "devices/backend/netdev.h"
#include "vmm/base/cleanup.h"

#define ARGS_MAX 64

/* Splits extra in place at its spaces and appends the words. -E2BIG when there are too many. */
static int add_words(char *extra, const char *argv[ARGS_MAX], unsigned *n)
{
	char *save = NULL;

	for (char *w = strtok_r(extra, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (*n >= ARGS_MAX - 1)
			return -E2BIG;
		argv[(*n)++] = w;
	}
	argv[*n] = NULL;
	return 0;
}

/* In the child: never returns. exec's errno goes to `report`, which closes when exec succeeds. Its
 * messages are of no use to a VM's terminal: only that it failed is told. */
static void run_child(const char *const argv[], int fd, int report, pid_t parent)
{
	sigset_t none;
	int null = open("/dev/null", O_RDWR);
	int err = 0;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
		_exit(1);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 ||
		fcntl(fd, F_SETFD, 0) < 0)
		err = errno;
	if (!err) {
		execvp(argv[0], (char *const *)argv);
		err = errno;
	}
	if (write(report, &err, sizeof(err)) < 0) {
	}
	_exit(127);
}

static int spawn(const char *const argv[], int fd, int *ret_pid)
{
	cleanup_fd int from_child = -1, to_parent = -1;
	int report[2], err = 0;
	pid_t parent = getpid(), pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	from_child = report[0];
	to_parent = report[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_child(argv, fd, to_parent, parent);
	close(steal_fd(&to_parent));
	if (read(from_child, &err, sizeof(err)) == sizeof(err)) {
		waitpid(pid, NULL, 0);
		return -err;
	}
	*ret_pid = pid;
	return 0;
}

int netdev_passt_spawn(const char *extra, int *ret_fd, int *ret_pid, struct err *e)
{
	cleanup_fd int ours = -1, theirs = -1;
	cleanup_free char *words = extra ? strdup(extra) : NULL;
	char fd_text[16];
	const char *argv[ARGS_MAX] = {"passt", "--foreground", "--quiet", "--fd", fd_text};
	unsigned n = 5;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	snprintf(fd_text, sizeof(fd_text), "%d", theirs);
	if (words && add_words(words, argv, &n) < 0)
		return err_set(
			e, ERR_USAGE, -E2BIG, "--net forward: more than %d words", ARGS_MAX - 6);
	r = spawn(argv, theirs, ret_pid);
	if (r < 0)
		return err_set(e, ERR_HOST, r,
			"--net: passt cannot be started: %s; allowed: a host with the package "
			"passt, or tap=",
			strerrordesc_np(-r));
	*ret_fd = steal_fd(&ours);
	return 0;
}
