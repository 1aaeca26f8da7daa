/* SPDX-License-Identifier: Apache-2.0 */
/* A tunnel is a TCP connection that happens to pass through a link: what is said arrives, in both
 * directions and after one of them ended, and a guest that is not up yet is waited for. Of the node
 * there is only what a tunnel asks of it. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/node/node_priv.h"
#include "cloud/node/test_rig.h"

#define MIB (1u << 20)

/* ---- the node, as far as a tunnel sees it ---- */

struct fake {
	struct node node;
	struct instance in;
	uint16_t port;
	bool no_net;
	unsigned wait;
};

static struct fake *fake_of(struct node *n)
{
	return container_of(n, struct fake, node);
}

struct instance *instance_find(struct node *n, const char *id)
{
	return &fake_of(n)->in;
}

unsigned port_of(struct instance *in, unsigned guest_port)
{
	return fake_of(in->node)->port;
}

unsigned port_make(struct instance *in, unsigned guest_port)
{
	return 0;
}

bool part_needed(const struct instance *in, enum part p)
{
	return !fake_of(in->node)->no_net;
}

void instance_save(struct instance *in)
{
}

void instance_dirty(struct instance *in)
{
}

unsigned request_number(const struct link_req *r, const char *key, unsigned otherwise)
{
	if (strcmp(key, "port") == 0)
		return 22;
	return strstr(r->path, "impatient") ? 0 : otherwise;
}

static void on_request(struct rig *g, struct link_req *r)
{
	tunnel_open(&((struct fake *)g->arg)->in, r);
}

/* ---- the guest ---- */

struct guest {
	pthread_t thread;
	int listener;
	void (*serve)(struct guest *u, int fd);
	unsigned resets; /* connections that are reset first, after a byte was read */
	size_t heard;
	char first[16];
	_Atomic bool over;
};

static void *guest_run(void *arg)
{
	struct guest *u = arg;

	for (unsigned i = 0;; i++) {
		const struct linger now = {1, 0};
		int fd = accept(u->listener, NULL, NULL);
		char byte;

		if (i < u->resets) {
			if (recv(fd, &byte, 1, MSG_PEEK) < 0)
				abort();
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
			close(fd);
			continue;
		}
		u->serve(u, fd);
		close(fd);
		u->over = true;
		return NULL;
	}
}

/* Binds, and the tunnel knows the port; nobody listens yet. */
static void guest_bind(struct guest *u, struct fake *f)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	u->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(u->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(getsockname(u->listener, (struct sockaddr *)&a, &len), 0);
	f->port = ntohs(a.sin_port);
}

static void guest_listen(struct guest *u)
{
	cr_assert_eq(listen(u->listener, 4), 0);
	cr_assert_eq(pthread_create(&u->thread, NULL, guest_run, u), 0);
}

static bool guest_over(void *arg)
{
	return ((struct guest *)arg)->over;
}

static void guest_end(struct rig *g, struct guest *u)
{
	cr_assert(rig_until(g, guest_over, u));
	pthread_join(u->thread, NULL);
	close(u->listener);
}

static void start(struct rig *g, struct fake *f)
{
	*f = (struct fake){0};
	rig_start(g, on_request, f);
	f->node.loop = g->loop;
	f->in.node = &f->node;
	strcpy(f->in.id, "i-1");
}

static void say(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

		if (r <= 0)
			return;
		p += r;
		n -= (size_t)r;
	}
}

/* Hears all there is, then says how much it was. */
static void listener_first(struct guest *u, int fd)
{
	char buf[4096], line[32];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		if (u->heard < sizeof(u->first) - 1)
			memcpy(u->first + u->heard, buf, (size_t)n < 15 ? (size_t)n : 15);
		u->heard += (size_t)n;
	}
	say(fd, line, (size_t)snprintf(line, sizeof(line), "heard %zu", u->heard));
}

/* Says all it has and ends that way, then hears. */
static void speaker_first(struct guest *u, int fd)
{
	char *text = malloc(4 * MIB), buf[4096];
	ssize_t n;

	memset(text, 'x', 4 * MIB);
	say(fd, text, 4 * MIB);
	free(text);
	shutdown(fd, SHUT_WR);
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		u->heard += (size_t)n;
}

Test(tunnel, more_than_a_window_reaches_a_guest_that_says_nothing_yet)
{
	struct rig g;
	struct fake f;
	struct guest u = {.serve = listener_first};
	static struct got t;
	static char text[2 * MIB];

	start(&g, &f);
	guest_bind(&u, &f);
	guest_listen(&u);
	rig_open(&g, &t, "POST", "/tunnel");
	memset(text, 'y', sizeof(text));
	cr_assert(rig_send(&t, text, sizeof(text)));
	link_stream_end(t.s);
	cr_assert(rig_closed(&t));
	cr_expect_eq(t.status, 200);
	cr_expect_eq(t.error, 0);
	cr_expect_str_eq(t.bytes, "heard 2097152");
	guest_end(&g, &u);
	rig_stop(&g);
}

Test(tunnel, each_way_ends_by_itself)
{
	struct rig g;
	struct fake f;
	struct guest u = {.serve = speaker_first};
	static struct got t;
	static char text[MIB];

	start(&g, &f);
	guest_bind(&u, &f);
	guest_listen(&u);
	rig_open(&g, &t, "POST", "/tunnel");
	cr_assert(rig_wait(&g, &t.eof));
	cr_expect_eq(t.len, 4 * MIB);
	cr_expect(!t.closed);
	cr_assert(rig_send(&t, text, sizeof(text)));
	link_stream_end(t.s);
	cr_assert(rig_closed(&t));
	cr_expect_eq(t.error, 0);
	guest_end(&g, &u);
	cr_expect_eq(u.heard, MIB);
	rig_stop(&g);
}

static bool holds_a_window(void *arg)
{
	return ((struct got *)arg)->len >= 256 << 10;
}

Test(tunnel, a_client_that_does_not_read_stops_the_guest_and_nobody_else)
{
	struct rig g;
	struct fake f;
	struct guest u = {.serve = speaker_first};
	static struct got t;

	start(&g, &f);
	guest_bind(&u, &f);
	guest_listen(&u);
	rig_open(&g, &t, "POST", "/tunnel");
	t.hold = true;
	cr_assert(rig_until(&g, holds_a_window, &t));
	rig_rounds(&g, 200);
	cr_expect_eq(t.len, 256 << 10);
	t.hold = false;
	link_stream_took(t.s, t.len);
	cr_assert(rig_wait(&g, &t.eof));
	cr_expect_eq(t.len, 4 * MIB);
	link_stream_end(t.s);
	cr_assert(rig_closed(&t));
	guest_end(&g, &u);
	rig_stop(&g);
}

Test(tunnel, waits_for_a_guest_that_comes_up)
{
	struct rig g;
	struct fake f;
	struct guest u = {.serve = listener_first, .resets = 2};
	static struct got t;

	start(&g, &f);
	guest_bind(&u, &f);
	rig_open(&g, &t, "POST", "/tunnel");
	cr_assert(rig_send(&t, "hello", 5));
	cr_expect_eq(rig_status(&t), 200);
	rig_rounds(&g, 20); /* refused */
	guest_listen(&u);
	link_stream_end(t.s);
	cr_assert(rig_closed(&t));
	cr_expect_str_eq(t.bytes, "heard 5");
	guest_end(&g, &u);
	cr_expect_str_eq(u.first, "hello");
	rig_stop(&g);
}

Test(tunnel, does_not_wait_for_ever)
{
	struct rig g;
	struct fake f;
	struct guest u = {.serve = listener_first};
	static struct got t;

	start(&g, &f);
	guest_bind(&u, &f);
	rig_open(&g, &t, "POST", "/tunnel/impatient");
	cr_assert(rig_closed(&t));
	cr_expect_neq(t.error, 0);
	cr_expect_eq(t.len, 0);
	close(u.listener);

	f.no_net = true;
	rig_open(&g, &t, "POST", "/tunnel");
	cr_expect_eq(rig_status(&t), 409);
	rig_stop(&g);
}

Test(tunnel, ends_with_the_link)
{
	struct rig g;
	struct fake f;
	struct guest u = {.serve = speaker_first};
	static struct got t;

	start(&g, &f);
	guest_bind(&u, &f);
	guest_listen(&u);
	rig_open(&g, &t, "POST", "/tunnel");
	cr_assert(rig_wait(&g, &t.eof));
	rig_unlink(&g);
	cr_expect(t.closed);
	guest_end(&g, &u); /* hears the end */
	rig_stop(&g);
}
