/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets connect at once or not at all, so nothing here needs to wait. */
#include "devices/backend/vsock_unix.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "vmm/base/cleanup.h"

#define BACKLOG	  128
#define PATH_MAX_ (sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("_4294967295"))

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

static int connect_to(const struct sockaddr_un *a)
{
	cleanup_fd int fd = new_socket();

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0)
		return -errno;
	return steal_fd(&fd);
}

/* A socket file that refuses has lost its listener. */
static bool is_stale(const struct sockaddr_un *a)
{
	struct stat st;
	int fd;

	if (lstat(a->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = connect_to(a);
	if (fd >= 0)
		close(fd);
	return fd == -ECONNREFUSED;
}

static int try_bind(int fd, const struct sockaddr_un *a)
{
	return bind(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 ? -errno : 0;
}

static int bind_path(struct vsock_unix *u)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;
	int r;

	strcpy(a.sun_path, u->path);
	u->listen_fd = new_socket();
	if (u->listen_fd < 0)
		return u->listen_fd;
	r = try_bind(u->listen_fd, &a);
	if (r == -EADDRINUSE && is_stale(&a) && unlink(u->path) == 0)
		r = try_bind(u->listen_fd, &a);
	if (r < 0)
		return r;
	if (lstat(u->path, &st) < 0)
		return -errno;
	u->bound = true;
	u->dev = st.st_dev;
	u->ino = st.st_ino;
	return listen(u->listen_fd, BACKLOG) < 0 ? -errno : 0;
}

static int int_option(int fd, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, option, &v, &len) < 0 ? -1 : v;
}

static bool listens(int fd)
{
	return int_option(fd, SO_DOMAIN) == AF_UNIX && int_option(fd, SO_TYPE) == SOCK_STREAM &&
	       int_option(fd, SO_ACCEPTCONN) == 1;
}

static int prepare_fd(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
		fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

static int open_path(struct vsock_unix *u, const char *name, struct err *e)
{
	int r = bind_path(u);

	if (r == -EADDRINUSE)
		return err_set(e, ERR_HOST, r,
			"%s socket=%s: in use; allowed: a name where nothing is yet (remove the "
			"file, stop who listens there, or choose another name)",
			name, u->path);
	return r < 0 ? err_set(e, ERR_HOST, r,
			       "%s socket=%s: %s; allowed: a name in a directory you may write",
			       name, u->path, strerrordesc_np(-r))
		     : 0;
}

static int open_fd(struct vsock_unix *u, const char *name, struct err *e)
{
	int r = listens(u->listen_fd) ? prepare_fd(u->listen_fd) : -ENOTSOCK;

	return r < 0 ? err_set(e, ERR_USAGE, r,
			       "%s fd=%d: not a listening unix stream socket; allowed: one", name,
			       u->listen_fd)
		     : 0;
}

static int check_path(const char *path, const char *name, struct err *e)
{
	if (!*path)
		return err_set(e, ERR_USAGE, -EINVAL, "%s: no socket; allowed: socket=PATH", name);
	if (strlen(path) > PATH_MAX_)
		return err_set(e, ERR_USAGE, -ENAMETOOLONG,
			"%s socket=%s: too long; allowed: at most %zu bytes", name, path,
			PATH_MAX_);
	return 0;
}

int vsock_unix_open(const char *path, int fd, const char *flag, const char *id,
	struct vsock_unix **ret_u, struct err *e)
{
	cleanup_fd int owned = fd;
	struct vsock_unix *u;
	char name[80];
	int r;

	snprintf(name, sizeof(name), "%s%s%s", flag, id && *id ? " id=" : "", id ? id : "");
	path = path ? path : "";
	r = *path || fd < 0 ? check_path(path, name, e) : 0;
	if (r < 0)
		return r;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	strcpy(u->path, path);
	u->listen_fd = steal_fd(&owned);
	r = fd < 0 ? open_path(u, name, e) : open_fd(u, name, e);
	if (r < 0) {
		vsock_unix_free(u);
		return r;
	}
	*ret_u = u;
	return 0;
}

void vsock_unix_free(struct vsock_unix *u)
{
	struct stat st;

	if (!u)
		return;
	if (u->bound && lstat(u->path, &st) == 0 && st.st_dev == u->dev && st.st_ino == u->ino)
		unlink(u->path);
	cleanup_closep(&u->listen_fd);
	free(u);
}

int vsock_unix_accept(const struct vsock_unix *u)
{
	int fd;

	do
		fd = accept4(u->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd < 0 ? -errno : fd;
}

int vsock_unix_connect(const struct vsock_unix *u, uint32_t port)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (!*u->path)
		return -ENOENT;
	if (snprintf(a.sun_path, sizeof(a.sun_path), "%s_%u", u->path, port) >=
		(int)sizeof(a.sun_path))
		return -ENAMETOOLONG;
	return connect_to(&a);
}
