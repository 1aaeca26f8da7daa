/* SPDX-License-Identifier: Apache-2.0 */
/* vm console: our terminal, raw, and the machine's console: bytes go both ways until Ctrl-A x, a
 * signal, or the console's end. The terminal is put back on every way out: signals are taken by a
 * descriptor, and what they would have done is done after that. Without a terminal the standard
 * streams are copied as they are, and the end of the input is not the end. */
#include "tools/polyctl/console.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
#include "tools/polyctl/polyctl.h"
#include "vmm/base/cleanup.h"

#define CTRL_A	  1
#define HELD_MAX  4096
#define READ_SIZE 4096

size_t escape_filter(struct escape *s, char *p, size_t n)
{
	size_t to = 0;

	for (size_t i = 0; i < n && !s->leave; i++) {
		if (s->ctrl_a && p[i] == 'x') {
			s->leave = true;
		} else if (p[i] == CTRL_A && !s->ctrl_a) {
			s->ctrl_a = true;
		} else {
			s->ctrl_a = false;
			p[to++] = p[i];
		}
	}
	return to;
}

int console_find(const json_t *info, const char *name, bool *ret_is_socket, const char **ret_path,
	struct err *e)
{
	const char *what = strcmp(name, "serial") ? "virtio console" : "serial port";
	json_t *c = json_object_get(json_object_get(info, "config"), name);
	const char *mode = json_string_value(json_object_get(c, "mode"));
	const char *file = json_string_value(json_object_get(c, "file"));
	const char *path = json_string_value(json_object_get(c, "socket"));

	*ret_is_socket = mode && !strcmp(mode, "Socket");
	if (mode && !strcmp(mode, "Pty"))
		path = file;
	else if (!*ret_is_socket)
		path = NULL;
	*ret_path = path;
	if (path)
		return 0;
	if (mode && !strcmp(mode, "File"))
		return err_set(e, ERR_HOST, -ENOTTY,
			"the %s writes to %.200s and reads nothing; look at it with tail -f", what,
			file ? file : "a file");
	if (mode && !strcmp(mode, "Tty"))
		return err_set(e, ERR_HOST, -ENOTTY,
			"the %s is the terminal where polyvisor was started (mode Tty)", what);
	return err_set(e, ERR_HOST, -ENOTTY,
		"the %s is of mode %.20s, to which nobody can attach; create the machine with --%s "
		"pty or --%s socket=PATH",
		what, mode ? mode : "unknown", name, name);
}

static int open_console(bool is_socket, const char *path, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	cleanup_fd int fd = -1;

	if (!is_socket) {
		fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	} else if (strlen(path) < sizeof(a.sun_path)) {
		strcpy(a.sun_path, path);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
			return err_set(e, ERR_HOST, -errno, "%s: %s", path,
				errno == EAGAIN ? "somebody else is attached"
						: strerrordesc_np(errno));
	} else {
		errno = ENAMETOOLONG;
	}
	return fd < 0 ? err_set(e, ERR_HOST, -errno, "%s: %s", path, strerrordesc_np(errno))
		      : steal_fd(&fd);
}

struct session {
	int fd, signals; /* the console; signalfd */
	bool tty, eof;	 /* stdin is a terminal; stdin has ended */
	struct termios cooked;
	struct escape escape;
	char held[HELD_MAX]; /* typed, not yet taken by the console */
	size_t nheld;
	int signal; /* that ended us, or 0 */
	bool closed;
};

/* Reads what was typed. A terminal is read on even when the console takes nothing, for Ctrl-A x;
 * what does not fit is dropped, as by a serial line. */
static void read_input(struct session *s)
{
	char buf[HELD_MAX];
	size_t room = sizeof(s->held) - s->nheld;
	ssize_t n = read(STDIN_FILENO, buf, s->tty ? sizeof(buf) : room);

	if (n <= 0) {
		s->eof = n == 0 || errno != EINTR;
		return;
	}
	size_t len = s->tty ? escape_filter(&s->escape, buf, (size_t)n) : (size_t)n;
	if (len > room)
		len = room;
	memcpy(s->held + s->nheld, buf, len);
	s->nheld += len;
}

static void write_held(struct session *s)
{
	ssize_t n = write(s->fd, s->held, s->nheld);

	if (n < 0) {
		s->closed = errno != EAGAIN && errno != EINTR;
		return;
	}
	s->nheld -= (size_t)n;
	memmove(s->held, s->held + n, s->nheld);
}

/* A PTY whose other end is gone reads as EIO. */
static void copy_output(struct session *s)
{
	char buf[READ_SIZE];
	ssize_t n = read(s->fd, buf, sizeof(buf));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		s->closed = true;
		return;
	}
	for (ssize_t at = 0, w; at < n; at += w) {
		w = write(STDOUT_FILENO, buf + at, (size_t)(n - at));
		if (w < 0 && errno == EINTR)
			w = 0;
		else if (w < 0) {
			s->eof = s->closed = true; /* nobody reads us */
			return;
		}
	}
}

static void take_signal(struct session *s)
{
	struct signalfd_siginfo info;

	if (read(s->signals, &info, sizeof(info)) == sizeof(info))
		s->signal = (int)info.ssi_signo;
}

static void copy_both(struct session *s)
{
	while (!s->escape.leave && !s->closed && !s->signal) {
		bool read_on = !s->eof && (s->tty || s->nheld < sizeof(s->held));
		struct pollfd p[] = {
			{s->fd, POLLIN | (s->nheld ? POLLOUT : 0), 0},
			{s->signals, POLLIN, 0},
			{read_on ? STDIN_FILENO : -1, POLLIN, 0},
		};

		if (poll(p, 3, -1) < 0)
			continue;
		if (p[1].revents)
			take_signal(s);
		if (p[2].revents)
			read_input(s);
		if (s->nheld)
			write_held(s);
		if (p[0].revents & ~POLLOUT)
			copy_output(s);
	}
}

/* Blocks what would end us and makes it readable. The mask before is for the way out. */
static int open_signals(sigset_t *ret_before)
{
	sigset_t set;

	sigemptyset(&set);
	for (const int *sig = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, 0}; *sig;
		sig++)
		sigaddset(&set, *sig);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, ret_before) < 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void make_raw(struct session *s)
{
	struct termios raw;

	s->tty = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &s->cooked) == 0;
	if (!s->tty)
		return;
	raw = s->cooked;
	cfmakeraw(&raw);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

int console_attach(const char *path, int fd, FILE *err)
{
	struct session s = {.fd = fd};
	sigset_t before;

	s.signals = open_signals(&before);
	if (s.signals < 0)
		return s.signals;
	if (isatty(STDIN_FILENO))
		fprintf(err, "polyctl: attached to %s; Ctrl-A x leaves\n", path);
	fflush(err);
	make_raw(&s);
	copy_both(&s);
	if (s.tty) {
		tcsetattr(STDIN_FILENO, TCSADRAIN, &s.cooked);
		fprintf(err, "\npolyctl: %s\n", s.closed ? "the console was closed" : "left");
	}
	close(s.signals);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (s.signal)
		raise(s.signal);
	return 0;
}

int run_console(struct call *c, struct err *e)
{
	json_t *info;
	const char *path;
	bool is_socket;
	cleanup_fd int fd = -1;
	int r = call_get(c, c->verb->path, &info, e);

	if (r < 0)
		return r;
	r = console_find(info, c->virtio ? "console" : "serial", &is_socket, &path, e);
	if (r == 0)
		r = fd = open_console(is_socket, path, e);
	if (r >= 0)
		r = console_attach(path, fd, c->err);
	json_decref(info);
	return r < 0 ? err_set(e, ERR_HOST, r, "cannot attach: %s", strerrordesc_np(-r)) : 0;
}
