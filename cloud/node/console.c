/* SPDX-License-Identifier: Apache-2.0 */
/* The serial console: the VMM listens on a socket for one client, which is the node; the node keeps
 * what comes in console.log, bounded, and gives it to any number of readers. The VMM holds what
 * comes while no node runs. What readers write goes to the guest. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "cloud/node/node_priv.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define REPLAY	 (64u << 10)
#define LOG_MAX	 (1u << 20)
#define LOG_KEEP (512u << 10)
#define TAIL_MAX (1u << 20) /* bytes of a log's answer */

struct reader {
	struct list link;
	struct instance *in;
	struct link_stream *s;
	char *wait; /* written by it, not yet taken by the guest */
	size_t nwait;
};

/* ---- the file ---- */

static void log_open(struct console *c, struct instance *in)
{
	if (c->log >= 0 || in->dir < 0)
		return;
	c->log = openat(
		in->dir, "console.log", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->log >= 0)
		c->log_len = (size_t)lseek(c->log, 0, SEEK_END);
}

/* The newer half stays. */
static void log_cut(struct console *c)
{
	cleanup_free char *keep = malloc(LOG_KEEP);
	ssize_t n = keep ? pread(c->log, keep, LOG_KEEP, (off_t)(c->log_len - LOG_KEEP)) : -1;

	if (n < 0 || ftruncate(c->log, 0) < 0)
		return;
	c->log_len = 0;
	n = write(c->log, keep, (size_t)n);
	if (n > 0)
		c->log_len = (size_t)n;
}

static void log_add(struct console *c, const char *p, size_t n)
{
	ssize_t r = c->log < 0 ? -1 : write(c->log, p, n);

	if (r > 0)
		c->log_len += (size_t)r;
	if (c->log_len > LOG_MAX)
		log_cut(c);
}

/* The last bytes, at most max; malloc'ed, NULL when there are none. */
static char *log_tail(struct instance *in, size_t max, size_t *ret_n)
{
	struct console *c = &in->console;
	size_t n;
	char *p;
	ssize_t r;

	log_open(c, in);
	n = MIN(c->log_len, max);
	p = n && c->log >= 0 ? malloc(n + 1) : NULL;
	r = p ? pread(c->log, p, n, (off_t)(c->log_len - n)) : -1;
	if (r <= 0) {
		free(p);
		return NULL;
	}
	p[r] = '\0';
	*ret_n = (size_t)r;
	return p;
}

/* ---- the VMM's side ---- */

/* A reader that lets more pile up than its queue holds is cut off; it may come again. */
static void give_readers(struct console *c, const char *p, size_t n)
{
	list_for_each_safe (it, &c->readers) {
		struct reader *x = container_of(it, struct reader, link);

		if (link_stream_write(x->s, p, n) < 0)
			link_stream_reset(x->s);
	}
}

/* -EAGAIN: nothing now; 0 or another: it has ended. */
static ssize_t take_some(struct console *c)
{
	char buf[16384];
	ssize_t n = recv(c->watch.fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	if (n > 0) {
		log_add(c, buf, (size_t)n);
		give_readers(c, buf, (size_t)n);
	}
	return n;
}

static bool give_guest(struct reader *x)
{
	struct console *c = &x->in->console;
	ssize_t n = c->watch.fd < 0
			    ? (ssize_t)x->nwait
			    : send(c->watch.fd, x->wait, x->nwait, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0) {
		link_stream_took(x->s, (size_t)n);
		x->nwait -= (size_t)n;
		memmove(x->wait, x->wait + n, x->nwait);
	}
	return !x->nwait;
}

static void hang_up(struct console *c)
{
	if (c->watch.fd < 0)
		return;
	ev_del(&c->watch);
	close(c->watch.fd);
	c->watch.fd = -1;
	/* What was typed was for a guest that is gone. */
	list_for_each (it, &c->readers) {
		give_guest(container_of(it, struct reader, link));
	}
}

static void on_ready(struct ev_fd *w, uint32_t events)
{
	struct instance *in = container_of(w, struct instance, console.watch);
	struct console *c = &in->console;
	bool empty = true;
	ssize_t n = 1;

	if (events & EPOLLOUT) {
		list_for_each (it, &c->readers) {
			empty &= give_guest(container_of(it, struct reader, link));
		}
		if (empty)
			ev_mod(&c->watch, EPOLLIN);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		n = take_some(c);
	if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR)) {
		hang_up(c);
		instance_dirty(in);
	}
}

void console_connect(struct instance *in)
{
	struct console *c = &in->console;
	cleanup_fd int vm = -1;
	uint64_t now = ev_now_ns();
	int fd;

	if (c->watch.fd >= 0 || now < c->retry_ns)
		return;
	log_open(c, in);
	/* Its folder is the VMM's, which may have put a link there. */
	vm = openat(in->run, "vm", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	fd = vm < 0 ? -errno : file_connect(vm, "console");
	if (fd < 0) {
		c->retry_ns = now + 50000000;
		return;
	}
	c->watch = (struct ev_fd){.fd = fd, .ready = on_ready};
	if (ev_add(in->node->loop, &c->watch, EPOLLIN) < 0) {
		close(fd);
		c->watch.fd = -1;
	}
}

void console_end(struct instance *in)
{
	struct console *c = &in->console;

	c->retry_ns = 0;
	if (c->watch.fd < 0)
		console_connect(in); /* it may have been too quick for us: what it wrote is gone */
	while (c->watch.fd >= 0 && take_some(c) > 0)
		;
	hang_up(c);
	c->retry_ns = 0;
}

void console_init(struct instance *in)
{
	in->console.watch.fd = in->console.log = -1;
	list_init(&in->console.readers);
}

void console_fini(struct instance *in)
{
	struct console *c = &in->console;

	hang_up(c);
	list_for_each_safe (it, &c->readers) {
		struct reader *x = container_of(it, struct reader, link);

		list_del(&x->link);
		x->in = NULL;
		link_stream_end(x->s);
	}
	if (c->log >= 0)
		close(c->log);
	c->log = -1;
}

/* ---- readers ---- */

static void on_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	struct reader *x = arg;
	char *more = x->in ? realloc(x->wait, x->nwait + n) : NULL;

	if (!more) {
		link_stream_took(s, n);
		return;
	}
	memcpy(more + x->nwait, p, n);
	x->wait = more;
	x->nwait += n;
	if (!give_guest(x) && x->in->console.watch.fd >= 0)
		ev_mod(&x->in->console.watch, EPOLLIN | EPOLLOUT);
}

static void on_eof(struct link_stream *s, void *arg)
{
	link_stream_end(s);
}

static void on_closed(struct link_stream *s, int error, void *arg)
{
	struct reader *x = arg;

	list_del(&x->link);
	free(x->wait);
	free(x);
}

static const struct link_stream_ops reader_ops = {
	.data = on_data, .eof = on_eof, .closed = on_closed};

void console_open(struct instance *in, struct link_req *r)
{
	struct reader *x = calloc(1, sizeof(*x));
	cleanup_free char *tail = NULL;
	size_t n = 0;

	if (!x) {
		link_problem(r, 500, "out of memory");
		return;
	}
	tail = log_tail(in, request_number(r, "replay", REPLAY), &n);
	list_init(&x->link);
	x->in = in;
	x->s = link_accept(r, &reader_ops, x);
	if (!x->s) {
		free(x);
		return;
	}
	list_add(&in->console.readers, &x->link);
	if (tail)
		link_stream_write(x->s, tail, MIN(n, (size_t)REPLAY));
}

/* ---- the log, once ---- */

struct tail {
	struct link_stream *s;
	char *text;
	size_t n, at;
};

static void tail_free(struct tail *t)
{
	free(t->text);
	free(t);
}

static void tail_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	link_stream_took(s, n);
}

static void tail_more(struct link_stream *s, void *arg)
{
	struct tail *t = arg;

	while (t->at < t->n) {
		size_t piece = MIN(t->n - t->at, (size_t)(64 << 10));
		ssize_t room = link_stream_write(s, t->text + t->at, piece);

		if (room < 0)
			return;
		t->at += piece;
		if (room == 0)
			return;
	}
	link_stream_end(s);
}

static void tail_closed(struct link_stream *s, int error, void *arg)
{
	tail_free(arg);
}

/* The last `tail` bytes, all that is kept when that is not said, as they are. */
static const struct link_stream_ops tail_ops = {
	.data = tail_data, .writable = tail_more, .closed = tail_closed};

void console_log(struct instance *in, struct link_req *r)
{
	struct tail *t = calloc(1, sizeof(*t));

	if (!t) {
		link_problem(r, 500, "out of memory");
		return;
	}
	t->text = log_tail(in, request_number(r, "tail", TAIL_MAX), &t->n);
	t->s = link_accept(r, &tail_ops, t);
	if (t->s)
		tail_more(t->s, t);
	else
		tail_free(t);
}
