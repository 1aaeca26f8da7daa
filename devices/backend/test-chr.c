/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/chr_priv.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include "vmm/base/num.h"

static struct ev_loop *loop;
static char path[64];
static char got[8192];
static size_t ngot, room;
static bool left;

static void make(void)
{
	cr_assert_eq(ev_loop_new(&loop), 0);
	snprintf(path, sizeof(path), "/tmp/polyvisor-chr-%d", getpid());
	ngot = 0;
	room = sizeof(got);
}

static void unmake(void)
{
	ev_loop_free(loop);
	unlink(path);
}

TestSuite(chr, .init = make, .fini = unmake, .timeout = 30);

static size_t input(void *arg, const uint8_t *p, size_t n)
{
	n = MIN(n, room - ngot);
	memcpy(got + ngot, p, n);
	ngot += n;
	return n;
}

static void pump(void)
{
	for (int i = 0; i < 5; i++)
		ev_run_once(loop, 5);
}

static void leave(void *arg)
{
	left = true;
}

static void open_mode(enum chr_mode mode, struct chr **c)
{
	struct err e = {0};

	cr_assert_eq(chr_open(mode, path, "--serial", c, &e), 0, "%s", e.text);
	cr_assert_eq(chr_bind(*c, loop, input, NULL), 0);
}

static void write_text(struct chr *c, const char *text)
{
	chr_write(c, (const uint8_t *)text, strlen(text));
}

static int dial(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(a.sun_path, path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	pump();
	return fd;
}

static void reads(int fd, const char *text)
{
	char buf[200] = "";

	cr_expect_eq(read(fd, buf, sizeof(buf) - 1), (ssize_t)strlen(text));
	cr_expect_str_eq(buf, text);
}

Test(chr, null)
{
	struct chr *c;

	open_mode(CHR_NULL, &c);
	write_text(c, "nobody hears");
	cr_expect_null(chr_pty_path(c));
	chr_free(c);
	chr_free(NULL);
}

Test(chr, file)
{
	struct chr *c;
	int fd;

	open_mode(CHR_FILE, &c);
	write_text(c, "one ");
	write_text(c, "two");
	chr_free(c);
	fd = open(path, O_RDONLY);
	reads(fd, "one two");
	close(fd);
}

Test(chr, file_that_cannot_be)
{
	struct err e = {0};
	struct chr *c;

	cr_expect_lt(chr_open(CHR_FILE, "/nonexistent/x", "--serial", &c, &e), 0);
	cr_expect(strstr(e.text, "--serial file=/nonexistent/x"), "%s", e.text);
	cr_expect_eq(e.kind, ERR_HOST);
	e = (struct err){0};
	cr_expect_lt(chr_open(CHR_SOCKET, NULL, "--console", &c, &e), 0);
	cr_expect_eq(e.kind, ERR_USAGE);
}

Test(chr, socket_brings_and_takes)
{
	struct chr *c;
	int fd;

	open_mode(CHR_SOCKET, &c);
	write_text(c, "before, ");
	fd = dial();
	write_text(c, "after");
	usleep(1000);
	pump();
	reads(fd, "before, after");
	cr_assert_eq(write(fd, "keys", 4), 4);
	pump();
	cr_expect_eq(ngot, 4u);
	cr_expect_eq(memcmp(got, "keys", 4), 0);
	close(fd);
	pump();
	fd = dial(); /* the next client */
	write_text(c, "again");
	reads(fd, "again");
	close(fd);
	chr_free(c);
	cr_expect_neq(access(path, F_OK), 0);
}

Test(chr, socket_name_in_use)
{
	struct err e = {0};
	struct chr *a, *b;

	open_mode(CHR_SOCKET, &a);
	cr_expect_lt(chr_open(CHR_SOCKET, path, "--serial", &b, &e), 0);
	cr_expect(strstr(e.text, "allowed"), "%s", e.text);
	chr_free(a);
	/* left behind by a dead process */
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un old = {.sun_family = AF_UNIX};
	strcpy(old.sun_path, path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&old, sizeof(old)), 0);
	close(fd);
	cr_expect_eq(chr_open(CHR_SOCKET, path, "--serial", &b, NULL), 0);
	chr_free(b);
}

Test(chr, input_is_held_back)
{
	struct chr *c;
	int fd;

	room = 3;
	open_mode(CHR_SOCKET, &c);
	fd = dial();
	cr_assert_eq(write(fd, "abcdef", 6), 6);
	pump();
	cr_expect_eq(ngot, 3u);
	room = sizeof(got);
	chr_input_ready(c);
	pump();
	cr_expect_eq(ngot, 6u);
	cr_expect_eq(memcmp(got, "abcdef", 6), 0);
	close(fd);
	chr_free(c);
}

/* A reader that does not read: the writer is never stopped, the first 64 KiB are kept. */
Test(chr, slow_reader)
{
	static char block[4096], all[1 << 20];
	struct chr *c;
	size_t n = 0, lost = 0;
	ssize_t r;
	int fd;

	open_mode(CHR_SOCKET, &c);
	fd = dial();
	memset(block, 'x', sizeof(block));
	for (int i = 0; i < 1000; i++)
		lost += chr_write(c, (uint8_t *)block, sizeof(block));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	do {
		r = read(fd, all + n, sizeof(all) - n);
		n += r > 0 ? r : 0;
		pump();
	} while (r > 0);
	cr_expect_geq(n, 64 * KIB);
	cr_expect_eq(n + lost, 1000 * sizeof(block));
	cr_expect_gt(lost, 0u);
	write_text(c, "alive");
	pump();
	reads(fd, "alive");
	close(fd);
	chr_free(c);
}

/* The end of what was written reaches a reader that comes late, though the writer is gone. */
Test(chr, last_words)
{
	static char block[4096], sink[8192];
	struct chr *c;
	size_t n = 0;
	ssize_t r;
	int fd, i;
	pid_t reader;

	open_mode(CHR_SOCKET, &c);
	fd = dial();
	for (i = 0; i < 1000; i++) { /* until it waits with us, and not yet dropped */
		chr_write(c, (uint8_t *)block, sizeof(block));
		if (c->nwait)
			break;
	}
	write_text(c, "the end");
	reader = fork();
	if (reader == 0) {
		close(c->out); /* inherited: it would keep the connection open */
		usleep(20000);
		while ((r = read(fd, sink, sizeof(sink))) > 0)
			n = r;
		_exit(n >= 7 && !memcmp(sink + n - 7, "the end", 7) ? 0 : 1);
	}
	close(fd);
	chr_free(c);
	cr_assert_eq(waitpid(reader, &i, 0), reader);
	cr_expect_eq(i, 0);
}

Test(chr, pty)
{
	struct chr *c;
	int fd;

	open_mode(CHR_PTY, &c);
	cr_assert_not_null(chr_pty_path(c));
	fd = open(chr_pty_path(c), O_RDWR | O_NOCTTY);
	cr_assert_geq(fd, 0);
	write_text(c, "login: ");
	reads(fd, "login: ");
	cr_assert_eq(write(fd, "root\r", 5), 5);
	pump();
	cr_expect_eq(ngot, 5u);
	close(fd);
	pump();
	write_text(c, "no hang-up");
	fd = open(chr_pty_path(c), O_RDWR | O_NOCTTY);
	reads(fd, "no hang-up");
	close(fd);
	chr_free(c);
}

static bool is_raw(int fd)
{
	struct termios t;

	return tcgetattr(fd, &t) == 0 && !(t.c_lflag & ICANON);
}

/* In a child whose controlling terminal is a pty: 0 when all is well, else the step that failed. */
static int tty_child(int slave)
{
	struct chr *c;

	setsid();
	if (ioctl(slave, TIOCSCTTY, 0) < 0 || dup2(slave, 0) < 0 || dup2(slave, 1) < 0)
		return 1;
	open_mode(CHR_TTY, &c);
	chr_on_leave(c, leave, NULL);
	if (!is_raw(0) || fcntl(1, F_GETFL) & O_NONBLOCK)
		return 2;
	write_text(c, "up");
	for (int i = 0; i < 1000 && !left; i++)
		ev_run_once(loop, 10);
	if (!left)
		return 3;
	/* "a" Ctrl-A Ctrl-A "b" came through as "a" Ctrl-A "b" */
	if (ngot != 3 || memcmp(got, "a\1b", 3))
		return 4;
	chr_free(c);
	return is_raw(0) ? 5 : 0;
}

Test(chr, tty)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave, status;
	pid_t pid;

	cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	pid = fork();
	if (pid == 0)
		_exit(tty_child(slave));
	reads(master, "up");
	cr_assert_eq(write(master, "a\1\1b", 4), 4);
	usleep(50000);
	cr_assert_eq(write(master, "\1x", 2), 2);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFEXITED(status));
	cr_expect_eq(WEXITSTATUS(status), 0, "step %d", WEXITSTATUS(status));
	close(slave);
	close(master);
}

Test(chr, tty_of_no_terminal)
{
	struct chr *c;
	int null = open("/dev/null", O_RDWR);

	dup2(null, 0);
	open_mode(CHR_TTY, &c);
	write_text(c, "");
	pump();
	chr_tty_restore(c);
	chr_free(c);
}
