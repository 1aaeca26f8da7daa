/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever can connect to the socket owns what is served there, so its file is the user's alone
 * (0600). A file that is left over from a process that died is replaced; one that answers is not.
 */
#include "vmm/http/listen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"
#include "vmm/base/opts.h"

struct where {
	char *path;
	int fd;
};

static const struct opt where_opts[] = {
	{.name = "path",
		.type = OPT_STR,
		.offset = offsetof(struct where, path),
		.min = 1,
		.max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1,
		.help = "unix socket to make"},
	{.name = "fd",
		.type = OPT_FD,
		.offset = offsetof(struct where, fd),
		.help = "or a listening one"},
};
static const struct opt_table where_table = {.help = "the API's socket",
	.opts = where_opts,
	.n = ARRAY_SIZE(where_opts),
	.size = sizeof(struct where),
	.bare_key = "path"};

static int failed(const char *flag, const char *path, int code, struct err *e)
{
	return err_set(e, ERR_HOST, code, "%s path=%.200s: %s", flag, path, strerrordesc_np(-code));
}

static int check_given(const char *flag, int fd, struct err *e)
{
	int domain = 0, listens = 0;
	socklen_t n = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0 || domain != AF_UNIX ||
		!listens)
		return err_set(e, ERR_USAGE, -EINVAL, "%s fd: %d is not a listening unix socket",
			flag, fd);
	return 0;
}

/* Makes room for the socket's file. */
static int remove_stale(const char *flag, const struct sockaddr_un *sa, struct err *e)
{
	cleanup_fd int fd = -1;
	struct stat st;

	if (lstat(sa->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : failed(flag, sa->sun_path, -errno, e);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ERR_USAGE, -EEXIST, "%s path=%.200s: is there and is no socket",
			flag, sa->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return failed(flag, sa->sun_path, -errno, e);
	/* A full backlog is a sign of life, too. */
	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 || errno != ECONNREFUSED)
		return err_set(e, ERR_HOST, -EADDRINUSE,
			"%s path=%.200s: another process serves it", flag, sa->sun_path);
	return unlink(sa->sun_path) < 0 ? failed(flag, sa->sun_path, -errno, e) : 0;
}

static int make(const char *flag, const char *path, struct http_socket *s, struct err *e)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st;
	int r;

	memcpy(sa.sun_path, path, strlen(path) + 1);
	r = fd < 0 ? failed(flag, path, -errno, e) : remove_stale(flag, &sa, e);
	if (r < 0)
		return r;
	/* The file gets the socket's own mode, from its first moment (unix(7) has the umask only).
	 */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return failed(flag, path, -errno, e);
	s->path = strdup(path);
	if (!s->path || listen(fd, SOMAXCONN) < 0 || lstat(path, &st) < 0) {
		r = s->path ? failed(flag, path, -errno, e) : -ENOMEM;
		unlink(path);
		free(steal_ptr(&s->path));
		return r;
	}
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	s->fd = steal_fd(&fd);
	return 0;
}

int http_socket_open(
	const char *flag, const char *where, struct http_socket *ret_socket, struct err *e)
{
	struct http_socket s = {.fd = -1};
	struct where w = {.fd = -1};
	struct opt_table table = where_table;
	int r;

	table.flag = flag;
	r = opts_parse(&table, where, &w, e);

	if (!r && !w.path == (w.fd < 0))
		r = err_set(e, ERR_USAGE, -EINVAL, "%s: give exactly one of path and fd", flag);
	if (!r)
		r = w.path ? make(flag, w.path, &s, e) : check_given(flag, w.fd, e);
	if (!r && !w.path)
		s.fd = w.fd;
	opts_free(&table, &w);
	if (!r)
		*ret_socket = s;
	return r;
}

void http_socket_close(struct http_socket *s)
{
	struct stat st;

	if (s->path && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->path);
	free(steal_ptr(&s->path));
	if (s->fd >= 0)
		close(steal_fd(&s->fd));
}
