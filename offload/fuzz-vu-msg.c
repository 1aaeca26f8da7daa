/* SPDX-License-Identifier: Apache-2.0 */
/* The stream: any bytes in any pieces, descriptors with some. Each message that comes out is judged
 * by the rules as both sides would. No descriptor may stay. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "offload/vu_msg.h"
#include "vmm/base/num.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct session {
	struct vu_conn *conn;
	uint64_t agreed;
	bool gone;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static int message(void *arg, struct vu_msg *m)
{
	struct session *s = arg;
	const struct vu_rule *r = vu_rule(m->request), *b = vu_backend_rule(m->request);
	const char *why = NULL;

	must(m->size <= sizeof(m->p) && m->nfds <= VU_FDS);
	must((m->flags & 3) == VU_VERSION);
	if (r && vu_check(r, m, false, s->agreed, &why) == 0)
		must(m->size >= r->min && m->size <= r->max && !(r->needs & ~s->agreed));
	if (r)
		vu_check(r, m, true, s->agreed, &why);
	if (b)
		vu_check(b, m, false, s->agreed, &why);
	s->agreed ^= m->p.u64;
	return vu_conn_send(s->conn, m) < 0 && m->request & 1 ? -EPROTO : 0;
}

static void gone(void *arg, int why)
{
	struct session *s = arg;

	must(why < 0);
	s->gone = true;
	vu_conn_free(s->conn);
	s->conn = NULL;
}

static void put(int fd, const uint8_t *p, size_t n, unsigned nfds)
{
	struct iovec iov = {(void *)p, n};
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(16 * sizeof(int))];
	} c = {.h = {CMSG_LEN(nfds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	for (unsigned i = 0; i < nfds; i++)
		memcpy(CMSG_DATA(&c.h) + i * sizeof(int), &fd, sizeof(int));
	if (nfds) {
		m.msg_control = &c;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Mostly valid: a header is written over the bytes where one would begin. */
static size_t frame(uint8_t *p, size_t n, uint8_t kind)
{
	uint32_t head[3] = {kind % (VU_REQUESTS + 2), VU_VERSION | (kind & 64 ? VU_REPLY : 0), 0};
	const struct vu_rule *r = vu_rule(head[0]);

	if (n < 12)
		return n;
	head[2] = MIN(n - 12, (size_t)(r ? r->min : 8));
	memcpy(p, head, sizeof(head));
	return 12 + head[2];
}

static void pump(struct ev_loop *loop, struct session *s, int fd)
{
	char sink[512];

	for (int i = 0; i < 3 && !s->gone; i++)
		ev_run_once(loop, 0);
	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct vu_conn_ops ops = {message, gone};
	struct session s = {.agreed = UINT64_MAX};
	struct ev_loop *loop;
	uint8_t piece[300];
	int pair[2], next;

	must(ev_loop_new(&loop) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	must(vu_conn_new(loop, pair[0], &ops, &s, &s.conn) == 0);
	while (size >= 2 && !s.gone) {
		uint8_t how = data[0], len = data[1];
		size_t n = MIN((size_t)len, size - 2);

		memcpy(piece, data + 2, n);
		data += 2 + n;
		size -= 2 + n;
		if (how & 0x80)
			n = frame(piece, n, how);
		put(pair[1], piece, n, how % 23 == 0 ? how % 13 : 0);
		if (how & 1)
			pump(loop, &s, pair[1]);
	}
	pump(loop, &s, pair[1]);
	vu_conn_free(s.conn);
	close(pair[1]);
	ev_loop_free(loop);
	next = dup(0); /* had a descriptor leaked, the next would be higher each time */
	must(next < 64);
	close(next);
	return 0;
}
