/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes out: written at once while nothing waits, else appended to a bounded buffer that the bound
 * loop empties when the reader has room; what does not fit is dropped, and the writer told.
 * Descriptors are non-blocking, so that a write never waits; where one cannot be made so without
 * changing somebody else's (chr_open.c), poll is asked first.
 *
 * Bytes in: read while the device takes them. What it leaves is held, and the fd is not watched
 * until chr_input_ready(). */
#include "devices/backend/chr.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices/backend/chr_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/list.h"
#include "vmm/base/num.h"

#define END_WAIT_MS 200
#define END_NS	    1000000000ull

/* Locked. Bytes written, 0 when the reader has no room or is gone. */
static size_t write_now(struct chr *c, const uint8_t *p, size_t n)
{
	struct pollfd room = {.fd = c->out, .events = POLLOUT};
	size_t done = 0;

	while (done < n && c->out >= 0) {
		ssize_t r;

		if (!c->own_out && poll(&room, 1, 0) != 1)
			break;
		r = c->mode == CHR_SOCKET ? send(c->out, p + done, n - done, MSG_NOSIGNAL)
					  : write(c->out, p + done, n - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		done += r;
	}
	return done;
}

static void post(struct chr *c, struct ev_msg *m, bool *posted)
{
	if (!c->loop || *posted)
		return;
	*posted = true;
	ev_post(c->loop, m);
}

/* Locked. Returns how much did not fit. */
static size_t keep(struct chr *c, const uint8_t *p, size_t n)
{
	size_t room;

	if (!c->wait)
		c->wait = malloc(CHR_OUT_MAX);
	room = c->wait ? MIN(n, CHR_OUT_MAX - c->nwait) : 0;
	if (room)
		memcpy(c->wait + c->nwait, p, room);
	c->nwait += room;
	post(c, &c->drain, &c->drain_posted);
	return n - room;
}

size_t chr_write(struct chr *c, const uint8_t *p, size_t n)
{
	size_t done;

	if (c->mode == CHR_NULL || c->mode == CHR_OFF)
		return 0;
	LOCK_SCOPE(&c->lock);
	done = c->nwait ? 0 : write_now(c, p, n);
	return done < n ? keep(c, p + done, n - done) : 0;
}

/* Loop. Watches for room while there is something to write and somebody to write to. */
static void watch_out(struct chr *c, bool on)
{
	if (on && !c->out_watch.loop && c->loop) {
		c->out_watch.fd = c->in == c->out ? dup(c->out) : c->out;
		if (ev_add(c->loop, &c->out_watch, EPOLLOUT) < 0)
			on = false;
	}
	if (!on && c->out_watch.loop)
		ev_del(&c->out_watch);
	if (!on && c->out_watch.fd >= 0 && c->out_watch.fd != c->out)
		close(c->out_watch.fd);
	if (!on)
		c->out_watch.fd = -1;
}

static void drain(struct chr *c)
{
	size_t done;

	LOCK_SCOPE(&c->lock);
	done = c->nwait ? write_now(c, c->wait, c->nwait) : 0;
	c->nwait -= done;
	if (done && c->nwait)
		memmove(c->wait, c->wait + done, c->nwait);
	watch_out(c, c->nwait && c->out >= 0);
}

static void handle_drain(struct ev_msg *m)
{
	struct chr *c = container_of(m, struct chr, drain);

	pthread_mutex_lock(&c->lock);
	c->drain_posted = false;
	pthread_mutex_unlock(&c->lock);
	drain(c);
}

static void out_ready(struct ev_fd *w, uint32_t events)
{
	drain(container_of(w, struct chr, out_watch));
}

/* Loop. A socket's peer is gone: wait for the next. Any other input has ended for good. */
static void end_input(struct chr *c)
{
	ev_del(&c->in_watch);
	if (c->mode != CHR_SOCKET)
		return;
	LOCK_SCOPE(&c->lock);
	watch_out(c, false);
	close(c->in);
	c->in = c->out = -1;
	ev_add(c->loop, &c->listen_watch, EPOLLIN);
}

static void watch_in(struct chr *c)
{
	/* A file that epoll refuses (/dev/null, a regular file) brings no input. */
	if (c->in >= 0 && c->loop && !c->in_watch.loop && !c->nheld) {
		c->in_watch.fd = c->in;
		ev_add(c->loop, &c->in_watch, EPOLLIN);
	}
}

/* Gives held input to the device; true when nothing is left. */
static bool offer(struct chr *c)
{
	size_t took = c->nheld ? c->input(c->arg, c->held, c->nheld) : 0;

	c->nheld -= took;
	memmove(c->held, c->held + took, c->nheld);
	return !c->nheld;
}

/* Takes the escape sequences of a terminal out of held[from..]; true = leave. */
static bool scan_escape(struct chr *c, size_t from)
{
	size_t to = from;

	for (size_t i = from; i < c->nheld; i++) {
		uint8_t b = c->held[i];

		if (c->escape && b == 'x')
			return true;
		if (b == CHR_CTRL_A && !c->escape) {
			c->escape = true;
			continue;
		}
		c->escape = false;
		c->held[to++] = b;
	}
	c->nheld = to;
	return false;
}

static void in_ready(struct ev_fd *w, uint32_t events)
{
	struct chr *c = container_of(w, struct chr, in_watch);
	ssize_t n = read(c->in, c->held, sizeof(c->held));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end_input(c);
		return;
	}
	c->nheld = n;
	if (c->mode == CHR_TTY && scan_escape(c, 0)) {
		c->nheld = 0;
		c->escape = false;
		if (c->leave)
			c->leave(c->leave_arg);
		return;
	}
	if (!offer(c))
		ev_del(&c->in_watch); /* until chr_input_ready() */
}

static void handle_ready(struct ev_msg *m)
{
	struct chr *c = container_of(m, struct chr, ready);

	pthread_mutex_lock(&c->lock);
	c->ready_posted = false;
	pthread_mutex_unlock(&c->lock);
	if (c->loop && offer(c))
		watch_in(c);
}

void chr_input_ready(struct chr *c)
{
	LOCK_SCOPE(&c->lock);
	post(c, &c->ready, &c->ready_posted);
}

/* A client of the socket: one at a time; it also gets what was written before it came. */
static void client_ready(struct ev_fd *w, uint32_t events)
{
	struct chr *c = container_of(w, struct chr, listen_watch);
	int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	ev_del(&c->listen_watch);
	pthread_mutex_lock(&c->lock);
	c->in = c->out = fd;
	pthread_mutex_unlock(&c->lock);
	watch_in(c);
	drain(c);
}

int chr_bind(struct chr *c, struct ev_loop *loop,
	size_t (*input)(void *arg, const uint8_t *p, size_t n), void *arg)
{
	if (c->loop)
		return -EBUSY;
	c->in_watch = (struct ev_fd){.fd = -1, .ready = in_ready};
	c->out_watch = (struct ev_fd){.fd = -1, .ready = out_ready};
	c->listen_watch = (struct ev_fd){.fd = c->listener, .ready = client_ready};
	c->drain.handle = handle_drain;
	c->ready.handle = handle_ready;
	c->input = input;
	c->arg = arg;
	pthread_mutex_lock(&c->lock);
	c->loop = loop;
	pthread_mutex_unlock(&c->lock);
	if (c->listener >= 0 && c->in < 0)
		return ev_add(loop, &c->listen_watch, EPOLLIN);
	watch_in(c);
	return 0;
}

void chr_unbind(struct chr *c)
{
	struct ev_loop *loop = c->loop;

	if (!loop)
		return;
	ev_del(&c->in_watch);
	ev_del(&c->listen_watch);
	pthread_mutex_lock(&c->lock);
	watch_out(c, false);
	c->loop = NULL; /* nothing more is posted */
	pthread_mutex_unlock(&c->lock);
	while (c->drain_posted || c->ready_posted) /* what was posted before comes now */
		ev_run_once(loop, 0);
	c->nheld = 0;
}

void chr_on_leave(struct chr *c, void (*leave)(void *arg), void *arg)
{
	c->leave = leave;
	c->leave_arg = arg;
}

const char *chr_pty_path(const struct chr *c)
{
	return c->mode == CHR_PTY ? c->path : NULL;
}

void chr_tty_restore(const struct chr *c)
{
	if (c && c->raw)
		tcsetattr(c->in, TCSANOW, &c->cooked);
}

int chr_size(const struct chr *c, uint16_t *ret_cols, uint16_t *ret_rows)
{
	struct winsize w;

	if (c->mode != CHR_TTY || c->out < 0 || ioctl(c->out, TIOCGWINSZ, &w) < 0 || !w.ws_col)
		return -ENOTTY;
	*ret_cols = w.ws_col;
	*ret_rows = w.ws_row;
	return 0;
}

/* The last words of a guest: a reader that is only slow gets them, while it makes progress. */
static void drain_at_end(struct chr *c)
{
	struct pollfd room = {.fd = c->out, .events = POLLOUT};
	uint64_t end = ev_now_ns() + END_NS;
	size_t done = 0;

	while (done < c->nwait && c->out >= 0 && ev_now_ns() < end &&
		poll(&room, 1, END_WAIT_MS) == 1) {
		size_t n = write_now(c, c->wait + done, c->nwait - done);

		if (!n)
			break;
		done += n;
	}
	c->nwait = 0;
}

void chr_free(struct chr *c)
{
	if (!c)
		return;
	chr_unbind(c);
	drain_at_end(c);
	chr_tty_restore(c);
	if (c->own_out || (c->mode == CHR_SOCKET && c->out >= 0))
		close(c->out);
	if (c->own_in && c->in != c->out)
		close(c->in);
	cleanup_closep(&c->slave);
	cleanup_closep(&c->listener);
	if (c->mode == CHR_SOCKET && c->path)
		unlink(c->path);
	free(c->path);
	free(c->wait);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
