/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: file descriptors, slow and vanishing clients, too many of them, streams. */
#include "vmm/http/test_rig.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>

#define HOST "Host: localhost\r\n"
#define ECHO "GET /echo HTTP/1.1\r\n" HOST "\r\n"
#define MS   1000000ull

/* As many fds as wanted, which the test keeps; stdin will do. */
static const int many[64];

/* libvirt's vm.add-net: everything in one sendmsg, twice on one connection. */
Test(http_conn, fds_come_with_their_request)
{
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	for (int i = 0; i < 2; i++) {
		put_fds(&g, fd, "PUT /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}", many,
			3);
		expect(&g, fd, 200, "PUT /echo? {} fds=3");
	}
	put(&g, fd, ECHO);
	expect(&g, fd, 200, "GET /echo? ");
	put_fds(&g, fd, "PUT /keep HTTP/1.1\r\n" HOST "\r\n", many, 16);
	expect(&g, fd, 200, "PUT /keep? ");
	cr_assert_eq(g.ntaken, 16u);
	for (unsigned i = 0; i < 16; i++)
		cr_expect(fcntl(g.taken[i], F_GETFD) & FD_CLOEXEC);
	/* In two pieces, and an answer that comes later. */
	put_fds(&g, fd, "PUT /later HTTP/1.1\r\n" HOST "Content-", many, 2);
	rig_turn(&g, 2);
	put_fds(&g, fd, "Length: 1\r\n\r\n", many, 3);
	rig_turn(&g, 2);
	put(&g, fd, "x");
	rig_turn(&g, 2);
	cr_assert_eq(g.nheld, 1u);
	rig_echo(g.held[0]);
	expect(&g, fd, 200, "PUT /later? x fds=5");
	close(fd);
	rig_fini(&g);
}

Test(http_conn, fds_of_pipelined_requests)
{
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	/* The kernel glues what has none to what follows. */
	send(fd, ECHO, strlen(ECHO), 0);
	put_fds(&g, fd, ECHO, many, 2);
	put_fds(&g, fd, ECHO, many, 3);
	send(fd, ECHO "GET", strlen(ECHO "GET"), 0);
	put_fds(&g, fd, " /echo HTTP/1.1\r\n" HOST "\r\n", many, 4);
	expect(&g, fd, 200, "GET /echo? ");
	expect(&g, fd, 200, "GET /echo?  fds=2");
	expect(&g, fd, 200, "GET /echo?  fds=3");
	expect(&g, fd, 200, "GET /echo? ");
	expect(&g, fd, 200, "GET /echo?  fds=4");
	close(fd);
	rig_fini(&g);
}

Test(http_conn, too_many_fds)
{
	struct rig g;
	int fd;

	rig_init(&g);
	for (unsigned n = 17; n < 64; n += 23) {
		fd = rig_connect(&g);
		put_fds(&g, fd, ECHO, many, n);
		expect(&g, fd, 400, NULL);
		put_fds(&g, fd, "more", many, 2); /* nobody wants them any more */
		cr_assert(closed(&g, fd));
		close(fd);
	}
	fd = rig_connect(&g);
	put_fds(&g, fd, "GET", many, 10);
	rig_turn(&g, 2);
	put_fds(&g, fd, " /echo HTTP/1.1\r\n" HOST "\r\n", many, 7);
	expect(&g, fd, 400, NULL);
	close(fd);
	cr_assert_eq(g.requests, 0u);
	rig_fini(&g);
}

Test(http_conn, fds_of_requests_that_come_to_nothing)
{
	struct rig g;
	int fd[6];

	rig_init(&g);
	for (int i = 0; i < 6; i++)
		fd[i] = rig_connect(&g);
	put_fds(&g, fd[0], "GET /ec", many, 5);
	put_fds(&g, fd[1], "nonsense\r\n\r\n", many, 5);
	put_fds(&g, fd[2], "GET /later HTTP/1.1\r\n" HOST "\r\n" ECHO, many, 5);
	put_fds(&g, fd[3], "GET /later HTTP/1.1\r\n" HOST "\r\n", many, 5);
	put_fds(&g, fd[4], "GET /stream HTTP/1.1\r\n" HOST "\r\n", many, 5);
	put(&g, fd[5], "GET /later HTTP/1.1\r\n" HOST "\r\n");
	rig_turn(&g, 10);
	put_fds(&g, fd[5], ECHO, many, 5); /* in the kernel's buffer when we close */
	rig_turn(&g, 5);
	close(fd[0]);
	rig_turn(&g, 5);
	http_server_free(g.server);
	g.server = NULL;
	for (int i = 1; i < 6; i++)
		close(fd[i]);
	rig_fini(&g);
}

Test(http_conn, half_a_request_is_answered)
{
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	put(&g, fd, "PUT /echo HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nhalf");
	shutdown(fd, SHUT_WR);
	expect(&g, fd, 400, "[\"the request ends too early\"]");
	cr_assert(closed(&g, fd));
	close(fd);
	fd = rig_connect(&g);
	put(&g, fd, "\r\n");
	shutdown(fd, SHUT_WR);
	cr_assert(closed(&g, fd));
	close(fd);
	cr_assert_eq(g.requests, 0u);
	rig_fini(&g);
}

Test(http_conn, a_slow_request_is_refused)
{
	struct rig g;
	int fd, idle;

	rig_init(&g);
	g.server->patience_ns = 20 * MS;
	idle = rig_connect(&g);
	fd = rig_connect(&g);
	put(&g, fd, "GET /");
	expect(&g, fd, 408, NULL);
	cr_assert(closed(&g, fd));
	/* It lingers in vain: the client does not close. */
	for (int i = 0; i < 1000 && http_clients(g.server) > 1; i++)
		ev_run_once(g.loop, 5);
	cr_assert_eq(http_clients(g.server), 1u);
	close(fd);
	/* Who says nothing has all the time, and a handler, too. */
	put(&g, idle, "GET /later HTTP/1.1\r\n" HOST "\r\n");
	for (int i = 0; i < 20; i++)
		ev_run_once(g.loop, 5);
	cr_assert_eq(g.nheld, 1u);
	rig_echo(g.held[0]);
	expect(&g, idle, 200, NULL);
	put(&g, idle, ECHO);
	expect(&g, idle, 200, NULL);
	close(idle);
	rig_fini(&g);
}

Test(http_conn, an_answer_that_nobody_reads_is_given_up)
{
	static struct reply r;
	struct rig g;
	int fd, slow;

	rig_init(&g);
	fd = rig_connect(&g);
	slow = rig_connect(&g);
	put(&g, fd, "GET /large HTTP/1.1\r\n" HOST "\r\n" ECHO);
	get(&g, fd, &r);
	cr_assert_eq(r.len, RIG_LARGE);
	expect(&g, fd, 200, "GET /echo? ");
	g.server->patience_ns = 20 * MS;
	put(&g, slow, "GET /large HTTP/1.1\r\n" HOST "\r\n");
	for (int i = 0; i < 1000 && http_clients(g.server) > 1; i++)
		ev_run_once(g.loop, 5);
	cr_assert_eq(http_clients(g.server), 1u);
	close(slow);
	/* And one that leaves meanwhile. */
	slow = rig_connect(&g);
	put(&g, slow, "GET /large HTTP/1.1\r\n" HOST "\r\n");
	rig_turn(&g, 5);
	cr_assert_eq(http_clients(g.server), 2u);
	close(slow);
	rig_turn(&g, 5);
	cr_assert_eq(http_clients(g.server), 1u);
	close(fd);
	rig_fini(&g);
}

Test(http_conn, a_client_leaves_while_it_is_served)
{
	struct rig g;
	int fd, half;

	rig_init(&g);
	fd = rig_connect(&g);
	half = rig_connect(&g);
	put(&g, fd, "GET /later HTTP/1.1\r\n" HOST "\r\n" ECHO);
	put(&g, half, "GET /later?2 HTTP/1.1\r\n" HOST "\r\n");
	rig_turn(&g, 5);
	close(fd);
	shutdown(half, SHUT_WR); /* still listens */
	rig_turn(&g, 5);
	cr_assert_eq(g.nheld, 2u);
	cr_assert_eq(http_clients(g.server), 2u, "counted until it is answered");
	rig_echo(g.held[0]);
	rig_turn(&g, 5);
	cr_assert_eq(http_clients(g.server), 1u);
	rig_echo(g.held[1]);
	expect(&g, half, 200, "GET /later?2 ");
	cr_assert(closed(&g, half));
	cr_assert_eq(g.requests, 2u, "what it sent behind is dropped");
	close(half);
	/* Before the loop hears of it. */
	fd = rig_connect(&g);
	put(&g, fd, "GET /later HTTP/1.1\r\n" HOST "\r\n");
	rig_turn(&g, 5);
	close(fd);
	rig_echo(g.held[2]);
	rig_turn(&g, 5);
	cr_assert_eq(http_clients(g.server), 0u);
	rig_fini(&g);
}

static void allow_fds(rlim_t n)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = n < l.rlim_max ? n : l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
}

Test(http_conn, a_thousand_idle_clients_and_one_too_many)
{
	static int fds[HTTP_CLIENTS];
	static struct reply r;
	struct rlimit l;
	struct rig g;
	int fd;

	rig_init(&g);
	allow_fds(2 * HTTP_CLIENTS + 100);
	getrlimit(RLIMIT_NOFILE, &l);
	if (l.rlim_cur < 2 * HTTP_CLIENTS + 100)
		cr_skip_test("needs %u file descriptors", 2 * HTTP_CLIENTS + 100);
	for (unsigned i = 0; i < HTTP_CLIENTS; i++) {
		fds[i] = rig_connect(&g);
		rig_turn(&g, 1);
	}
	cr_assert_eq(http_clients(g.server), HTTP_CLIENTS);
	for (unsigned i = 0; i < HTTP_CLIENTS; i += 100) {
		put(&g, fds[i], ECHO);
		expect(&g, fds[i], 200, NULL);
	}
	cr_assert(list_empty(&g.server->due));
	cr_assert_eq(g.server->held, 0u);
	fd = rig_connect(&g);
	get(&g, fd, &r);
	cr_assert_eq(r.status, 503u);
	cr_assert(closed(&g, fd));
	close(fd);
	close(fds[5]);
	rig_turn(&g, 1);
	fds[5] = rig_connect(&g);
	rig_turn(&g, 3);
	put(&g, fds[5], ECHO);
	expect(&g, fds[5], 200, NULL);
	for (unsigned i = 0; i < HTTP_CLIENTS; i++)
		close(fds[i]);
	rig_fini(&g);
}

Test(http_conn, out_of_fds_the_server_waits)
{
	struct rig g;
	unsigned rounds = 0, n = 0;
	int fd, more[64];

	rig_init(&g);
	fd = rig_connect(&g);
	allow_fds(64);
	while ((more[n] = dup(0)) >= 0)
		n++;
	rig_turn(&g, 3);
	cr_assert_null(g.server->listener.loop);
	cr_assert_eq(http_clients(g.server), 0u);
	for (; !g.server->listener.loop && rounds < 1000; rounds++)
		ev_run_once(g.loop, -1);
	cr_assert_lt(rounds, 10u, "it does not spin");
	while (n)
		close(more[--n]);
	put(&g, fd, ECHO);
	expect(&g, fd, 200, NULL);
	close(fd);
	rig_fini(&g);
}

static void *read_all(void *arg)
{
	struct pollfd p = {.fd = *(int *)arg, .events = POLLIN};
	static char buf[4096];
	size_t n = 0;
	ssize_t r = 1;

	while (r && poll(&p, 1, 5000) > 0) {
		r = recv(p.fd, buf, sizeof(buf), 0);
		n += r > 0 ? (size_t)r : 0;
	}
	return (void *)n;
}

Test(http_conn, the_last_answers_are_sent)
{
	struct rig g;
	pthread_t t;
	void *n;
	int fd, deaf;

	rig_init(&g);
	deaf = rig_connect(&g);
	fd = rig_connect(&g);
	put(&g, deaf, "GET /large HTTP/1.1\r\n" HOST "\r\n");
	put(&g, fd, "GET /large HTTP/1.1\r\n" HOST "\r\n");
	rig_turn(&g, 10);
	pthread_create(&t, NULL, read_all, &fd);
	http_server_free(g.server); /* which gives up on the deaf one */
	g.server = NULL;
	pthread_join(t, &n);
	cr_assert_gt((size_t)n, RIG_LARGE);
	close(fd);
	close(deaf);
	rig_fini(&g);
}

static struct http_req *begin_stream(struct rig *g, int fd, const char *version)
{
	char text[128];

	snprintf(text, sizeof(text), "GET /stream HTTP/%s\r\n" HOST "\r\n", version);
	put(g, fd, text);
	rig_turn(g, 3);
	cr_assert_eq(g->nheld, 1u);
	g->nheld = 0;
	return g->held[0];
}

static const char *all_of(struct rig *g, int fd)
{
	static char buf[65536];
	ssize_t n;

	rig_turn(g, 3);
	n = recv(fd, buf, sizeof(buf) - 1, 0);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

Test(http_conn, a_stream_and_its_end)
{
	struct http_req *r;
	const char *text;
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	r = begin_stream(&g, fd, "1.1");
	cr_assert_eq(http_stream_write(r, "hello", 5), 0);
	cr_assert_eq(http_stream_write(r, "", 0), 0);
	text = all_of(&g, fd);
	cr_assert(strstr(text, "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"));
	cr_assert_null(strstr(text, "Content-Length"));
	put(&g, fd, ECHO); /* waits for the end of the stream */
	rig_turn(&g, 5);
	http_stream_end(r);
	rig_turn(&g, 5);
	text = all_of(&g, fd);
	cr_assert_eq(strncmp(text, "0\r\n\r\nHTTP/1.1 200 OK\r\n", 22), 0, "%s", text);
	cr_assert_eq(g.gone, 0u);
	/* HTTP/1.0 knows no chunks. */
	r = begin_stream(&g, fd, "1.0");
	cr_assert_eq(http_stream_write(r, "hello", 5), 0);
	text = all_of(&g, fd);
	cr_assert(strstr(text, "\r\nConnection: close\r\n"));
	cr_assert(strstr(text, "\r\n\r\nhello"));
	http_stream_end(r);
	cr_assert(closed(&g, fd));
	close(fd);
	rig_fini(&g);
}

Test(http_conn, the_client_of_a_stream_leaves)
{
	struct http_req *r;
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	begin_stream(&g, fd, "1.1");
	g.nheld = 1;
	shutdown(fd, SHUT_WR); /* it still listens */
	rig_turn(&g, 5);
	cr_assert_eq(g.gone, 0u);
	cr_assert_eq(http_stream_write(g.held[0], "a", 1), 0);
	close(fd);
	rig_turn(&g, 5);
	cr_assert_eq(g.gone, 1u);
	cr_assert_eq(http_clients(g.server), 0u);
	/* Noticed by the write. */
	fd = rig_connect(&g);
	g.nheld = 0;
	r = begin_stream(&g, fd, "1.1");
	g.nheld = 1;
	close(fd);
	cr_assert_eq(http_stream_write(r, "a", 1), -EPIPE);
	cr_assert_eq(http_stream_write(r, "a", 1), -EPIPE);
	cr_assert_eq(g.gone, 1u, "not from within the write");
	rig_turn(&g, 5);
	cr_assert_eq(g.gone, 2u);
	/* By the write, and then its owner ends it. */
	fd = rig_connect(&g);
	g.nheld = 0;
	r = begin_stream(&g, fd, "1.1");
	close(fd);
	cr_assert_eq(http_stream_write(r, "a", 1), -EPIPE);
	http_stream_end(r);
	rig_turn(&g, 5);
	cr_assert_eq(g.gone, 2u);
	cr_assert_eq(http_clients(g.server), 0u);
	rig_fini(&g);
}

Test(http_conn, a_stream_s_backlog_is_bounded)
{
	static char text[1024];
	struct http_req *r;
	size_t sent = 0;
	struct rig g;
	int fd, status;

	rig_init(&g);
	fd = rig_connect(&g);
	r = begin_stream(&g, fd, "1.1");
	g.nheld = 1;
	while ((status = http_stream_write(r, text, sizeof(text))) == 0) {
		rig_turn(&g, 1);
		sent += sizeof(text);
		cr_assert_lt(sent, 4u << 20);
	}
	cr_assert_eq(status, -EPIPE);
	cr_assert_geq(sent, HTTP_BACKLOG_MAX - sizeof(text));
	rig_turn(&g, 3);
	cr_assert_eq(g.gone, 1u);
	close(fd);
	rig_fini(&g);
}

/* The client reads a little now and then: what waits is moved about, and nothing is lost. */
Test(http_conn, a_stream_comes_in_order)
{
	static char text[2000], got[4 << 20];
	unsigned written = 0, seen = 0;
	struct http_req *r;
	struct rig g;
	size_t n = 0;
	ssize_t took;
	char *p;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	r = begin_stream(&g, fd, "1.0");
	for (; written < 1000; written++) {
		snprintf(text, sizeof(text), "%1999u", written);
		cr_assert_eq(http_stream_write(r, text, strlen(text)), 0, "%u", written);
		if (written > 120 && (took = recv(fd, got + n, 1999, 0)) > 0)
			n += (size_t)took;
		rig_turn(&g, 1);
	}
	cr_assert_gt(((struct http_work *)r->priv)->conn->out_len, 10000u);
	http_stream_end(r);
	while ((took = recv(fd, got + n, 5000, 0)) != 0) {
		n += took > 0 ? (size_t)took : 0;
		rig_turn(&g, 1);
	}
	p = strstr(got, "\r\n\r\n") + 4;
	for (; seen < written; seen++, p += 1999) {
		snprintf(text, sizeof(text), "%1999u", seen);
		cr_assert_arr_eq(p, text, 1999);
	}
	cr_assert_eq(p, got + n);
	close(fd);
	rig_fini(&g);
}
