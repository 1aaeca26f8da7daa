/* SPDX-License-Identifier: Apache-2.0 */
/* The answer's bytes, whole, in pieces, broken; the event stream's; and whole calls against a
 * server of canned bytes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "tools/polyctl/polyctl.h"
#include "tools/polyctl/reply.h"
#include "tools/polyctl/sse.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"

/* ---- reply ---- */

/* Feeds in pieces of `step` bytes. */
static int feed(struct reply *r, const char *text, size_t step)
{
	int done = 0;

	for (size_t at = 0, n = strlen(text); at < n && !done; at += step)
		done = reply_feed(r, text + at, at + step < n ? step : n - at);
	return done;
}

static int feed_all(const char *text, bool ended, struct reply *r)
{
	reply_init(r, NULL, NULL);
	int done = feed(r, text, strlen(text));
	return done || !ended ? done : reply_end(r);
}

Test(reply, whole_in_pieces_of_any_size)
{
	const char *text = OK "Content-Length: 7\r\n\r\n{\"a\":1}";

	for (size_t step = 1; step <= strlen(text); step++) {
		struct reply r;

		reply_init(&r, NULL, NULL);
		cr_assert_eq(feed(&r, text, step), 1, "step %zu", step);
		cr_assert_eq(reply_status(&r), 200u);
		cr_assert_str_eq(r.type, "application/json");
		cr_assert_str_eq(r.body, "{\"a\":1}");
		reply_fini(&r);
	}
}

Test(reply, without_a_body_is_whole_after_its_head)
{
	struct reply r;

	cr_assert_eq(feed_all("HTTP/1.1 204 No Content\r\n\r\n", false, &r), 1);
	cr_assert_eq(reply_status(&r), 204u);
	cr_assert_null(r.body);
}

Test(reply, interim_answers_are_passed_over)
{
	struct reply r;

	cr_assert_eq(feed_all("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n"
			      "Content-Length: 2\r\n\r\n[]",
			     false, &r),
		1);
	cr_assert_eq(reply_status(&r), 404u);
	cr_assert_str_eq(r.body, "[]");
	reply_fini(&r);
}

Test(reply, chunks_and_bodies_that_end_with_the_connection)
{
	struct reply r;

	cr_assert_eq(feed_all(OK "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
			     false, &r),
		1);
	cr_assert_str_eq(r.body, "abc");
	reply_fini(&r);
	cr_assert_eq(feed_all(OK "\r\nabc", false, &r), 0);
	cr_assert_eq(reply_end(&r), 1);
	cr_assert_str_eq(r.body, "abc");
	reply_fini(&r);
}

Test(reply, what_follows_is_left_alone)
{
	struct reply r;

	cr_assert_eq(feed_all(OK "Content-Length: 1\r\n\r\n1garbage", false, &r), 1);
	cr_assert_str_eq(r.body, "1");
	reply_fini(&r);
}

Test(reply, malformed_and_half_answers_are_errors)
{
	static const char *const bad[] = {
		"SSH-2.0-OpenSSH_9.2\r\n",
		"HTTP/1.1 OK\r\n\r\n",
		"HTTP/9.9\r\n",
		"\x16\x03\x01\x02",
		OK "Content-Length: -1\r\n\r\n",
		OK "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	static const char *const half[] = {
		"HTTP/1.1 200 OK\r\nContent-Le",
		OK "Content-Length: 9\r\n\r\n{",
		OK "Transfer-Encoding: chunked\r\n\r\n2\r\na",
	};
	struct reply r;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		cr_assert_eq(feed_all(bad[i], true, &r), -EPROTO, "%s", bad[i]);
		reply_fini(&r);
	}
	for (unsigned i = 0; i < sizeof(half) / sizeof(*half); i++) {
		cr_assert_eq(feed_all(half[i], true, &r), -EPROTO, "%s", half[i]);
		reply_fini(&r);
	}
	cr_assert_eq(feed_all("", true, &r), -ENODATA);
}

Test(reply, huge_heads_and_bodies_are_refused)
{
	struct reply r;
	char line[1024];
	int done;

	reply_init(&r, NULL, NULL);
	done = reply_feed(&r, OK, strlen(OK));
	memset(line, 'x', sizeof(line));
	memcpy(line, "X: ", 3);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	for (unsigned i = 0; i < 1024 && !done; i++)
		done = reply_feed(&r, line, sizeof(line));
	cr_assert_eq(done, -EPROTO);
	reply_fini(&r);

	char *mib = malloc(1 << 20);
	memset(mib, 'x', 1 << 20);
	reply_init(&r, NULL, NULL);
	done = reply_feed(&r, OK "\r\n", strlen(OK) + 2);
	unsigned n = 0;
	for (; n < 100 && !done; n++)
		done = reply_feed(&r, mib, 1 << 20);
	cr_assert_eq(done, -EFBIG);
	cr_assert_eq(n, (REPLY_MAX >> 20) + 1);
	reply_fini(&r);
	free(mib);
}

/* ---- server-sent events ---- */

static char events[256];

static int note_event(void *arg, const char *data)
{
	strcat(events, data);
	strcat(events, "|");
	return arg && !strcmp(data, arg);
}

Test(sse, events_in_pieces_of_any_size)
{
	static const char text[] = ": hello\n\nid: 1\nevent: x\ndata: one\n\n"
				   "data:two\r\ndata:  three\r\n\r\ndata\rdata:\r\rid: 9\n\n"
				   "dataset: no\n\ndata: cut";

	for (size_t step = 1; step < sizeof(text); step++) {
		struct sse s = {0};

		events[0] = '\0';
		for (size_t at = 0; at < sizeof(text) - 1; at += step)
			cr_assert_eq(
				sse_feed(&s, text + at,
					at + step < sizeof(text) ? step : sizeof(text) - 1 - at,
					note_event, NULL),
				0);
		cr_assert_str_eq(events, "one|two\n three|\n|", "step %zu", step);
		sse_fini(&s);
	}
}

Test(sse, ends_where_it_is_told_to)
{
	struct sse s = {0};

	events[0] = '\0';
	cr_assert_eq(
		sse_feed(&s, "data:a\n\ndata:b\n\ndata:c\n\n", 24, note_event, (void *)"b"), 1);
	cr_assert(s.stopped);
	cr_assert_str_eq(events, "a|b|");
	sse_fini(&s);
}

Test(sse, an_endless_line_does_not_grow_without_bound)
{
	struct sse s = {0};
	char *mib = malloc(1 << 20);

	memset(mib, 'x', 1 << 20);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(sse_feed(&s, mib, 1 << 20, note_event, NULL), 0);
	cr_assert_eq(s.line_len, SSE_MAX);
	sse_fini(&s);
	free(mib);
}

/* ---- whole runs of polyctl against one answer ---- */

struct server {
	char path[64];
	int listener;
	const char *answer;
	pthread_t thread;
	char request[4096]; /* what it was sent */
	int fd;		    /* that came along, or -1 */
};

static void *serve(void *arg)
{
	struct server *s = arg;
	int c = accept(s->listener, NULL, NULL);
	char control[256];
	struct iovec iov = {s->request, sizeof(s->request) - 1};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};

	if (recvmsg(c, &m, 0) > 0 && CMSG_FIRSTHDR(&m))
		memcpy(&s->fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	for (size_t at = 0, n = strlen(s->answer); at < n;) {
		ssize_t w = send(c, s->answer + at, n - at, MSG_NOSIGNAL);
		if (w <= 0)
			break;
		at += (size_t)w;
	}
	close(c);
	return NULL;
}

static void start(struct server *s, const char *answer)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	*s = (struct server){.answer = answer, .fd = -1};
	snprintf(s->path, sizeof(s->path), "/tmp/test-polyctl-%d", (int)getpid());
	strcpy(a.sun_path, s->path);
	unlink(s->path);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(s->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(s->listener, 1), 0);
	cr_assert_eq(pthread_create(&s->thread, NULL, serve, s), 0);
}

static char said[65536], complained[65536];

static int polyctl(const char *word, ...)
{
	char *argv[16] = {(char *)"polyctl"}, *copy[16] = {0};
	int argc = 1;
	FILE *out = fmemopen(said, sizeof(said), "w"),
	     *err = fmemopen(complained, sizeof(complained), "w");
	va_list ap;

	va_start(ap, word);
	for (; word; word = va_arg(ap, const char *), argc++)
		argv[argc] = copy[argc] = strdup(word);
	va_end(ap);
	said[0] = complained[0] = '\0';
	int status = polyctl_main(argc, argv, out, err);
	fclose(out);
	fclose(err);
	for (int i = 1; i < 16; i++)
		free(copy[i]);
	return status;
}

static void end(struct server *s)
{
	pthread_join(s->thread, NULL);
	close(s->listener);
	unlink(s->path);
	if (s->fd >= 0)
		close(s->fd);
}

#define BODY(status, json) "HTTP/1.1 " status "\r\nContent-Type: application/json\r\n\r\n" json

Test(call, a_request_without_a_body)
{
	struct server s;

	start(&s, "HTTP/1.1 204 No Content\r\n\r\n");
	cr_assert_eq(polyctl("vm", "--socket", s.path, "boot", NULL), 0, "%s", complained);
	end(&s);
	cr_assert_eq(strncmp(s.request, "PUT /api/v1/vm.boot HTTP/1.1\r\n", 30), 0);
	cr_assert_not_null(strstr(s.request, "Content-Length: 0\r\n"));
	cr_assert_not_null(strstr(s.request, "\r\nHost: "));
	cr_assert_str_eq(said, "");
}

Test(call, words_become_the_body)
{
	struct server s;

	start(&s, BODY("200 OK", "{\"id\":\"_disk0\",\"bdf\":\"0000:00:01.0\"}"));
	cr_assert_eq(
		polyctl("vm", "add-disk", "path=/d", "readonly=on", "--socket", s.path, NULL), 0);
	end(&s);
	cr_assert_not_null(strstr(s.request, "\r\n\r\n{\"path\":\"/d\",\"readonly\":true}"));
	cr_assert_str_eq(said, "_disk0 0000:00:01.0\n");
}

Test(call, the_servers_json_as_it_is)
{
	struct server s;

	start(&s, BODY("200 OK", "{\"id\":  \"x\"}"));
	cr_assert_eq(polyctl("vm", "add-disk", "path=/d", "--json", "--socket", s.path, NULL), 0);
	end(&s);
	cr_assert_str_eq(said, "{\"id\":  \"x\"}\n");
}

Test(call, a_descriptor_goes_with_the_request)
{
	struct server s;
	int pipes[2];
	char number[16], byte = 0;

	cr_assert_eq(pipe(pipes), 0);
	snprintf(number, sizeof(number), "%d", pipes[1]);
	start(&s, "HTTP/1.1 204 No Content\r\n\r\n");
	cr_assert_eq(polyctl("vm", "add-net", "id=n", "--tap-fd", number, "--socket", s.path, NULL),
		0, "%s", complained);
	cr_assert_eq(pthread_join(s.thread, NULL), 0);
	cr_assert_geq(s.fd, 0);
	cr_assert_eq(write(s.fd, "x", 1), 1);
	cr_assert_eq(read(pipes[0], &byte, 1), 1);
	close(s.listener);
	close(s.fd);
	unlink(s.path);
}

Test(call, a_refusal_is_the_servers_line_and_status_1)
{
	struct server s;

	start(&s, BODY("409 Conflict", "[\"vm.boot: not created\",\"create it\\nfirst\"]"));
	cr_assert_eq(polyctl("vm", "boot", "--socket", s.path, NULL), 1);
	end(&s);
	cr_assert_str_eq(complained, "polyctl: vm.boot: not created: create it?first\n");

	start(&s, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
	cr_assert_eq(polyctl("vm", "boot", "--socket", s.path, NULL), 1);
	end(&s);
	cr_assert_not_null(strstr(complained, "503"));
}

Test(call, a_server_that_is_none_is_status_1)
{
	static const char *const answers[] = {"", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-",
		BODY("200 OK", "{\"a\":"), BODY("200 OK", "")};

	for (unsigned i = 0; i + 1 < sizeof(answers) / sizeof(*answers); i++) {
		struct server s;

		start(&s, answers[i]);
		cr_assert_eq(polyctl("vm", "info", "--socket", s.path, NULL), 1, "%u", i);
		end(&s);
		cr_assert_eq(strncmp(complained, "polyctl: ", 9), 0);
		cr_assert_eq(strchr(complained, '\n'), complained + strlen(complained) - 1);
	}
}

Test(call, no_socket_is_told_with_what_to_do)
{
	char name[200];

	cr_assert_eq(polyctl("vm", "ping", "--socket", "/nowhere/s", NULL), 1);
	cr_assert_not_null(strstr(complained, "/nowhere/s: No such file"));
	cr_assert_not_null(strstr(complained, "--api-socket"));
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	cr_assert_eq(polyctl("vm", "ping", "--socket", name, NULL), 2);
	unsetenv("POLYVISOR_SOCKET");
	cr_assert_eq(polyctl("vm", "ping", NULL), 2);
	cr_assert_not_null(strstr(complained, "--socket"));
	setenv("POLYVISOR_SOCKET", "/nowhere/t", 1);
	cr_assert_eq(polyctl("vm", "ping", NULL), 1);
	cr_assert_not_null(strstr(complained, "/nowhere/t"));
	unsetenv("POLYVISOR_SOCKET");
}

#define STREAM                                                                                     \
	"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hi\n\n"                       \
	"id: 1\ndata: {\"timestamp\":{\"secs\":3,\"nanos\":4000},\"source\":\"vm\","               \
	"\"event\":\"booted\",\"properties\":null}\n\n"                                            \
	"data: {\"timestamp\":{\"secs\":3,\"nanos\":5000},\"source\":\"virtio-device\","           \
	"\"event\":\"activated\",\"properties\":{\"id\":\"_disk0\"}}\n\n"

Test(call, events_are_followed_until_the_end_or_the_one_waited_for)
{
	struct server s;

	start(&s, STREAM);
	cr_assert_eq(polyctl("vm", "events", "--socket", s.path, NULL), 0, "%s", complained);
	end(&s);
	cr_assert_str_eq(said, "     3.000004  vm            booted\n"
			       "     3.000005  virtio-device activated  id=_disk0\n");
	start(&s, STREAM);
	cr_assert_eq(polyctl("vm", "events", "--until", "vm.booted", "--socket", s.path, NULL), 0);
	end(&s);
	cr_assert_str_eq(said, "     3.000004  vm            booted\n");
	start(&s, STREAM);
	cr_assert_eq(polyctl("vm", "events", "--until=vm.paused", "--socket", s.path, NULL), 1);
	end(&s);
	cr_assert_not_null(strstr(complained, "vm.paused"));
}
