/* SPDX-License-Identifier: Apache-2.0 */
/* The socket file's manners: whose it is, who may replace it, who removes it. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "devices/backend/vsock_unix.h"

TestSuite(vsock_unix, .timeout = 60);

static char dir[40];
static char path[64];

static void make_dir(void)
{
	strcpy(dir, "/tmp/polyvisor-vsock-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
}

static void remove_dir(void)
{
	unlink(path);
	cr_expect_eq(rmdir(dir), 0, "nothing is left behind");
}

static int serve(const char *at)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", at);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(fd, 1), 0);
	return fd;
}

static int client(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void expect_error(const char *socket_path, int fd, int want, const char *text)
{
	struct vsock_unix *u = NULL;
	struct err e = {0};

	cr_expect_eq(vsock_unix_open(socket_path, fd, "--vsock", "_vsock", &u, &e), want);
	cr_expect_null(u);
	cr_expect(strstr(e.text, "--vsock"), "%s", e.text);
	cr_expect(strstr(e.text, text), "%s", e.text);
	cr_expect(strstr(e.text, "allowed:"), "%s", e.text);
}

Test(vsock_unix, binds_and_unlinks)
{
	struct vsock_unix *u;
	struct stat st;
	int c, s;

	make_dir();
	cr_assert_eq(vsock_unix_open(path, -1, "--vsock", NULL, &u, NULL), 0);
	cr_expect_eq(vsock_unix_accept(u), -EAGAIN);
	c = client();
	cr_assert_geq(c, 0);
	s = vsock_unix_accept(u);
	cr_assert_geq(s, 0);
	cr_expect_eq(write(c, "x", 1), 1);
	close(c);
	close(s);
	vsock_unix_free(u);
	cr_expect_neq(lstat(path, &st), 0);
	vsock_unix_free(NULL);
	remove_dir();
}

Test(vsock_unix, path_in_use)
{
	struct vsock_unix *u;
	struct stat st;

	make_dir();
	cr_assert_eq(vsock_unix_open(path, -1, "--vsock", NULL, &u, NULL), 0);
	expect_error(path, -1, -EADDRINUSE, path);
	cr_expect_eq(lstat(path, &st), 0, "the first one's file stays");
	vsock_unix_free(u);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	expect_error(path, -1, -EADDRINUSE, "socket=");
	cr_expect_eq(lstat(path, &st), 0, "a file is not ours to remove");
	remove_dir();
}

Test(vsock_unix, stale_socket_is_replaced)
{
	struct vsock_unix *u;
	int c;

	make_dir();
	close(serve(path));
	cr_assert_eq(vsock_unix_open(path, -1, "--vsock", NULL, &u, NULL), 0);
	c = client();
	cr_expect_geq(c, 0);
	close(c);
	vsock_unix_free(u);
	remove_dir();
}

Test(vsock_unix, unlinks_only_its_own)
{
	struct vsock_unix *u;
	struct stat st;
	int s;

	make_dir();
	cr_assert_eq(vsock_unix_open(path, -1, "--vsock", NULL, &u, NULL), 0);
	unlink(path);
	s = serve(path);
	vsock_unix_free(u);
	cr_expect_eq(lstat(path, &st), 0);
	close(s);
	remove_dir();
}

Test(vsock_unix, bad_paths)
{
	char longest[98];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[97] = 0;
	expect_error(longest, -1, -ENAMETOOLONG, "96");
	expect_error("", -1, -EINVAL, "socket=PATH");
	expect_error(NULL, -1, -EINVAL, "socket=PATH");
	expect_error("/nonexistent/s", -1, -ENOENT, "socket=/nonexistent/s");
}

Test(vsock_unix, listening_fd)
{
	struct vsock_unix *u;
	struct stat st;
	int c, s;

	make_dir();
	cr_assert_eq(vsock_unix_open(NULL, serve(path), "--vsock", NULL, &u, NULL), 0);
	cr_expect_eq(vsock_unix_accept(u), -EAGAIN, "made non-blocking");
	c = client();
	s = vsock_unix_accept(u);
	cr_expect_geq(s, 0);
	cr_expect_eq(vsock_unix_connect(u, 1), -ENOENT, "no path to connect out");
	close(c);
	close(s);
	vsock_unix_free(u);
	cr_expect_eq(lstat(path, &st), 0, "not bound by us");
	remove_dir();
}

Test(vsock_unix, fds_that_do_not_listen)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	expect_error(NULL, pair[0], -ENOTSOCK, "fd=");
	expect_error(NULL, open("/dev/null", O_RDWR), -ENOTSOCK, "fd=");
	expect_error(NULL, socket(AF_INET, SOCK_STREAM, 0), -ENOTSOCK, "fd=");
	cr_expect_neq(fcntl(pair[0], F_GETFD), 0, "taken on error too");
	close(pair[1]);
}

Test(vsock_unix, connects_out)
{
	struct vsock_unix *u;
	char at[80];
	int s, c;

	make_dir();
	snprintf(at, sizeof(at), "%s_4294967295", path);
	cr_assert_eq(vsock_unix_open(path, -1, "--vsock", NULL, &u, NULL), 0);
	cr_expect_eq(vsock_unix_connect(u, UINT32_MAX), -ENOENT);
	s = serve(at);
	c = vsock_unix_connect(u, UINT32_MAX);
	cr_expect_geq(c, 0);
	close(c);
	close(s);
	cr_expect_eq(vsock_unix_connect(u, UINT32_MAX), -ECONNREFUSED);
	unlink(at);
	vsock_unix_free(u);
	remove_dir();
}
