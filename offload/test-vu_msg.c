/* SPDX-License-Identifier: Apache-2.0 */
/* The rules, each broken in turn; and the stream below them, in pieces and in floods. */
#include "offload/vu_msg.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "offload/test_front.h"
#include "vmm/base/num.h"

#define ALL UINT64_MAX

/* ---- the rules ---- */

static const char *why;

static int judge(const struct vu_msg *m, uint64_t agreed)
{
	return vu_check(vu_rule(m->request), m, false, agreed, &why);
}

/* A message that keeps its rule. */
static struct vu_msg valid(uint32_t request)
{
	const struct vu_rule *r = vu_rule(request);
	struct vu_msg m = {
		.request = request, .flags = VU_VERSION, .size = r->min, .nfds = r->fds_min};

	if (r->fds_max && !r->fds_min && r->max == 8) /* kick, call, err */
		m.p.u64 = VU_VRING_NO_FD;
	return m;
}

#define FOR_EACH_RULE(i)                                                                           \
	for (uint32_t i = 0; i < VU_REQUESTS; i++)                                                 \
		if (vu_rule(i))

Test(vu_rules, a_valid_message_each)
{
	unsigned n = 0;

	FOR_EACH_RULE(i)
	{
		struct vu_msg m = valid(i);

		cr_expect_eq(judge(&m, ALL), 0, "%s: %s", vu_rule(i)->name, why);
		n++;
	}
	cr_expect_eq(n, 33u, "%u", n);
	cr_expect_null(vu_rule(0));
	cr_expect_null(vu_rule(VU_REQUESTS));
	cr_expect_null(vu_rule(UINT32_MAX));
	cr_expect_null(vu_backend_rule(0));
	cr_expect(vu_backend_rule(VU_BACKEND_CONFIG_CHANGE));
}

Test(vu_rules, each_broken_in_turn)
{
	FOR_EACH_RULE(i)
	{
		const struct vu_rule *r = vu_rule(i);
		struct vu_msg m = valid(i);

		m.flags |= VU_REPLY;
		cr_expect_eq(judge(&m, ALL), -EPROTO, "%s: a reply", r->name);
		m = valid(i);
		m.size = r->max + 1;
		cr_expect_eq(judge(&m, ALL), -EPROTO, "%s: too long", r->name);
		m.size = r->min - 1;
		if (r->min)
			cr_expect_eq(judge(&m, ALL), -EPROTO, "%s: too short", r->name);
		m = valid(i);
		m.nfds = r->fds_max + 1;
		cr_expect_eq(judge(&m, ALL), -EPROTO, "%s: too many fds", r->name);
		m.nfds = r->fds_min - 1;
		if (r->fds_min)
			cr_expect_eq(judge(&m, ALL), -EPROTO, "%s: too few fds", r->name);
		m = valid(i);
		cr_expect_eq(judge(&m, ALL & ~r->needs), r->needs ? -EPROTO : 0, "%s", r->name);
	}
}

Test(vu_rules, fields_that_contradict_each_other)
{
	struct vu_msg m = {.request = VU_SET_MEM_TABLE, .flags = 1, .size = 8 + 2 * 32, .nfds = 2};

	m.p.mem.n = 2;
	cr_expect_eq(judge(&m, 0), 0);
	m.p.mem.n = 1;
	cr_expect_eq(judge(&m, 0), -EPROTO);
	m.p.mem.n = 2;
	m.nfds = 1;
	cr_expect_eq(judge(&m, 0), -EPROTO);
	m.nfds = 2;
	m.p.mem.n = 0x10000002;
	cr_expect_eq(judge(&m, 0), -EPROTO);
	m = (struct vu_msg){.request = VU_SET_VRING_KICK, .flags = 1, .size = 8, .nfds = 1};
	cr_expect_eq(judge(&m, 0), 0);
	m.p.u64 = VU_VRING_NO_FD;
	cr_expect_eq(judge(&m, 0), -EPROTO);
	m.nfds = 0;
	cr_expect_eq(judge(&m, 0), 0);
	m.p.u64 = 0x200 | VU_VRING_NO_FD;
	cr_expect_eq(judge(&m, 0), -EPROTO);
	m = (struct vu_msg){.request = VU_GET_CONFIG, .flags = 1, .size = 12 + 60};
	m.p.config.size = 60;
	cr_expect_eq(judge(&m, ALL), 0);
	m.p.config.size = 61;
	cr_expect_eq(judge(&m, ALL), -EPROTO);
	m.p.config = (struct vu_config){.offset = 200, .size = 60};
	cr_expect_eq(judge(&m, ALL), -EPROTO);
	m.p.config.offset = UINT32_MAX - 10;
	cr_expect_eq(judge(&m, ALL), -EPROTO);
}

Test(vu_rules, replies)
{
	struct vu_msg m = {.request = VU_GET_FEATURES, .flags = 1 | VU_REPLY, .size = 8};
	const struct vu_rule *get = vu_rule(VU_GET_FEATURES), *set = vu_rule(VU_SET_FEATURES);

	cr_expect_eq(vu_check(get, &m, true, 0, &why), 0);
	cr_expect_eq(vu_check(set, &m, true, 0, &why), 0, "an acknowledgement");
	m.size = 4;
	cr_expect_eq(vu_check(get, &m, true, 0, &why), -EPROTO);
	cr_expect_eq(vu_check(set, &m, true, 0, &why), -EPROTO);
	m = (struct vu_msg){.request = VU_GET_FEATURES, .flags = 1, .size = 8};
	cr_expect_eq(vu_check(get, &m, true, 0, &why), -EPROTO);
	m = (struct vu_msg){
		.request = VU_GET_FEATURES, .flags = 1 | VU_REPLY, .size = 8, .nfds = 1};
	cr_expect_eq(vu_check(get, &m, true, 0, &why), -EPROTO);
}

/* ---- the stream ---- */

static struct {
	struct ev_loop *loop;
	struct vu_conn *conn;
	int peer;
	unsigned messages, gone;
	struct vu_msg last;
	int last_fds, why;
	bool free_inside, pause_inside;
} s;

static int message(void *arg, struct vu_msg *m)
{
	s.messages++;
	s.last = *m;
	s.last_fds = m->nfds;
	if (s.free_inside) {
		vu_conn_free(s.conn);
		s.conn = NULL;
	}
	if (s.pause_inside)
		vu_conn_pause(s.conn, true);
	return 0;
}

static void gone(void *arg, int reason)
{
	s.gone++;
	s.why = reason;
	vu_conn_free(s.conn);
	s.conn = NULL;
}

static void open_stream(void)
{
	static const struct vu_conn_ops ops = {message, gone};
	int pair[2];

	memset(&s, 0, sizeof(s));
	cr_assert_eq(ev_loop_new(&s.loop), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(vu_conn_new(s.loop, pair[0], &ops, NULL, &s.conn), 0);
	s.peer = pair[1];
}

static void close_stream(void)
{
	vu_conn_free(s.conn);
	close(s.peer);
	ev_loop_free(s.loop);
}

TestSuite(vu_conn, .init = open_stream, .fini = close_stream, .timeout = 30);

static void pump(void)
{
	for (int i = 0; i < 20; i++)
		ev_run_once(s.loop, 0);
}

static void put(const void *p, size_t n)
{
	cr_assert_eq(send(s.peer, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

static struct front as_front(void)
{
	return (struct front){.fd = s.peer};
}

Test(vu_conn, byte_by_byte)
{
	const uint32_t words[] = {VU_SET_FEATURES, VU_VERSION, 8, 0x12345678, 0x9abcdef0};
	const uint8_t *p = (const uint8_t *)words;

	for (size_t i = 0; i < sizeof(words); i++) {
		cr_expect_eq(s.messages, 0u);
		put(p + i, 1);
		pump();
	}
	cr_expect_eq(s.messages, 1u);
	cr_expect_eq(s.last.p.u64, 0x9abcdef012345678ull);
}

/* In one go; each keeps its own descriptors. */
Test(vu_conn, many_at_once)
{
	struct front f = as_front();
	uint64_t v;
	int fd = eventfd(0, EFD_CLOEXEC);

	for (v = 0; v < 20; v++)
		front_send(&f, VU_SET_VRING_CALL, 0, &v, 8, &fd, v % 2);
	for (int i = 0; i < 200 && s.messages < 20; i++) {
		unsigned before = s.messages;

		ev_run_once(s.loop, 0);
		if (s.messages != before)
			cr_expect_eq((unsigned)s.last_fds, s.last.p.u64 % 2);
	}
	cr_expect_eq(s.messages, 20u);
	cr_expect_eq(s.last.p.u64, 19u);
	close(fd);
}

Test(vu_conn, what_a_short_payload_leaves_out_is_zero)
{
	struct front f = as_front();
	struct vu_config c = {.bytes = {1, 2, 3}};

	memset(c.bytes, 0xff, sizeof(c.bytes));
	front_send(&f, VU_SET_CONFIG, 0, &c, sizeof(c), NULL, 0);
	front_send(&f, VU_SET_CONFIG, 0, &c, 12, NULL, 0);
	pump();
	cr_expect_eq(s.messages, 2u);
	cr_expect_eq(s.last.p.config.bytes[200], 0);
}

Test(vu_conn, descriptors_nobody_took_are_closed)
{
	struct front f = as_front();
	int fds[VU_FDS];
	unsigned before;

	for (unsigned i = 0; i < VU_FDS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	before = front_open_fds();
	front_send(&f, VU_SET_OWNER, 0, NULL, 0, fds, VU_FDS);
	pump();
	cr_expect_eq(s.last_fds, VU_FDS);
	cr_expect_eq(front_open_fds(), before);
	for (unsigned i = 0; i < VU_FDS; i++)
		close(fds[i]);
}

static void expect_gone(int reason)
{
	pump();
	cr_expect_eq(s.gone, 1u);
	cr_expect_eq(s.why, reason, "%d", s.why);
	cr_expect_null(s.conn);
}

Test(vu_conn, too_many_descriptors)
{
	struct front f = as_front();
	int fds[20];
	unsigned before;

	for (unsigned i = 0; i < 20; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	before = front_open_fds();
	front_send(&f, VU_SET_OWNER, 0, NULL, 0, fds, 20);
	expect_gone(-EPROTO);
	cr_expect_eq(s.messages, 0u);
	cr_expect_eq(front_open_fds(), before - 1, "all of them, and the socket");
	for (unsigned i = 0; i < 20; i++)
		close(fds[i]);
}

static void put_with_fds(const void *p, size_t n, const int fds[5])
{
	struct iovec iov = {(void *)p, n};
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(5 * sizeof(int))];
	} c = {.h = {CMSG_LEN(5 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)};

	memcpy(CMSG_DATA(&c.h), fds, 5 * sizeof(int));
	cr_assert_eq(sendmsg(s.peer, &m, MSG_NOSIGNAL), (ssize_t)n);
}

/* Five with the header and five with the payload. */
Test(vu_conn, too_many_descriptors_in_two_parts)
{
	uint32_t words[] = {VU_SET_FEATURES, VU_VERSION, 8, 0, 0};
	int fds[5];
	unsigned before;

	for (unsigned i = 0; i < 5; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	before = front_open_fds();
	put_with_fds(words, 12, fds);
	pump();
	cr_expect_eq(s.gone, 0u);
	put_with_fds(words + 3, 8, fds);
	expect_gone(-EPROTO);
	cr_expect_eq(front_open_fds(), before - 1);
	for (unsigned i = 0; i < 5; i++)
		close(fds[i]);
}

Test(vu_conn, wrong_version)
{
	put((uint32_t[]){VU_SET_OWNER, 2, 0}, 12);
	expect_gone(-EPROTO);
}

Test(vu_conn, longer_than_any_message)
{
	put((uint32_t[]){VU_SET_OWNER, 1, UINT32_MAX}, 12);
	expect_gone(-EPROTO);
}

Test(vu_conn, ends_inside_a_message)
{
	put((uint32_t[]){VU_SET_FEATURES, 1, 8}, 12);
	shutdown(s.peer, SHUT_WR);
	expect_gone(-EPROTO);
}

Test(vu_conn, ends_between_messages)
{
	put((uint32_t[]){VU_SET_OWNER, 1, 0}, 12);
	shutdown(s.peer, SHUT_WR);
	expect_gone(-ENOTCONN);
	cr_expect_eq(s.messages, 1u);
}

Test(vu_conn, freed_inside_its_handler)
{
	put((uint32_t[]){VU_SET_OWNER, 1, 0, VU_SET_OWNER, 1, 0}, 24);
	s.free_inside = true;
	pump();
	cr_expect_eq(s.messages, 1u);
	cr_expect_eq(s.gone, 0u);
}

Test(vu_conn, paused)
{
	put((uint32_t[]){VU_SET_OWNER, 1, 0, VU_SET_OWNER, 1, 0}, 24);
	s.pause_inside = true;
	pump();
	cr_expect_eq(s.messages, 1u);
	vu_conn_pause(s.conn, false);
	pump();
	cr_expect_eq(s.messages, 2u);
	cr_expect_not(vu_conn_hung_up(s.conn));
	close(s.peer);
	cr_expect(vu_conn_hung_up(s.conn));
	expect_gone(-ENOTCONN);
	s.peer = eventfd(0, 0);
}

/* More than a socket holds leaves later, in order, its descriptors with it. */
Test(vu_conn, what_does_not_fit_leaves_later)
{
	struct front f = as_front();
	struct vu_msg m = {.request = VU_SET_CONFIG, .flags = 1, .size = 200}, got;
	int small = 4096, fd = eventfd(0, EFD_CLOEXEC);
	unsigned n = 0, before;

	setsockopt(s.peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	before = front_open_fds();
	m.fds[0] = fd;
	m.nfds = 1;
	for (int r = 0; r == 0 && n < 5000; n++) {
		m.p.config.offset = n;
		r = vu_conn_send(s.conn, &m);
		if (r < 0)
			cr_expect_eq(r, -EPIPE, "%d", r);
	}
	n--;
	cr_expect_eq(front_open_fds(), before + 64, "those that wait are its own");
	for (unsigned i = 0; i < n; i++) {
		pump();
		cr_assert(front_receive(&f, &got), "%u of %u", i, n);
		cr_expect_eq(got.p.config.offset, i);
	}
	cr_expect_eq(front_open_fds(), before);
	m.nfds = 0;
	cr_expect_eq(vu_conn_send(s.conn, &m), 0);
	close(fd);
}

Test(vu_conn, sending_to_who_has_left)
{
	struct vu_msg m = {.request = VU_SET_OWNER, .flags = 1};

	close(s.peer);
	s.peer = eventfd(0, 0);
	cr_expect_eq(vu_conn_send(s.conn, &m), -EPIPE);
	expect_gone(-ENOTCONN);
}
