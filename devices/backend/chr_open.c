/* SPDX-License-Identifier: Apache-2.0 */
/* The modes of a character back-end: what each opens and how. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "devices/backend/chr_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/fd_arg.h"

/* A second description of a terminal or pipe, non-blocking, so that the one shared with the shell
 * stays as it is. -1 for what cannot be opened again: then poll guards each write. */
static int reopen_nonblocking(int fd)
{
	char path[40];
	struct stat st;

	if (fstat(fd, &st) < 0 || !(S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* Raw, so that the guest gets every key; but our own lines still end with a carriage return. A job
 * in the background leaves the terminal alone: touching it would stop us. */
static int make_raw(struct chr *c)
{
	struct termios raw;

	if (!isatty(c->in) || tcgetpgrp(c->in) != getpgrp() || tcgetattr(c->in, &c->cooked) < 0)
		return 0;
	raw = c->cooked;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST;
	if (tcsetattr(c->in, TCSANOW, &raw) < 0)
		return -errno;
	c->raw = true;
	return 0;
}

static int open_tty(struct chr *c, const char *flag, struct err *e)
{
	int r;

	if (fcntl(STDIN_FILENO, F_GETFD) >= 0)
		c->in = STDIN_FILENO;
	if (fcntl(STDOUT_FILENO, F_GETFD) < 0)
		return err_set(e, ERR_HOST, -EBADF,
			"%s tty: standard output is closed; allowed: an open one, or null, file=, "
			"pty, socket=",
			flag);
	c->out = reopen_nonblocking(STDOUT_FILENO);
	c->own_out = c->out >= 0;
	if (!c->own_out)
		c->out = STDOUT_FILENO;
	r = make_raw(c);
	return r < 0 ? err_set(e, ERR_HOST, r, "%s tty: cannot set the terminal up: %s", flag,
			       strerrordesc_np(-r))
		     : 0;
}

/* The slave is kept open: a reader may come and go without a hang-up. */
static int try_pty(struct chr *c)
{
	struct termios raw;
	char name[64];

	c->in = c->out = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	c->own_in = c->own_out = true;
	if (c->in < 0 || grantpt(c->in) < 0 || unlockpt(c->in) < 0)
		return -errno;
	if (ptsname_r(c->in, name, sizeof(name)) != 0)
		return -errno;
	c->path = strdup(name);
	c->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (!c->path || c->slave < 0 || tcgetattr(c->slave, &raw) < 0)
		return -errno;
	cfmakeraw(&raw);
	return tcsetattr(c->slave, TCSANOW, &raw) < 0 ? -errno : 0;
}

static int open_pty(struct chr *c, const char *flag, struct err *e)
{
	int r = try_pty(c);

	return r < 0 ? err_set(e, ERR_HOST, r, "%s pty: cannot make a terminal: %s", flag,
			       strerrordesc_np(-r))
		     : 0;
}

static int open_file(struct chr *c, const char *path, const char *flag, struct err *e)
{
	c->out = fd_arg(flag, path, O_WRONLY, e);
	if (c->out == -ENOENT)
		c->out = open(path,
			O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0644);
	else if (c->out < 0)
		return c->out;
	else
		fcntl(c->out, F_SETFL, fcntl(c->out, F_GETFL) | O_NONBLOCK);
	if (c->out < 0)
		return err_set(e, ERR_HOST, -errno,
			"%s file=%s: cannot be opened for writing: %s; allowed: a file you may "
			"create or write",
			flag, path, strerrordesc_np(errno));
	c->own_out = true;
	return 0;
}

/* A name that something else listens at is not ours to take; one left behind by a dead process is.
 */
static bool is_stale(const struct sockaddr_un *a)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0 || lstat(a->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	return connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 && errno == ECONNREFUSED;
}

static int open_socket(struct chr *c, const char *path, const char *flag, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	cleanup_fd int fd = -1;
	int r;

	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(e, ERR_USAGE, -ENAMETOOLONG,
			"%s socket=%s: too long; allowed: at most %zu bytes", flag, path,
			sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof(a));
	if (r < 0 && errno == EADDRINUSE && is_stale(&a)) {
		unlink(path);
		r = bind(fd, (struct sockaddr *)&a, sizeof(a));
	}
	if (r < 0)
		return err_set(e, ERR_HOST, -errno,
			"%s socket=%s: %s; allowed: a name nobody listens at, in a directory you "
			"may write",
			flag, path, strerrordesc_np(errno));
	c->path = strdup(path);
	if (!c->path || listen(fd, 1) < 0) {
		unlink(path);
		return -ENOMEM;
	}
	c->listener = steal_fd(&fd);
	return 0;
}

static int open_mode(struct chr *c, const char *path, const char *flag, struct err *e)
{
	switch (c->mode) {
	case CHR_TTY:
		return open_tty(c, flag, e);
	case CHR_PTY:
		return open_pty(c, flag, e);
	case CHR_FILE:
		return open_file(c, path, flag, e);
	case CHR_SOCKET:
		return open_socket(c, path, flag, e);
	default:
		return 0;
	}
}

int chr_open(
	enum chr_mode mode, const char *path, const char *flag, struct chr **ret_chr, struct err *e)
{
	struct chr *c;
	int r;

	if ((mode == CHR_FILE || mode == CHR_SOCKET) && (!path || !*path))
		return err_set(e, ERR_USAGE, -EINVAL, "%s: no path; allowed: %s=PATH", flag,
			mode == CHR_FILE ? "file" : "socket");
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->mode = mode;
	c->in = c->out = c->slave = c->listener = -1;
	pthread_mutex_init(&c->lock, NULL);
	r = open_mode(c, path, flag, e);
	if (r < 0) {
		chr_free(c);
		return r;
	}
	*ret_chr = c;
	return 0;
}
