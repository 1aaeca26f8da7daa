/* SPDX-License-Identifier: Apache-2.0 */
/* The server with rows of the test's own, a real client on a unix socket, and a real store. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "cloud/control/auth.h"
#include "cloud/control/control.h"
#include "cloud/control/meta.h"
#include "cloud/control/server.h"

struct rig {
	struct control c;
	char folder[64];
	struct sockaddr_un sa;
};

static unsigned done; /* times that the handlers did something */
static struct call *held;
static char uploaded[64];

static void do_echo(struct call *c)
{
	done++;
	call_reply(c, 201, json_incref(c->body));
}

static void do_later(struct call *c)
{
	held = c;
}

static int piece(void *arg, const void *p, size_t n)
{
	(void)arg;
	snprintf(uploaded, sizeof(uploaded), "%.*s", (int)n, (const char *)p);
	return *uploaded == 'x' ? -ENOSPC : 0;
}

static void end(void *arg, int error)
{
	struct call *c = arg;

	if (error == -ENOSPC)
		call_problem(c, 507, NULL, "no space");
	else
		call_reply(c, 200, NULL);
}

static void do_upload(struct call *c)
{
	static const struct body_ops ops = {piece, end};

	call_take_body(c, &ops, c);
}

static void pipe_data(struct pipe_end *p, const void *buf, size_t n, void *arg)
{
	(void)arg;
	pipe_write(p, buf, n);
	pipe_took(p, n);
}

static void pipe_event(struct pipe_end *p, void *arg)
{
	(void)p;
	(void)arg;
}

static void do_pipe(struct call *c)
{
	static const struct pipe_ops ops = {pipe_data, pipe_event, pipe_event};

	call_upgrade(c, &ops, NULL);
}

static const struct field echo_fields[] = {
	{"name", F_NAME, F_REQUIRED, .help = "a name"}, {"n", F_INT, .min = 1, .max = 9}, {NULL}};
static const struct route rows[] = {
	{"POST", "/v1/echo", do_echo, ROLE_PROJECT, echo_fields, .summary = "says it again"},
	{"GET", "/v1/later", do_later, ROLE_PROJECT, .summary = "answers later"},
	{"PUT", "/v1/upload", do_upload, ROLE_PROJECT, .stream = true, .summary = "takes bytes"},
	{"GET", "/v1/pipe", do_pipe, ROLE_ADMIN, .summary = "bytes both ways"},
};

static struct rig *rig_new(void)
{
	struct rig *r = calloc(1, sizeof(*r));
	const struct route_table tables[] = {{rows, 4}, {meta_routes, meta_nroutes},
		{event_routes, event_nroutes}, {audit_routes, audit_nroutes}, {NULL, 0}};
	struct server_opts o = {.unix_fd = -1, .tcp_fd = -1};
	struct err e = {0};
	char path[96];

	strcpy(r->folder, "/tmp/test-server-XXXXXX");
	cr_assert_not_null(mkdtemp(r->folder));
	cr_assert_eq(ev_loop_new(&r->c.loop), 0);
	snprintf(path, sizeof(path), "%s/db", r->folder);
	cr_assert_eq(store_open(path, &r->c.store, &e), 0, "%s", e.text);
	cr_assert_eq(objects_new(r->c.store, &r->c.objects, &e), 0, "%s", e.text);
	r->sa.sun_family = AF_UNIX;
	snprintf(r->sa.sun_path, sizeof(r->sa.sun_path), "%s/s", r->folder);
	o.unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	cr_assert_eq(bind(o.unix_fd, (struct sockaddr *)&r->sa, sizeof(r->sa)), 0);
	cr_assert_eq(listen(o.unix_fd, 8), 0);
	cr_assert_eq(server_new(&r->c, tables, &o, &r->c.server, &e), 0, "%s", e.text);
	done = 0;
	held = NULL;
	return r;
}

static void rig_free(struct rig *r)
{
	char command[96];

	server_free(r->c.server);
	objects_free(r->c.objects);
	store_close(r->c.store);
	ev_loop_free(r->c.loop);
	snprintf(command, sizeof(command), "rm -r %s", r->folder);
	cr_assert_eq(system(command), 0);
	free(r);
}

static int dial(struct rig *r, const char *text, size_t n)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&r->sa, sizeof(r->sa)), 0);
	cr_assert_eq(write(fd, text, n), (ssize_t)n);
	return fd;
}

/* Runs the loop until `want` stands in what came, or the connection is over. */
static const char *hear(struct rig *r, int fd, const char *want)
{
	static char text[65536];
	size_t len = 0;

	text[0] = 0;
	for (unsigned i = 0; i < 2000 && !(want && strstr(text, want)); i++) {
		ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, MSG_DONTWAIT);

		if (n == 0)
			break;
		if (n < 0)
			ev_run_once(r->c.loop, 5);
		else
			len += (size_t)n;
		text[len] = 0;
	}
	return text;
}

static const char *ask(struct rig *r, const char *head, const char *body)
{
	char text[4096];
	const char *answer;
	int fd;

	snprintf(text, sizeof(text),
		"%s\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", head,
		strlen(body), body);
	fd = dial(r, text, strlen(text));
	answer = hear(r, fd, NULL);
	close(fd);
	return answer;
}

static void expect(const char *answer, unsigned status, const char *part)
{
	unsigned got = 0;

	sscanf(answer, "HTTP/1.1 %u", &got);
	cr_expect_eq(got, status, "%u and not %u: %s", got, status, answer);
	cr_expect(strstr(answer, part), "no %s in: %s", part, answer);
}

Test(server, answers_and_problems)
{
	struct rig *r = rig_new();

	expect(ask(r, "GET /v1/version HTTP/1.1\r\nX-Request-Id: mine-1", ""), 200,
		"X-Request-Id: mine-1");
	expect(ask(r, "GET /v1/nothing HTTP/1.1", ""), 404, "application/problem+json");
	expect(ask(r, "DELETE /v1/echo HTTP/1.1", ""), 405, "Allow: POST");
	expect(ask(r, "GET /v1/%2e%2e/x HTTP/1.1", ""), 400, "malformed");
	expect(ask(r, "POST /v1/echo HTTP/1.1", "{\"name\":\"a\",\"n\":3}"), 201,
		"{\"name\":\"a\",\"n\":3}");
	expect(ask(r, "POST /v1/echo HTTP/1.1", "{\"name\":\"a\",\"n\":10}"), 400,
		"\"field\":\"n\"");
	expect(ask(r, "POST /v1/echo HTTP/1.1", "{\"name\":"), 400, "not a JSON object");
	expect(ask(r, "POST /v1/echo HTTP/1.1\r\nContent-Type: text/xml", "<a/>"), 415, "415");
	expect(ask(r, "GET /v1/version?project=none HTTP/1.1", ""), 404, "no project");
	expect(ask(r, "GET /v1/version HTTP/1.1\r\nAuthorization: Bearer pv_wrong", ""), 401,
		"WWW-Authenticate: Bearer");
	expect(ask(r, "GET /v1/openapi.json HTTP/1.1", ""), 200, "\"/v1/echo\":{\"post\"");
	expect(ask(r, "GET /metrics HTTP/1.1", ""), 200, "polycloud_http_responses_total");
	expect(ask(r, "GET /v1/audit HTTP/1.1", ""), 200, "\"path\":\"/v1/echo\"");
	expect(ask(r, "GET / HTTP/1.1", ""), 200, "Content-Security-Policy");
	cr_expect_eq(done, 1);
	rig_free(r);
}

Test(server, a_body_beyond_the_limit_is_refused)
{
	struct rig *r = rig_new();
	char text[256];
	int fd;

	snprintf(text, sizeof(text),
		"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: %u\r\n\r\n{", BODY_MAX + 1);
	fd = dial(r, text, strlen(text));
	expect(hear(r, fd, "request_id"), 413, "allowed");
	close(fd);
	rig_free(r);
}

Test(server, a_key_that_is_used_again_does_nothing)
{
	struct rig *r = rig_new();
	const char *head = "POST /v1/echo HTTP/1.1\r\nIdempotency-Key: k";

	expect(ask(r, head, "{\"name\":\"a\"}"), 201, "\"a\"");
	expect(ask(r, head, "{\"name\":\"a\"}"), 201, "Idempotency-Replayed: true");
	expect(ask(r, head, "{\"name\":\"b\"}"), 422, "another body");
	cr_expect_eq(done, 1);
	rig_free(r);
}

Test(server, tokens_say_who_may_what)
{
	struct rig *r = rig_new();
	struct change change = {.event = "created"};
	char secret[TOKEN_LEN], hash[65], head[256];

	cr_assert_eq(token_secret(secret), 0);
	token_hash(secret, hash);
	cr_assert_eq(obj_put(r->c.objects, KIND_TOKEN,
			     json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", "t-1", "name", "p",
				     "role", "project", "project", "one", "hash", hash),
			     &change, NULL),
		0);
	snprintf(head, sizeof(head), "GET /v1/whoami HTTP/1.1\r\nAuthorization: Bearer %s", secret);
	expect(ask(r, head, ""), 200, "\"project\":\"one\"");
	snprintf(head, sizeof(head),
		"GET /v1/whoami?project=two HTTP/1.1\r\nAuthorization: Bearer %s", secret);
	expect(ask(r, head, ""), 404, "this token is for");
	snprintf(head, sizeof(head), "GET /metrics HTTP/1.1\r\nAuthorization: Bearer %s", secret);
	expect(ask(r, head, ""), 403, "an admin");
	rig_free(r);
}

Test(server, an_answer_may_come_later_or_never)
{
	struct rig *r = rig_new();
	const char *text = "GET /v1/later HTTP/1.1\r\nHost: x\r\n\r\n";
	int fd = dial(r, text, strlen(text));

	for (unsigned i = 0; i < 1000 && !held; i++)
		ev_run_once(r->c.loop, 5);
	cr_assert_not_null(held);
	call_reply(held, 200, json_pack("{s:b}", "late", 1));
	expect(hear(r, fd, "late"), 200, "{\"late\":true}");
	close(fd);
	held = NULL;
	fd = dial(r, text, strlen(text));
	for (unsigned i = 0; i < 1000 && !held; i++)
		ev_run_once(r->c.loop, 5);
	cr_assert_not_null(held);
	close(fd); /* the client has gone: the answer goes nowhere */
	ev_run_once(r->c.loop, 5);
	call_reply(held, 200, NULL);
	for (unsigned i = 0; i < 5; i++)
		ev_run_once(r->c.loop, 1);
	fd = dial(r, text, strlen(text)); /* and one that is never answered ends with the server */
	for (held = NULL; !held;)
		ev_run_once(r->c.loop, 5);
	rig_free(r);
	close(fd);
}

Test(server, bodies_in_pieces)
{
	struct rig *r = rig_new();

	expect(ask(r, "PUT /v1/upload HTTP/1.1", "bytes"), 200, "X-Request-Id");
	cr_expect_str_eq(uploaded, "bytes");
	expect(ask(r, "PUT /v1/upload HTTP/1.1", "x"), 507, "no space");
	rig_free(r);
}

Test(server, an_upgrade_carries_bytes_both_ways)
{
	struct rig *r = rig_new();
	const char *text = "GET /v1/pipe HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: "
			   "polycloud-stream\r\n\r\n";
	int fd = dial(r, text, strlen(text));

	expect(hear(r, fd, "\r\n\r\n"), 101, "Upgrade: polycloud-stream");
	cr_assert_eq(write(fd, "ping", 4), 4);
	cr_expect_str_eq(hear(r, fd, "ping"), "ping");
	close(fd);
	expect(ask(r, "GET /v1/pipe HTTP/1.1", ""), 426, "Upgrade: websocket, polycloud-stream");
	rig_free(r);
}

Test(server, events_follow)
{
	struct rig *r = rig_new();
	const char *text = "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n";
	struct change change = {.event = "created", .text = "first"};
	int fd = dial(r, text, strlen(text));

	expect(hear(r, fd, ":\n\n"), 200, "text/event-stream");
	cr_assert_eq(obj_put(r->c.objects, KIND_PROJECT,
			     json_pack("{s:s, s:s}", "id", "p-1", "name", "one"), &change, NULL),
		0);
	cr_expect(strstr(hear(r, fd, "\n\n"), "\"text\":\"first\""));
	expect(ask(r, "GET /v1/events?follow=0 HTTP/1.1", ""), 200, "\"event\":\"created\"");
	expect(ask(r, "GET /v1/events?since=x HTTP/1.1", ""), 400, "no number");
	close(fd);
	rig_free(r);
}
