/* SPDX-License-Identifier: Apache-2.0 */
/* Frames from a peer that means no good, against either end. The input is a list of frames in a
 * short form (type, flags, stream, length, bytes), so that most are frames at all; header blocks
 * are put together from words that are valid. The first byte picks the end, and whether to write
 * the bytes as they are. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "cloud/link/test_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

static const char *const words[] = {"\x82", "\x83", "\x87", "\x84", "\x01\x01n", "\x04\x05/echo",
	"\x04\x05/pipe", "\x04\x05/sink", "\x04\x04/put", "\x04\x08/big?900", "\x88", "\x8d",
	"\x40\x01x\x01y", "\xbe",
	"\x08\x03"
	"100",
	"\x0f\x0d\x01"
	"5"};

struct out {
	uint8_t buf[65536];
	size_t n;
};

static void add(struct out *o, const void *p, size_t n)
{
	if (o->n + n > sizeof(o->buf))
		return;
	memcpy(o->buf + o->n, p, n);
	o->n += n;
}

static void add_frame(struct out *o, const uint8_t head[4], const uint8_t *p, size_t n)
{
	static const uint8_t types[] = {0, 1, 1, 0, 3, 4, 6, 8};
	uint8_t payload[512];
	size_t len = 0, word;

	if (types[head[0] % 8] == 1) {
		for (size_t i = 0; i < n && len < 400; i++) {
			word = p[i] % (sizeof(words) / sizeof(words[0]));
			memcpy(payload + len, words[word], strlen(words[word]));
			len += strlen(words[word]);
		}
	} else {
		memcpy(payload, p, n);
		len = n;
	}
	add(o,
		(uint8_t[]){0, (uint8_t)(len >> 8), (uint8_t)len, types[head[0] % 8], head[1], 0, 0,
			0, head[2] % 8},
		9);
	add(o, payload, len);
}

static void frames(struct out *o, const uint8_t *data, size_t size)
{
	while (size >= 4) {
		size_t n = data[3] % 64;

		n = n < size - 4 ? n : size - 4;
		add_frame(o, data, data + 4, n);
		data += 4 + n;
		size -= 4 + n;
	}
}

/* Something for the answers to be answers to. */
static void use_client(struct rig *g, struct answer *a, struct got *t)
{
	link_call(g->client, "GET", "/echo", NULL, NULL, answer_fn, a);
	if (link_open(g->client, "POST", "/pipe", NULL, &got_ops, t, &t->s) == 0)
		link_stream_write(t->s, "bytes", 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct out o;
	struct answer a = {0};
	struct got t = {0};
	struct rig g;
	char buf[4096];
	int fd[2];

	if (size < 1 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
		return 0;
	o.n = 0;
	rig_loop(&g);
	if (data[0] & 1) {
		rig_client(&g, fd[0]);
		use_client(&g, &a, &t);
		add(&o, preface + 24, 9); /* SETTINGS alone */
	} else {
		rig_server(&g, fd[0]);
		add(&o, preface, 33);
	}
	if (data[0] & 2)
		add(&o, data + 1, size - 1);
	else
		frames(&o, data + 1, size - 1);
	for (size_t off = 0; off < o.n;) {
		ssize_t w = send(fd[1], o.buf + off, o.n - off, MSG_NOSIGNAL);

		ev_run_once(g.loop, 0);
		while (recv(fd[1], buf, sizeof(buf), 0) > 0)
			;
		if (w <= 0)
			break;
		off += (size_t)w;
	}
	rig_rounds(&g, 4);
	rig_stop(&g);
	if (data[0] & 1 && (a.times != 1 || t.closed != 1))
		abort(); /* each is answered, whatever comes */
	json_decref(a.body);
	close(fd[1]);
	return 0;
}
