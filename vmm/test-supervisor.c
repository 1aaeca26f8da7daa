/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor with a shell for a program: what it is given, how it is kept, and that nothing
 * stays when its owner goes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "vmm/supervisor.h"

static struct supervisor *sup;
static int out[2]; /* what programs are given as descriptor 3 */

static void begin(void)
{
	cr_assert_eq(supervisor_new(-1, &sup), 0);
	cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
}

static void end(void)
{
	supervisor_free(sup);
	close(out[0]);
	close(out[1]);
}

TestSuite(supervisor, .init = begin, .fini = end, .timeout = 60);

static int serve(struct supervisor *s, const char *script, uint64_t reopen, int fd, struct err *e)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	const struct supervisor_program p = {.argv = argv, .fd = &fd, .nfds = 1, .reopen = reopen};

	return supervisor_serve(s, &p, e);
}

/* A line that the program says on its descriptor 3. */
static char *heard(void)
{
	static char text[100];
	size_t n = 0;

	while (n < sizeof(text) - 1 && read(out[0], text + n, 1) == 1 && text[n] != '\n')
		n++;
	text[n] = '\0';
	return text;
}

static bool news(struct supervisor_status *st)
{
	struct pollfd p = {supervisor_news_fd(sup), POLLIN, 0};

	return poll(&p, 1, 20000) == 1 && supervisor_news(sup, st) == 1;
}

/* Everybody who had the writing end is gone. */
static bool alone(void)
{
	struct pollfd p = {out[0], 0, 0};

	close(out[1]);
	out[1] = -1;
	return poll(&p, 1, 20000) == 1 && p.revents & POLLHUP;
}

Test(supervisor, a_killed_program_is_started_again)
{
	struct supervisor_status st;
	struct err e = {0};
	pid_t first;

	cr_assert_eq(serve(sup, "echo $$ >&3; exec sleep 1000", 0, out[1], &e), 0, "%s", e.text);
	cr_assert_eq(supervisor_keep(sup), 0);
	for (unsigned i = 1; i <= 3; i++) {
		first = atoi(heard());
		cr_assert(first > 0);
		kill(first, SIGKILL);
		cr_assert(news(&st));
		cr_expect_eq(st.restarts, i);
		cr_expect(st.pid > 0 && st.pid != first);
		cr_expect(WIFSIGNALED(st.wait_status) && WTERMSIG(st.wait_status) == SIGKILL);
	}
	cr_expect_eq(supervisor_news(sup, &st), 0);
	supervisor_stop(sup);
	cr_assert_eq(supervisor_status(sup, &st), 0);
	cr_expect_eq(st.pid, 0);
	cr_expect(alone());
}

Test(supervisor, one_that_ends_on_trial_stays_so_and_is_quoted)
{
	struct supervisor_status st = {.pid = 1};
	struct err e = {0};

	cr_assert_eq(
		serve(sup, "echo not this >&2; echo that is wrong >&2; exit 3", 0, out[1], &e), 0);
	cr_expect(alone(), "what it was given is closed");
	for (int i = 0; i < 2000 && st.pid; i++, usleep(1000))
		supervisor_status(sup, &st);
	cr_expect_str_eq(st.said, "that is wrong");
	cr_expect_eq(WEXITSTATUS(st.wait_status), 3);
	cr_expect_eq(supervisor_keep(sup), -ESRCH);
}

Test(supervisor, a_program_that_is_not_there)
{
	const char *argv[] = {"polyvisor-no-such-program", NULL};
	const struct supervisor_program p = {.argv = argv};
	struct supervisor_status st;
	struct err e = {0};

	cr_expect_eq(supervisor_serve(sup, &p, &e), -ENOENT);
	cr_expect(strstr(e.text, "polyvisor-no-such-program"), "%s", e.text);
	cr_expect(strstr(e.text, "$PATH"), "%s", e.text);
	cr_expect_eq(supervisor_status(sup, &st), 0);
	cr_expect_eq(st.pid, 0);
}

/* Its file description is its own: the offset of ours does not matter, nor does its lock stay. */
Test(supervisor, a_file_is_opened_anew)
{
	char path[] = "/tmp/polyvisor-supervisor-XXXXXX";
	int fd = mkstemp(path);
	struct supervisor_status st;
	struct err e = {0};

	cr_assert(fd >= 0 && write(fd, "0123456789", 10) == 10);
	unlink(path);
	for (int reopen = 0; reopen < 2; reopen++) {
		st.pid = 1;
		lseek(fd, 5, SEEK_SET);
		cr_assert_eq(serve(sup, "cat <&3 >&2; echo >&2", (uint64_t)reopen, fd, &e), 0);
		while (st.pid && supervisor_status(sup, &st) == 0)
			usleep(1000);
		cr_expect_str_eq(st.said, reopen ? "0123456789" : "56789");
	}
	close(fd);
}

Test(supervisor, another_program_takes_the_place)
{
	struct err e = {0};

	cr_assert_eq(serve(sup, "echo one >&3; exec sleep 1000", 0, out[1], &e), 0);
	cr_assert_eq(supervisor_keep(sup), 0);
	cr_expect_str_eq(heard(), "one");
	cr_assert_eq(serve(sup, "echo two >&3", 0, out[1], &e), 0);
	cr_expect_str_eq(heard(), "two");
	cr_expect(alone());
}

/* It ignores SIGTERM: then it is killed. */
Test(supervisor, a_stubborn_one_is_killed)
{
	struct err e = {0};

	cr_assert_eq(
		serve(sup, "trap '' TERM; echo up >&3; while :; do sleep 1; done", 0, out[1], &e),
		0);
	cr_expect_str_eq(heard(), "up");
	supervisor_stop(sup);
	cr_expect(alone());
}

/* SIGKILL of the owner, who can clean nothing up, and who may have few descriptors. */
Test(supervisor, all_of_it_goes_with_its_owner)
{
	const struct rlimit few = {40, 40};
	pid_t owner = fork();

	if (!owner) {
		setrlimit(RLIMIT_NOFILE, &few);
		struct supervisor *s;
		struct err e = {0};
		if (supervisor_new(-1, &s) == 0 &&
			serve(s, "echo up >&3; exec sleep 1000", 0, out[1], &e) == 0 &&
			supervisor_keep(s) == 0)
			pause();
		_exit(1);
	}
	cr_expect_str_eq(heard(), "up");
	kill(owner, SIGKILL);
	cr_expect_eq(waitpid(owner, NULL, 0), owner);
	cr_expect(alone());
}
