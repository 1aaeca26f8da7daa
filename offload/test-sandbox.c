/* SPDX-License-Identifier: Apache-2.0 */
/* Each case is a child that enters the sandbox and says how far it came by its exit status. In a
 * build with a sanitizer a child only leaves by _exit: its runtime would open files at the end. */
#include "offload/sandbox.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OK 77 /* nothing else ends with it */

static const struct sandbox_opts closed = {SANDBOX_ON, false, false};
static const struct sandbox_opts opening = {SANDBOX_ON, true, false};

/* How a child ends that enters and does what f says: OK or f's own number; -signal. */
static int in_child(const struct sandbox_opts *o, int (*f)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(sandbox_enter(o, NULL) < 0 ? 99 : f());
	cr_assert(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static bool unshare_is_refused(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(unshare(CLONE_NEWNET) < 0);
	return waitpid(pid, &status, 0) != pid || status;
}

/* What /proc says of a process before and after: read by the parent, as the child may not. */
static void status_of(pid_t pid, char *ret_text, size_t size)
{
	char path[64];
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY);
	cr_assert(fd >= 0);
	n = read(fd, ret_text, size - 1);
	cr_assert(n > 0);
	ret_text[n] = 0;
	close(fd);
}

/* The network is that of the namespace's inode. */
Test(sandbox, leaves_the_network)
{
	struct stat ours, theirs;
	char path[64];
	int in[2], out[2], status;
	char c;
	pid_t pid;

	if (unshare_is_refused())
		cr_skip_test("may not make a network namespace");
	cr_assert(pipe(in) == 0 && pipe(out) == 0);
	pid = fork();
	if (pid == 0) {
		c = sandbox_enter(&closed, NULL) < 0 ? 'n' : 'y';
		_exit(write(out[1], &c, 1) == 1 && read(in[0], &c, 1) == 1 ? OK : 1);
	}
	cr_assert(read(out[0], &c, 1) == 1 && c == 'y');
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	cr_assert(stat("/proc/self/ns/net", &ours) == 0 && stat(path, &theirs) == 0);
	cr_expect(ours.st_ino != theirs.st_ino);
	cr_assert(write(in[1], "x", 1) == 1);
	cr_assert(waitpid(pid, &status, 0) == pid);
	for (unsigned i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
}

Test(sandbox, shows_in_proc)
{
	char text[4096];
	int in[2], out[2];
	char c;
	pid_t pid;

	cr_assert(pipe(in) == 0 && pipe(out) == 0);
	pid = fork();
	if (pid == 0) {
		c = sandbox_enter(&closed, NULL) < 0 ? 'n' : 'y';
		_exit(write(out[1], &c, 1) == 1 && read(in[0], &c, 1) == 1 ? OK : 1);
	}
	cr_assert(read(out[0], &c, 1) == 1);
	cr_assert(c == 'y');
	status_of(pid, text, sizeof(text));
	cr_assert(strstr(text, "\nSeccomp:\t2\n"));
	cr_assert(strstr(text, "\nNoNewPrivs:\t1\n"));
	cr_assert(strstr(text, "\nCapEff:\t0000000000000000\n"));
	cr_assert(strstr(text, "\nCapPrm:\t0000000000000000\n"));
	cr_assert(write(in[1], &c, 1) == 1);
	waitpid(pid, NULL, 0);
}

static int executes(void)
{
	char *argv[] = {"/bin/true", NULL};

	execv(argv[0], argv);
	return 1;
}

static int forks(void)
{
	return fork() < 0 ? OK : 1; /* clone without CLONE_THREAD does not exist */
}

static int opens(void)
{
	return open("/dev/null", O_RDWR) >= 0 ? 1 : errno == EACCES ? OK : 2;
}

static int connects(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) < 0 && socket(AF_INET6, SOCK_DGRAM, 0) < 0 ? OK : 1;
}

static int maps_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? OK : 1;
}

static int signals(void)
{
	return kill(getppid(), 0) < 0 ? OK : 1;
}

Test(sandbox, forbids)
{
	cr_assert_eq(in_child(&closed, executes), -SIGSYS);
	cr_assert_eq(in_child(&opening, executes), -SIGSYS);
	cr_assert_eq(in_child(&closed, forks), OK);
	cr_assert_eq(in_child(&closed, opens), OK);
	cr_assert_eq(in_child(&closed, connects), OK);
	cr_assert_eq(in_child(&opening, connects), OK);
	cr_assert_eq(in_child(&closed, maps_code), OK);
	cr_assert_eq(in_child(&closed, signals), OK);
}

static void *thread(void *arg)
{
	*(int *)arg = eventfd(0, EFD_CLOEXEC);
	return NULL;
}

static int serves(void)
{
	int sv = -1, fd = memfd_create("m", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	pthread_t t;

	if (fd < 0 || ftruncate(fd, 4096) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		return 1;
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED)
		return 2;
	if (pwrite(fd, "x", 1, 0) != 1 || fdatasync(fd) < 0)
		return 3;
	if (pthread_create(&t, NULL, thread, &sv) || pthread_join(t, NULL))
		return 4;
	return sv >= 0 ? OK : 5;
}

static int opens_more(void)
{
	return open("/dev/null", O_RDWR) >= 0 && socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? OK : 1;
}

Test(sandbox, leaves_what_serving_needs)
{
	cr_assert_eq(in_child(&closed, serves), OK);
	cr_assert_eq(in_child(&opening, serves), OK);
	cr_assert_eq(in_child(&opening, opens_more), OK);
}

static int executes_well(void)
{
	char *argv[] = {"/bin/sh", "-c", "exit 77", NULL};

	execv(argv[0], argv);
	return 1;
}

Test(sandbox, off_and_log_refuse_nothing)
{
	cr_assert_eq(in_child(&(struct sandbox_opts){SANDBOX_OFF}, executes_well), OK);
	cr_assert_eq(in_child(&(struct sandbox_opts){SANDBOX_LOG}, executes_well), OK);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

Test(sandbox, closes_what_was_left_open)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int a = dup(0), b = dup(0), c = dup(0), d = dup(0);
		int keep[] = {c, -1, b};

		_exit(sandbox_close_others(keep, 3) == 0 && !is_open(a) && is_open(b) &&
					is_open(c) && !is_open(d) && is_open(2)
				? OK
				: 1);
	}
	cr_assert(waitpid(pid, &status, 0) == pid);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), OK);
}

Test(sandbox, words)
{
	enum sandbox_mode m = SANDBOX_OFF;
	struct err e = {0};

	cr_assert_eq(sandbox_parse("on", &m, &e), 0);
	cr_assert_eq((int)m, (int)SANDBOX_ON);
	cr_assert_eq(sandbox_parse("log", &m, &e), 0);
	cr_assert_eq((int)m, (int)SANDBOX_LOG);
	cr_assert_eq(sandbox_parse("maybe", &m, &e), -EINVAL);
	cr_assert(strstr(e.text, "--sandbox maybe: allowed: on, off, log"));
}
