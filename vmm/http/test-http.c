/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: what real clients send, and every limit. */
#include "vmm/http/test_rig.h"

#define HOST "Host: localhost\r\n"

Test(http, an_idle_connection_is_small)
{
	cr_assert_lt(sizeof(struct http_conn), 300u);
}

Test(http, requests_on_one_connection)
{
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	put(&g, fd, "GET /echo?a=1 HTTP/1.1\r\n" HOST "\r\n");
	expect(&g, fd, 200, "GET /echo?a=1 ");
	put(&g, fd, "PUT /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
	expect(&g, fd, 200, "PUT /echo? hello");
	put(&g, fd, "PUT /none HTTP/1.1\r\n" HOST "\r\n");
	expect(&g, fd, 204, "");
	put(&g, fd, "GET http://localhost/echo?b#c HTTP/1.1\r\n" HOST "\r\n");
	expect(&g, fd, 200, "GET /echo?b ");
	put(&g, fd, "GET http://localhost HTTP/1.1\r\n" HOST "\r\n");
	expect(&g, fd, 200, "GET /? ");
	put(&g, fd, "GET /%2e%00x HTTP/1.1\r\n" HOST "\r\n");
	expect(&g, fd, 200, "GET /%2e%00x? ");
	put(&g, fd, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n");
	expect(&g, fd, 200, "OPTIONS *? ");
	cr_assert_eq(http_clients(g.server), 1u);
	close(fd);
	rig_turn(&g, 3);
	cr_assert_eq(http_clients(g.server), 0u);
	cr_assert_eq(g.server->held, 0u);
	rig_fini(&g);
}

/* libcurl's upload without a length, and with trailers and extensions that nobody sends. */
Test(http, chunked_bodies)
{
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	put(&g, fd, "PUT /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
	expect(&g, fd, 200, "PUT /echo? ");
	put(&g, fd,
		"PUT /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked \r\n\r\n"
		"3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nLast-Event-ID: 5\r\nHost: b\r\n\r\n");
	expect(&g, fd, 200, "PUT /echo? abc0123456789");
	cr_assert_str_eq(g.id, "(none)");
	close(fd);
	rig_fini(&g);
}

Test(http, expect_100_continue)
{
	static struct reply r;
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	put(&g, fd,
		"PUT /echo HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
	get(&g, fd, &r);
	cr_assert_str_eq(r.text, "HTTP/1.1 100 Continue\r\n\r\n");
	put(&g, fd, "h");
	rig_turn(&g, 3);
	put(&g, fd, "i");
	expect(&g, fd, 200, "PUT /echo? hi");
	/* The body is there already, or there is none. */
	put(&g, fd,
		"PUT /echo HTTP/1.1\r\n" HOST
		"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");
	expect(&g, fd, 200, "PUT /echo? hi");
	put(&g, fd, "PUT /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n\r\n");
	expect(&g, fd, 200, "PUT /echo? ");
	put(&g, fd, "PUT /echo HTTP/1.1\r\n" HOST "Expect: gifts\r\nContent-Length: 2\r\n\r\n");
	expect(&g, fd, 417, NULL);
	cr_assert(closed(&g, fd));
	close(fd);
	rig_fini(&g);
}

Test(http, a_head_and_its_short_body_come_in_one_piece)
{
	char buf[1023];
	struct rig g;
	ssize_t n;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	put(&g, fd, "PUT /echo HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx");
	rig_turn(&g, 3);
	n = recv(fd, buf, sizeof(buf) - 1, 0);
	cr_assert_gt(n, 11);
	buf[n] = '\0';
	cr_assert(strstr(buf, "\r\n\r\nPUT /echo? x"));
	close(fd);
	rig_fini(&g);
}

Test(http, byte_by_byte)
{
	static const char text[] = "\r\nPUT /echo?q=1 HTTP/1.1\r\n" HOST
				   "Last-Event-ID: 4711\r\nX-Nothing-Of-Ours-And-Rather-Long: z\r\n"
				   "Empty:\r\nContent-Length: 4\r\n\r\nbody";
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		put_bytes(&g, fd, text + i, 1);
		rig_turn(&g, 2);
	}
	expect(&g, fd, 200, "PUT /echo?q=1 body");
	cr_assert_str_eq(g.id, "4711");
	close(fd);
	rig_fini(&g);
}

/* More than one read takes: some wait in the server, some in the kernel. */
#define PIPELINED 900

Test(http, pipelined_requests_are_answered_in_order)
{
	static char text[64 * PIPELINED];
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	for (int i = 0; i < PIPELINED; i++)
		sprintf(text + strlen(text), "GET /%s?%d HTTP/1.1\r\n" HOST "\r\n",
			i == 50 ? "later" : "echo", i);
	cr_assert_gt(strlen(text), 2 * HTTP_READ_BYTES);
	cr_assert_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
	for (int i = 0; i < PIPELINED; i++) {
		char want[32];

		snprintf(want, sizeof(want), "GET /%s?%d ", i == 50 ? "later" : "echo", i);
		if (i == 50) {
			rig_turn(&g, 20);
			cr_assert_eq(g.requests, 51u, "one at a time");
			rig_echo(g.held[0]);
			cr_assert_eq(g.requests, 51u, "not from within the answer");
		}
		expect(&g, fd, 200, want);
	}
	close(fd);
	rig_fini(&g);
}

Test(http, connection_close_is_honoured)
{
	static struct reply r;
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	put(&g, fd, "GET /echo HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
	get(&g, fd, &r);
	cr_assert(strstr(r.head, "\r\nConnection: close\r\n"));
	cr_assert(closed(&g, fd));
	close(fd);
	fd = rig_connect(&g);
	put(&g, fd, "GET /echo HTTP/1.0\r\n\r\n");
	expect(&g, fd, 200, "GET /echo? ");
	cr_assert(closed(&g, fd));
	close(fd);
	fd = rig_connect(&g);
	put(&g, fd, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	get(&g, fd, &r);
	cr_assert(strstr(r.head, "\r\nConnection: keep-alive\r\n"));
	put(&g, fd, "GET /echo HTTP/1.0\r\n\r\n");
	expect(&g, fd, 200, NULL);
	close(fd);
	rig_fini(&g);
}

Test(http, head_has_no_body)
{
	static struct reply r;
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	put(&g, fd, "HEAD /echo HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
	while (!closed(&g, fd))
		;
	close(fd);
	fd = rig_connect(&g);
	put(&g, fd, "HEAD /echo HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" HOST "\r\n");
	rig_turn(&g, 5);
	cr_assert_gt(recv(fd, r.text, 1000, 0), 0);
	cr_assert(strstr(r.text, "Content-Length: 12\r\n\r\nHTTP/1.1 204 "), "%s", r.text);
	close(fd);
	rig_fini(&g);
}

struct refusal {
	const char *text;
	unsigned status;
};

Test(http, what_is_no_request_is_refused)
{
	static const struct refusal refusals[] = {
		{"hello\r\n\r\n", 400},
		{"GET\r\n\r\n", 400},
		{"GET  \r\n\r\n", 400},
		{"GET nothing HTTP/1.1\r\n" HOST "\r\n", 400},
		{"GET / FTP/1.1\r\n" HOST "\r\n", 400},
		{"GET /a\tb HTTP/1.1\r\n" HOST "\r\n", 400},
		{"GET /\x80 HTTP/1.1\r\n" HOST "\r\n", 400},
		{"GET / HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400},
		{"GET / HTTP/1.1\r\n" HOST "a b: c\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\n" HOST "a: \x01\r\n\r\n", 400},
		{"PUT / HTTP/1.1\r\n" HOST "Content-Length : 1\r\n\r\n", 400},
		{"PUT / HTTP/1.1\r\n" HOST "Content-Length: x\r\n\r\n", 400},
		{"PUT / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", 400},
		{"PUT / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 400},
		{"PUT / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
		{"PUT / HTTP/1.1\r\n" HOST
		 "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
			400},
		{"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400},
		{"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
		{"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", 501},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
		{"GET / HTTP/2.0\r\n" HOST "\r\n", 505},
		{"GET / HTTP/0.9\r\n" HOST "\r\n", 505},
		{"GET /\r\n\r\n", 505},
		{"CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", 501},
		{"PUT / HTTP/1.1\r\n" HOST "Content-Length: 4194305\r\n\r\n", 413},
		{"PUT / HTTP/1.1\r\n" HOST
		 "Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n",
			413},
	};
	struct rig g;

	rig_init(&g);
	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		static struct reply r;
		int fd = rig_connect(&g);

		put(&g, fd, refusals[i].text);
		get(&g, fd, &r);
		cr_expect_eq(r.status, refusals[i].status, "%s: %s", refusals[i].text, r.text);
		cr_expect(strstr(r.head, "\r\nConnection: close\r\n"));
		cr_expect(r.len > 4 && memcmp(r.body, "[\"", 2) == 0, "%s", r.body);
		cr_expect(closed(&g, fd));
		close(fd);
	}
	rig_turn(&g, 5);
	cr_expect_eq(g.requests, 0u);
	cr_expect_eq(http_clients(g.server), 0u);
	cr_expect_eq(g.server->held, 0u);
	rig_fini(&g);
}

Test(http, a_nul_is_no_part_of_a_path)
{
	static const char text[] = "GET /a\0b HTTP/1.1\r\n" HOST "\r\n";
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	put_bytes(&g, fd, text, sizeof(text) - 1);
	expect(&g, fd, 400, NULL);
	close(fd);
	rig_fini(&g);
}

Test(http, an_upgrade_is_ignored)
{
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	put(&g, fd,
		"GET /echo HTTP/1.1\r\n" HOST
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
		"HTTP2-Settings: AA\r\n\r\n");
	expect(&g, fd, 200, "GET /echo? ");
	put(&g, fd,
		"PUT /echo HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n"
		"Content-Length: 2\r\n\r\nhi");
	expect(&g, fd, 200, "PUT /echo? hi");
	close(fd);
	rig_fini(&g);
}

static void put_large(struct rig *g, int fd, size_t n)
{
	char *p = malloc(n);

	memset(p, 'a', n);
	put_bytes(g, fd, p, n);
	free(p);
}

Test(http, a_large_head_is_refused)
{
	struct rig g;
	int fd;

	rig_init(&g);
	for (unsigned i = 0; i < 4; i++) {
		static const char *const begin[] = {"GET /",
			"GET / HTTP/1.1\r\n" HOST "A: ", "GET / HTTP/1.1\r\n" HOST,
			"GET / HTTP/1.1\r\n" HOST "Last-Event-ID: "};

		fd = rig_connect(&g);
		put(&g, fd, begin[i]);
		put_large(&g, fd, HTTP_HEAD_MAX + 100);
		expect(&g, fd, 431, NULL);
		cr_expect(closed(&g, fd));
		close(fd);
	}
	fd = rig_connect(&g);
	put(&g, fd, "GET / HTTP/1.1\r\n" HOST);
	for (int i = 0; i < 3000; i++)
		if (!put(&g, fd, "a:b\r\n"))
			break;
	expect(&g, fd, 431, NULL);
	close(fd);
	fd = rig_connect(&g);
	put(&g, fd, "GET /echo HTTP/1.1\r\n" HOST "Last-Event-ID: ");
	put_large(&g, fd, HTTP_HEAD_MAX - 100);
	put(&g, fd, "\r\n\r\n");
	expect(&g, fd, 200, "GET /echo? ");
	close(fd);
	rig_fini(&g);
}

Test(http, the_largest_body)
{
	struct rig g;
	int fd;

	rig_init(&g);
	fd = rig_connect(&g);
	put(&g, fd, "PUT /none HTTP/1.1\r\n" HOST "Content-Length: 4194304\r\n\r\n");
	put_large(&g, fd, HTTP_BODY_MAX);
	expect(&g, fd, 204, NULL);
	/* The end of a chunked one shows only when it is there. */
	put(&g, fd, "PUT /none HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n400001\r\n");
	put_large(&g, fd, HTTP_BODY_MAX + 1);
	expect(&g, fd, 413, NULL);
	close(fd);
	/* And a client that does not stop sending still gets its answer. */
	fd = rig_connect(&g);
	put(&g, fd, "PUT /none HTTP/1.1\r\n" HOST "Content-Length: 8388608\r\n\r\n");
	put_large(&g, fd, 2 * HTTP_BODY_MAX);
	expect(&g, fd, 413, NULL);
	cr_expect(closed(&g, fd));
	close(fd);
	rig_turn(&g, 100);
	cr_expect_eq(http_clients(g.server), 0u);
	rig_fini(&g);
}

Test(http, all_requests_together_are_bounded)
{
	int fds[20];
	unsigned refused = 0;
	struct rig g;

	rig_init(&g);
	for (int i = 0; i < 20; i++) {
		fds[i] = rig_connect(&g);
		put(&g, fds[i], "PUT /none HTTP/1.1\r\n" HOST "Content-Length: 4194304\r\n\r\n");
		put_large(&g, fds[i], HTTP_BODY_MAX - 1);
	}
	cr_assert_leq(g.server->held, HTTP_HELD_MAX);
	for (int i = 0; i < 20; i++) {
		static struct reply r;

		put(&g, fds[i], "a");
		get(&g, fds[i], &r);
		refused += r.status == 503;
		cr_expect(r.status == 503 || r.status == 204);
		close(fds[i]);
	}
	cr_assert(refused > 0 && refused < 20, "%u", refused);
	rig_turn(&g, 3);
	cr_assert_eq(g.server->held, 0u);
	rig_fini(&g);
}
