/* SPDX-License-Identifier: Apache-2.0 */
/* One write for each document: a pipe takes up to PIPE_BUF bytes whole or not at all, so a reader
 * never finds half of one. */
#include "vmm/api/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "vmm/api/event.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

struct monitor {
	int fd;
	bool socket;
	uint64_t dropped; /* since the last that was told */
};

#define ALLOWED "allowed: path=FILE, or fd=N of an open file, FIFO, pipe or socket"

/* Opened for reading, too: that waits for nobody, and the FIFO cannot break (fifo(7)). */
static int open_path(const char *path, struct err *e)
{
	struct stat st;
	int fd;

	if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode))
		fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	else
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
			0600);
	if (fd < 0)
		return err_set(e, ERR_HOST, -errno, "--event-monitor path: \"%s\": %s; %s", path,
			strerror(errno), ALLOWED);
	return fd;
}

static int take_fd(const char *text, struct err *e)
{
	uint64_t n;
	int flags, fd;

	if (num_parse(text, &n) < 0 || n > INT_MAX)
		return err_set(e, ERR_USAGE, -EINVAL,
			"--event-monitor fd: \"%.64s\" is not a number; %s", text, ALLOWED);
	fd = (int)n;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
		return err_set(e, ERR_USAGE, -EBADF,
			"--event-monitor fd: %s is not open for writing; %s", text, ALLOWED);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(
			e, ERR_HOST, -errno, "--event-monitor fd: %s: %s", text, strerror(errno));
	return fd;
}

static int open_where(const char *where, struct err *e)
{
	if (strncmp(where, "path=", 5) == 0 && where[5])
		return open_path(where + 5, e);
	if (strncmp(where, "fd=", 3) == 0)
		return take_fd(where + 3, e);
	return err_set(
		e, ERR_USAGE, -EINVAL, "--event-monitor: \"%.64s\" is neither; %s", where, ALLOWED);
}

int monitor_new(const char *where, struct monitor **ret_monitor, struct err *e)
{
	struct monitor *m;
	struct stat st;
	int fd = open_where(where, e);

	if (fd < 0)
		return fd;
	m = calloc(1, sizeof(*m));
	if (!m) {
		close(fd);
		return err_set(e, ERR_HOST, -ENOMEM, "--event-monitor: out of memory");
	}
	m->fd = fd;
	m->socket = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
	*ret_monitor = m;
	return 0;
}

void monitor_free(struct monitor *m)
{
	if (!m)
		return;
	close(m->fd);
	free(m);
}

/* A pipe whose reader is gone raises SIGPIPE in this thread: it is kept out and taken back, unless
 * one was there before. */
static ssize_t write_quietly(int fd, const void *p, size_t n)
{
	sigset_t pipe, old, pending;
	ssize_t r;
	int error;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe, &old);
	r = write(fd, p, n);
	error = errno;
	if (r < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
		sigtimedwait(&pipe, NULL, &(struct timespec){0});
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return r;
}

static bool put(struct monitor *m, const char *text, size_t n)
{
	ssize_t r = m->socket ? send(m->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL)
			      : write_quietly(m->fd, text, n);

	return r == (ssize_t)n;
}

/* The document and a blank line, malloc'ed; takes the reference. */
static char *to_text(json_t *json)
{
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL, *ret = NULL;

	if (text && asprintf(&ret, "%s\n\n", text) < 0)
		ret = NULL;
	free(text);
	json_decref(json);
	return ret;
}

/* The note that some were lost goes with the event that follows them: both fit, or neither. */
static char *with_note(const struct monitor *m, const struct vm_event *e, const char *text)
{
	struct vm_event note = {
		.since_ns = e->since_ns, .source = "vmm", .event = "events-dropped"};
	json_t *json = event_json(&note),
	       *count = json_sprintf("%llu", (unsigned long long)m->dropped);
	cleanup_free char *first = NULL;
	char *both;

	if (json)
		json_object_set_new(json, "properties", json_pack("{s:o}", "count", count));
	first = to_text(json);
	return first && asprintf(&both, "%s%s", first, text) >= 0 ? both : NULL;
}

void monitor_publish(struct monitor *m, const struct vm_event *e)
{
	cleanup_free char *text = to_text(event_json(e)), *both = NULL;
	const char *all = text;

	if (text && m->dropped)
		all = both = with_note(m, e, text);
	if (all && put(m, all, strlen(all)))
		m->dropped = 0;
	else
		m->dropped++;
}
