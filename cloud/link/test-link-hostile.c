/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that does not keep to HTTP/2: frames by hand against the node's end. Whatever comes, the
 * link ends or goes on, and holds no more than its bounds. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/link/test_rig.h"

static struct rig g;
static int peer;

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void make(void)
{
	int fd[2];

	rig_loop(&g);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	rig_server(&g, fd[0]);
	peer = fd[1];
}

static void unmake(void)
{
	close(peer);
	rig_stop(&g);
}

TestSuite(hostile, .init = make, .fini = unmake, .timeout = 60);

/* Writes all of it, while the node's end has its turns; false when that has hung up. */
static bool put(const void *p, size_t n)
{
	while (n) {
		ssize_t w = send(peer, p, n, MSG_NOSIGNAL);

		if (w < 0 && errno != EAGAIN)
			return false;
		if (w > 0) {
			p = (const char *)p + w;
			n -= (size_t)w;
		}
		ev_run_once(g.loop, 0);
		if (g.server_gone)
			return false;
	}
	return true;
}

/* RFC 9113 §4.1 */
static bool frame(uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t n)
{
	uint8_t *f = malloc(9 + n);
	bool r;

	f[0] = (uint8_t)(n >> 16);
	f[1] = (uint8_t)(n >> 8);
	f[2] = (uint8_t)n;
	f[3] = type;
	f[4] = flags;
	f[5] = (uint8_t)(stream >> 24);
	f[6] = (uint8_t)(stream >> 16);
	f[7] = (uint8_t)(stream >> 8);
	f[8] = (uint8_t)stream;
	if (n)
		memcpy(f + 9, payload, n);
	r = put(f, 9 + n);
	free(f);
	return r;
}

enum { DATA, HEADERS, RST = 3, SETTINGS, PING = 6, GOAWAY, CONTINUATION = 9 };
enum { END_STREAM = 1, END_HEADERS = 4 };

static void drain(void)
{
	char buf[65536];

	while (recv(peer, buf, sizeof(buf), 0) > 0)
		;
}

static void hello(void)
{
	put(preface, sizeof(preface) - 1);
	frame(SETTINGS, 0, 0, NULL, 0);
	rig_rounds(&g, 5);
	drain();
}

/* POST https://n PATH: RFC 7541 §6, indexed and literal. */
static size_t request(uint8_t *at, const char *path)
{
	size_t n = 0;

	at[n++] = 0x83; /* :method POST */
	at[n++] = 0x87; /* :scheme https */
	at[n++] = 0x04; /* :path */
	at[n++] = (uint8_t)strlen(path);
	memcpy(at + n, path, strlen(path));
	n += strlen(path);
	memcpy(at + n, "\x01\x01n", 3); /* :authority */
	return n + 3;
}

static bool ask(uint32_t stream, const char *path, uint8_t flags)
{
	uint8_t block[64];

	return frame(HEADERS, END_HEADERS | flags, stream, block, request(block, path));
}

static void gone_with(const char *word)
{
	rig_rounds(&g, 20);
	cr_assert_eq(g.server_gone, 1);
	cr_assert_not_null(strstr(g.server_why, word), "%s", g.server_why);
}

Test(hostile, no_preface)
{
	put("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
	gone_with("broke HTTP/2");
}

Test(hostile, a_preface_and_an_end)
{
	hello();
	shutdown(peer, SHUT_WR);
	gone_with("closed the connection");
}

Test(hostile, a_frame_larger_than_allowed)
{
	static char big[20000];

	hello();
	frame(DATA, 0, 1, big, sizeof(big));
	gone_with("broke HTTP/2");
}

Test(hostile, data_for_a_stream_that_is_not)
{
	hello();
	frame(DATA, 0, 7, "x", 1);
	gone_with("broke HTTP/2");
}

static void flood(uint8_t type, const void *payload, size_t n)
{
	hello();
	for (int i = 0; i < 500000 && frame(type, 0, 0, payload, n); i++)
		;
	gone_with("HTTP/2");
}

Test(hostile, pings_whose_answers_are_not_read)
{
	flood(PING, "12345678", 8);
}

Test(hostile, settings_whose_answers_are_not_read)
{
	flood(SETTINGS, NULL, 0);
}

Test(hostile, headers_without_an_end)
{
	static char block[16000];

	hello();
	memset(block, 0x83, sizeof(block));
	frame(HEADERS, 0, 1, block, sizeof(block));
	for (int i = 0; i < 1000 && frame(CONTINUATION, 0, 1, block, sizeof(block)); i++)
		;
	gone_with("HTTP/2");
}

Test(hostile, more_header_fields_than_allowed_lose_their_stream_only)
{
	static uint8_t block[16000];
	size_t n = request(block, "/echo"), one;

	hello();
	one = n;
	/* A literal of 1000 bytes into the table once, and then by its number many times. */
	memcpy(block + n, "\x40\x01x\x7f\xe9\x06", 6);
	memset(block + n + 6, 'v', 1000);
	n += 1006;
	memset(block + n, 0xbe, 1000);
	n += 1000;
	cr_assert(frame(HEADERS, END_HEADERS | END_STREAM, 1, block, n));
	cr_assert(frame(HEADERS, END_HEADERS | END_STREAM, 3, block, one));
	rig_rounds(&g, 20);
	cr_assert_eq(g.server_gone, 0);
	cr_assert_eq(g.requests, 1);
	cr_assert_eq(g.server->nstreams, 0);
}

Test(hostile, streams_opened_and_reset_again_and_again)
{
	uint32_t id = 1;

	hello();
	for (int i = 0; i < 20000; i++, id += 2) {
		if (!ask(id, "/echo", 0) || !frame(RST, 0, id, "\0\0\0\x08", 4))
			break;
		if (i % 50 == 0)
			drain();
	}
	rig_rounds(&g, 20);
	cr_assert_eq(g.server->nstreams, 0);
	cr_assert_eq(g.server->nrequests, 0);
}

Test(hostile, more_streams_than_allowed)
{
	hello();
	for (uint32_t i = 0; i < LINK_STREAMS + 100; i++) {
		if (!ask(2 * i + 1, "/sink", 0))
			break;
		drain();
		cr_assert_leq(g.server->nstreams, LINK_STREAMS);
	}
}

Test(hostile, a_body_that_never_ends)
{
	static char piece[16000];

	hello();
	cr_assert(ask(1, "/echo", 0));
	for (int i = 0; i < 400 && g.server->nstreams; i++) {
		cr_assert(frame(DATA, 0, 1, piece, sizeof(piece)));
		rig_rounds(&g, 2);
		drain();
	}
	cr_assert_eq(g.server->nstreams, 0);
	cr_assert_eq(g.server->bodies, 0);
	cr_assert_eq(g.server_gone, 0);
}

Test(hostile, more_than_the_window)
{
	static char piece[16000];
	int i = 0;

	hello();
	cr_assert(ask(1, "/sink", 0));
	while (i < 100 && frame(DATA, 0, 1, piece, sizeof(piece)))
		i++;
	rig_rounds(&g, 20);
	cr_assert_leq(g.sink_bytes, LINK_WINDOW);
	cr_assert(g.sink_closed == 1 || g.server_gone);
}

Test(hostile, a_body_that_is_no_json)
{
	hello();
	cr_assert(ask(1, "/echo", 0));
	cr_assert(frame(DATA, END_STREAM, 1, "{\"a\":1,\"a\":2}", 13));
	rig_rounds(&g, 20);
	cr_assert_eq(g.requests, 0);
	cr_assert_eq(g.server->nstreams, 0);
	cr_assert_eq(g.server_gone, 0);
}

Test(hostile, a_path_that_is_none)
{
	hello();
	cr_assert(ask(1, "no/slash", END_STREAM));
	rig_rounds(&g, 20);
	cr_assert_eq(g.requests, 0);
	cr_assert_eq(g.server->nstreams, 0);
}
