/* SPDX-License-Identifier: Apache-2.0 */
/* Server-sent events, as the bytes that clients read. The stream's own source is included for its
 * timer, which no test waits for. */
#include "vmm/api/stream.c"
#include "vmm/http/test_rig.h"

struct sse {
	struct rig rig;
	struct stream *stream;
};

static void request(struct http_req *r, void *arg)
{
	stream_open(((struct sse *)arg)->stream, r);
}

static void gone(struct http_req *r, void *arg)
{
	stream_gone(((struct sse *)arg)->stream, r);
}

static void sse_init(struct sse *t)
{
	rig_init(&t->rig);
	t->rig.server->handler = (struct http_handler){request, gone, t};
	cr_assert_eq(stream_new(t->rig.loop, &t->stream), 0);
}

static void sse_fini(struct sse *t)
{
	http_server_free(t->rig.server);
	cr_expect_eq(t->stream->nclients, 0u);
	cr_expect_null(t->stream->beat.loop);
	stream_free(t->stream);
	t->rig.server = NULL;
	rig_fini(&t->rig);
}

static void publish(struct sse *t, unsigned n)
{
	struct vm_event e = {.since_ns = 5, .source = "vm", .event = "booted"};

	while (n--)
		stream_publish(t->stream, &e);
}

#define GET "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n"

/* Everything that has come. */
static const char *got(struct sse *t, int fd)
{
	static char buf[1 << 20];
	size_t n = 0;
	ssize_t r;

	for (int idle = 0; idle < 3;) {
		rig_turn(&t->rig, 3);
		r = recv(fd, buf + n, sizeof(buf) - 1 - n, 0);
		if (r > 0)
			n += (size_t)r;
		else
			idle++;
	}
	buf[n] = '\0';
	return buf;
}

static int listen_to(struct sse *t, const char *headers)
{
	int fd = rig_connect(&t->rig);

	put(&t->rig, fd, GET);
	put(&t->rig, fd, headers);
	put(&t->rig, fd, "\r\n");
	return fd;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

Test(stream, an_event_is_a_chunk)
{
	struct sse t;
	const char *text;
	int fd;

	sse_init(&t);
	publish(&t, 2); /* before anybody listens */
	fd = listen_to(&t, "");
	text = got(&t, fd);
	cr_assert_eq(strncmp(text, "HTTP/1.1 200 OK\r\n", 17), 0);
	cr_assert(strstr(text, "\r\nContent-Type: text/event-stream\r\n"));
	cr_assert(strstr(text, "\r\nTransfer-Encoding: chunked\r\n\r\n"));
	cr_assert_str_eq(strstr(text, "\r\n\r\n"), "\r\n\r\n");
	publish(&t, 1);
	cr_assert_str_eq(got(&t, fd),
		"72\r\nid: 3\nevent: vm.booted\ndata: {\"timestamp\":{\"secs\":0,\"nanos\":5},"
		"\"source\":\"vm\",\"event\":\"booted\",\"properties\":null}\n\n\r\n");
	t.stream->beat.fire(&t.stream->beat);
	cr_assert_str_eq(got(&t, fd), "e\r\n: keep-alive\n\n\r\n");
	cr_assert_not_null(t.stream->beat.loop);
	close(fd);
	got(&t, fd);
	cr_assert_eq(t.stream->nclients, 0u);
	cr_assert_null(t.stream->beat.loop, "nobody to keep alive");
	publish(&t, 1);
	sse_fini(&t);
}

struct comeback {
	const char *header;
	unsigned first, events; /* of 300, ids 45 to 300 are kept */
};

Test(stream, a_client_comes_back)
{
	static const struct comeback comebacks[] = {
		{"", 0, 0},
		{"Last-Event-ID: 300\r\n", 0, 0},
		{"Last-Event-ID: 299\r\n", 300, 1},
		{"last-event-id: 44\r\n", 45, 256},
		{"Last-Event-ID: 45\r\n", 46, 255},
		{"Last-Event-ID: 3\r\n", 45, 256},
		{"Last-Event-ID: 0\r\n", 45, 256},
		{"Last-Event-ID: 1000\r\n", 45, 256},
		{"Last-Event-ID: 18446744073709551615\r\n", 45, 256},
		{"Last-Event-ID: nonsense\r\n", 0, 0},
	};
	struct sse t;

	sse_init(&t);
	publish(&t, 300);
	for (size_t i = 0; i < ARRAY_SIZE(comebacks); i++) {
		const struct comeback *c = &comebacks[i];
		int fd = listen_to(&t, c->header);
		const char *text = got(&t, fd);
		char first[32];

		snprintf(first, sizeof(first), "\nid: %u\n", c->first);
		cr_expect_eq(count(text, "\ndata: "), c->events, "%s", c->header);
		if (c->events)
			cr_expect_eq(strstr(text, "\nid: "), strstr(text, first), "%s", c->header);
		close(fd);
	}
	sse_fini(&t);
}

Test(stream, a_first_event_is_not_missed)
{
	struct sse t;
	int fd;

	sse_init(&t);
	publish(&t, 1);
	fd = listen_to(&t, "Last-Event-ID: 0\r\n");
	cr_assert(strstr(got(&t, fd), "\nid: 1\n"));
	close(fd);
	sse_fini(&t);
}

Test(stream, one_client_more_than_allowed)
{
	int fds[STREAM_CLIENTS];
	static struct reply r;
	struct sse t;
	int fd;

	sse_init(&t);
	for (unsigned i = 0; i < STREAM_CLIENTS; i++)
		fds[i] = listen_to(&t, "");
	rig_turn(&t.rig, 200);
	cr_assert_eq(t.stream->nclients, (unsigned)STREAM_CLIENTS);
	fd = listen_to(&t, "");
	get(&t.rig, fd, &r);
	cr_assert_eq(r.status, 503u);
	publish(&t, 1);
	for (unsigned i = 0; i < STREAM_CLIENTS; i++)
		cr_expect(strstr(got(&t, fds[i]), "\nid: 1\n"));
	close(fds[7]);
	rig_turn(&t.rig, 5);
	put(&t.rig, fd, GET "\r\n"); /* there is room now */
	cr_assert(strstr(got(&t, fd), "chunked"));
	for (unsigned i = 0; i < STREAM_CLIENTS; i++)
		if (i != 7)
			close(fds[i]);
	close(fd);
	sse_fini(&t);
}

Test(stream, a_client_that_does_not_read_is_left_behind)
{
	struct sse t;
	int slow, quick;
	unsigned seen = 0, cut_at = 0;

	sse_init(&t);
	slow = listen_to(&t, "");
	quick = listen_to(&t, "");
	got(&t, quick);
	for (unsigned i = 0; i < 200; i++) {
		publish(&t, 100);
		seen += count(got(&t, quick), "\nid: ");
		if (t.stream->nclients == 1 && !cut_at)
			cut_at = i;
	}
	cr_assert_gt(cut_at, 0u);
	cr_assert_eq(seen, 20000u);
	cr_assert_eq(t.stream->nclients, 1u);
	close(slow);
	close(quick);
	sse_fini(&t);
}

Test(stream, the_end_of_the_server_ends_the_stream)
{
	char end[32] = "";
	struct sse t;
	int fd;

	sse_init(&t);
	fd = listen_to(&t, "");
	got(&t, fd);
	http_server_free(t.rig.server);
	t.rig.server = NULL;
	cr_assert_eq(t.stream->nclients, 0u);
	cr_assert_eq(recv(fd, end, sizeof(end) - 1, 0), 5);
	cr_assert_str_eq(end, "0\r\n\r\n");
	cr_assert_eq(recv(fd, end, sizeof(end), 0), 0);
	close(fd);
	sse_fini(&t);
}
