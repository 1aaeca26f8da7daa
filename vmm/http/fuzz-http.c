/* SPDX-License-Identifier: Apache-2.0 */
/* A client's bytes, cut into pieces of all sizes, on a real socket. The first byte of the input
 * seeds the cuts. The bytes are mostly tokens of HTTP, so that the server gets past the first line,
 * and the handler answers in every way that there is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "vmm/http/http_internal.h"
#include "vmm/base/num.h"

#define INPUT_MAX 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A byte above 127 stands for one of these. */
static const char *const token[] = {"GET ", "PUT ", "HEAD ", "/a", "/later", "/stream", "?",
	" HTTP/1.1\r\n", " HTTP/1.0\r\n", "Host: a\r\n", "\r\n", "\r\n\r\n",
	"Content-Length: ", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n",
	"Connection: close\r\n", "Connection: keep-alive\r\n", "Expect: 100-continue\r\n",
	"Last-Event-ID: 5\r\n", "0\r\n\r\n", "3\r\nabc\r\n", "Upgrade: x\r\n",
	"Connection: upgrade\r\n", ": ", "http://a", "abc", "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
	"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
	"GET /later HTTP/1.1\r\nHost: a\r\n\r\n", "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"};

static struct ev_loop *loop;
static struct http_server *server;
static struct sockaddr_un addr = {.sun_family = AF_UNIX};
static socklen_t addr_len = sizeof(addr);
static struct http_req *held;

static void request(struct http_req *r, void *arg)
{
	if (strcmp(r->path, "/later") == 0)
		held = r;
	else if (strcmp(r->path, "/stream") != 0)
		http_reply(r, r->len ? 200 : 204, "text/plain", r->body, r->len);
	else if (http_stream(r, "text/plain") == 0 && http_stream_write(r, "x", 1) == 0 && r->len)
		http_stream_end(r);
}

static void setup(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct http_handler h = {.request = request};

	if (bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)) < 0 ||
		getsockname(fd, (struct sockaddr *)&addr, &addr_len) < 0 || listen(fd, 10) < 0 ||
		ev_loop_new(&loop) < 0 || http_server_new(loop, fd, &h, NULL, &server) < 0)
		abort();
}

static size_t spell(const uint8_t *data, size_t size, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < size; i++) {
		const char *t = data[i] & 0x80 ? token[data[i] % ARRAY_SIZE(token)] : NULL;
		size_t len = t ? strlen(t) : 1;

		if (n + len > INPUT_MAX)
			break;
		memcpy(out + n, t ? t : (const char *)&data[i], len);
		n += len;
	}
	return n;
}

static void turn(void)
{
	struct http_req *r = held;

	if (ev_run_once(loop, 0) < 0)
		abort();
	held = held == r ? NULL : held;
	if (r)
		http_reply(r, 200, "text/plain", "late", 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[INPUT_MAX], sink[4096];
	unsigned cuts = size ? data[0] : 0;
	size_t n, at = 0;
	int fd;

	if (!loop)
		setup();
	n = size ? spell(data + 1, size - 1, text) : 0;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connect(fd, (struct sockaddr *)&addr, addr_len) < 0)
		abort();
	while (at < n) {
		size_t piece;

		cuts = cuts * 1103515245 + 12345;
		piece = cuts >> 16 & 1 ? 1 + (cuts >> 17) % 7 : 1 + (cuts >> 17) % 1500;
		piece = MIN(piece, n - at);
		if (send(fd, text + at, piece, MSG_NOSIGNAL) < 0)
			break;
		at += piece;
		turn();
		while (recv(fd, sink, sizeof(sink), 0) > 0)
			;
	}
	if (cuts >> 20 & 1)
		shutdown(fd, SHUT_WR);
	turn();
	close(fd);
	for (int i = 0; i < 1000 && (held || http_clients(server)); i++)
		turn();
	if (http_clients(server) || server->held)
		abort(); /* left over */
	return 0;
}
