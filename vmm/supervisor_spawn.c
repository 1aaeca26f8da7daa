/* SPDX-License-Identifier: Apache-2.0 */
/* From fork to exec, in the supervisor, which has one thread. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/supervisor_priv.h"

/* Beside our own binary, or else in $PATH. Returns only when neither can be run. */
static int exec_program(char *const *words)
{
	char self[PATH_MAX], beside[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		snprintf(beside, sizeof(beside), "%s/%s", dirname(self), words[0]);
		execv(beside, words);
		if (errno != ENOENT)
			return errno;
	}
	execvp(words[0], words);
	return errno;
}

/* The descriptors to 3…, stderr, and one to tell the failure of exec through; nothing else stays.
 * Those that are in the way of others move first. */
static int arrange(const int *fd, unsigned nfds, int err_fd, int *tell)
{
	const int past = 3 + (int)nfds + 1;
	int moved[SUPERVISOR_FDS];

	for (unsigned i = 0; i < nfds; i++)
		if ((moved[i] = fcntl(fd[i], F_DUPFD_CLOEXEC, past)) < 0)
			return errno;
	*tell = fcntl(*tell, F_DUPFD_CLOEXEC, past);
	if (*tell < 0 || dup2(err_fd, STDERR_FILENO) < 0)
		return errno;
	for (unsigned i = 0; i < nfds; i++)
		if (dup2(moved[i], 3 + (int)i) < 0)
			return errno;
	*tell = dup3(*tell, 3 + (int)nfds, O_CLOEXEC);
	close_range(4 + nfds, ~0u, 0);
	return *tell < 0 ? errno : 0;
}

static void be_program(
	char *const *words, const int *fd, unsigned nfds, int err_fd, int tell, pid_t parent)
{
	sigset_t none;
	int why;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	why = arrange(fd, nfds, err_fd, &tell);
	if (!why)
		why = exec_program(words);
	if (write(tell, &why, sizeof(why)) < 0)
		_exit(126);
	_exit(127);
}

pid_t supervisor_spawn(char *const *words, const int *fd, unsigned nfds, int err_fd)
{
	pid_t parent = getpid(), pid;
	int tell[2], why = 0;

	if (pipe2(tell, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		be_program(words, fd, nfds, err_fd, tell[1], parent);
	why = pid < 0 ? errno : 0;
	close(tell[1]);
	if (pid > 0 && read(tell[0], &why, sizeof(why)) < 0)
		why = errno;
	close(tell[0]);
	return why ? -why : pid;
}
