/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/node/test_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/node/file.h"
#include "vmm/base/num.h"

/* ---- the client's stream ---- */

static void got_answered(struct link_stream *s, unsigned status, void *arg)
{
	((struct got *)arg)->status = status;
}

static void got_data(struct link_stream *s, const void *p, size_t n, void *arg)
{
	struct got *t = arg;
	size_t room = t->len < sizeof(t->bytes) - 1 ? sizeof(t->bytes) - 1 - t->len : 0;

	memcpy(t->bytes + MIN(t->len, sizeof(t->bytes) - 1), p, MIN(n, room));
	t->len += n;
	if (!t->hold)
		link_stream_took(s, n);
}

static void got_eof(struct link_stream *s, void *arg)
{
	((struct got *)arg)->eof = true;
}

static void got_closed(struct link_stream *s, int error, void *arg)
{
	struct got *t = arg;

	t->s = NULL;
	t->closed = true;
	t->error = error;
}

static const struct link_stream_ops got_ops = {
	.answered = got_answered, .data = got_data, .eof = got_eof, .closed = got_closed};

void rig_open(struct rig *g, struct got *t, const char *method, const char *path)
{
	memset(t, 0, sizeof(*t));
	t->g = g;
	cr_assert_eq(link_open(g->client, method, path, "r-1", &got_ops, t, &t->s), 0);
}

bool rig_send(struct got *t, const void *p, size_t n)
{
	uint64_t end = ev_now_ns() + 20000000000ull;

	while (n && t->s && ev_now_ns() < end) {
		size_t some = MIN(n, (size_t)32 << 10);
		ssize_t r = link_stream_write(t->s, p, some);

		if (r == -EAGAIN)
			ev_run_once(t->g->loop, 10);
		if (r < 0 && r != -EAGAIN)
			return false;
		if (r < 0)
			continue;
		p = (const char *)p + some;
		n -= some;
	}
	return !n;
}

static bool has_status(void *arg)
{
	struct got *t = arg;

	return t->status || t->closed;
}

unsigned rig_status(struct got *t)
{
	rig_until(t->g, has_status, t);
	return t->status;
}

bool rig_closed(struct got *t)
{
	return rig_wait(t->g, &t->closed);
}

/* ---- both ends ---- */

static bool any_stream(const char *method, const char *path, void *arg)
{
	return true;
}

static void on_request(struct link_req *r, void *arg)
{
	struct rig *g = arg;

	g->request(g, r);
}

static void on_gone(struct link *l, const char *why, void *arg)
{
}

void rig_start(struct rig *g, void (*request)(struct rig *g, struct link_req *r), void *arg)
{
	const struct link_handler h = {any_stream, on_request, on_gone, g};
	const struct link_events ev = {on_gone, g};
	int fd[2];

	*g = (struct rig){.request = request, .arg = arg};
	snprintf(g->folder, sizeof(g->folder), "/tmp/test-node-XXXXXX");
	cr_assert(mkdtemp(g->folder) != NULL);
	g->dir = open(g->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(g->dir >= 0);
	cr_assert_eq(ev_loop_new(&g->loop), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	cr_assert_eq(link_server_new(g->loop, link_wire_socket(fd[0]), &h, &g->server), 0);
	cr_assert_eq(link_client_new(g->loop, link_wire_socket(fd[1]), &ev, &g->client), 0);
}

void rig_unlink(struct rig *g)
{
	link_free(g->client);
	link_free(g->server);
	g->client = g->server = NULL;
}

void rig_stop(struct rig *g)
{
	rig_unlink(g);
	ev_loop_free(g->loop);
	close(g->dir);
	cr_expect_eq(file_remove(AT_FDCWD, g->folder), 0);
}

bool rig_until(struct rig *g, bool (*done)(void *arg), void *arg)
{
	uint64_t end = ev_now_ns() + 20000000000ull;

	while (!done(arg)) {
		if (ev_now_ns() > end)
			return false;
		ev_run_once(g->loop, 100);
	}
	return true;
}

static bool is_set(void *arg)
{
	return *(const bool *)arg;
}

bool rig_wait(struct rig *g, const bool *flag)
{
	return rig_until(g, is_set, (void *)flag);
}

void rig_rounds(struct rig *g, unsigned n)
{
	while (n--)
		ev_run_once(g->loop, 0);
}
