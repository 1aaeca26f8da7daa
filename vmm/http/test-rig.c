/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/http/test_rig.h"

#include <dirent.h>
#include <errno.h>

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

void rig_echo(struct http_req *r)
{
	char text[1024], fds[16] = "";
	unsigned n = 0;

	for (unsigned i = 0; i < r->nfds; i++)
		n += r->fds[i] >= 0;
	if (n)
		snprintf(fds, sizeof(fds), " fds=%u", n);
	snprintf(text, sizeof(text), "%s %s?%s %s%s", r->method, r->path, r->query, r->body, fds);
	http_reply(r, 200, "text/plain", text, strlen(text));
}

static void answer_large(struct http_req *r)
{
	char *text = malloc(RIG_LARGE);

	memset(text, 'x', RIG_LARGE);
	http_reply(r, 200, "text/plain", text, RIG_LARGE);
	free(text);
}

static void rig_request(struct http_req *r, void *arg)
{
	struct rig *g = arg;

	g->requests++;
	snprintf(g->id, sizeof(g->id), "%s", r->last_event_id ? r->last_event_id : "(none)");
	cr_assert_eq(r->body[r->len], '\0');
	if (strcmp(r->path, "/keep") == 0)
		for (unsigned i = 0; i < r->nfds; i++) {
			g->taken[g->ntaken++] = r->fds[i];
			r->fds[i] = -1;
		}
	if (strcmp(r->path, "/later") == 0)
		g->held[g->nheld++] = r;
	else if (strcmp(r->path, "/none") == 0)
		http_reply(r, 204, NULL, NULL, 0);
	else if (strcmp(r->path, "/large") == 0)
		answer_large(r);
	else if (strcmp(r->path, "/stream") != 0)
		rig_echo(r);
	else if (http_stream(r, "text/event-stream") == 0)
		g->held[g->nheld++] = r;
}

static void rig_gone(struct http_req *r, void *arg)
{
	struct rig *g = arg;

	cr_assert_gt(g->nheld, 0u);
	for (unsigned i = 0; i < g->nheld; i++)
		if (g->held[i] == r)
			g->held[i] = NULL;
	g->gone++;
}

void rig_init(struct rig *g)
{
	struct http_handler h = {.request = rig_request, .stream_gone = rig_gone, .arg = g};

	*g = (struct rig){.fds_before = count_fds(), .addr_len = sizeof(g->addr)};
	g->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	g->addr.sun_family = AF_UNIX;
	/* Without a path the kernel makes up an abstract name. */
	cr_assert_eq(bind(g->listener, (struct sockaddr *)&g->addr, sizeof(sa_family_t)), 0);
	cr_assert_eq(getsockname(g->listener, (struct sockaddr *)&g->addr, &g->addr_len), 0);
	cr_assert_eq(listen(g->listener, 4096), 0);
	cr_assert_eq(ev_loop_new(&g->loop), 0);
	cr_assert_eq(http_server_new(g->loop, g->listener, &h, NULL, &g->server), 0);
}

void rig_turn(struct rig *g, unsigned rounds)
{
	while (rounds--)
		cr_assert_eq(ev_run_once(g->loop, 0), 0);
}

void rig_fini(struct rig *g)
{
	http_server_free(g->server);
	ev_loop_free(g->loop);
	while (g->ntaken)
		close(g->taken[--g->ntaken]);
	cr_expect_eq(count_fds(), g->fds_before, "file descriptors are left over");
}

int rig_connect(struct rig *g)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	cr_assert_eq(
		connect(fd, (struct sockaddr *)&g->addr, g->addr_len), 0, "%s", strerror(errno));
	return fd;
}

bool put_bytes(struct rig *g, int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

		if (r < 0 && errno != EAGAIN)
			return false;
		if (r > 0) {
			p += r;
			n -= (size_t)r;
		}
		rig_turn(g, 1);
	}
	return true;
}

bool put(struct rig *g, int fd, const char *text)
{
	return put_bytes(g, fd, text, strlen(text));
}

void put_fds(struct rig *g, int fd, const char *text, const int *fds, unsigned n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 64)];
	} control = {0};
	struct iovec iov = {(char *)text, strlen(text)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
	struct cmsghdr *h;

	m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
	h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int) * n);
	memcpy(CMSG_DATA(h), fds, sizeof(int) * n);
	cr_assert_eq(sendmsg(fd, &m, MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static long content_length(const char *head)
{
	const char *p = strstr(head, "Content-Length: ");

	return p ? atol(p + 16) : -1;
}

void get(struct rig *g, int fd, struct reply *ret)
{
	uint64_t end = ev_now_ns() + 5000000000ull;
	size_t n = 0, want = 0;
	ssize_t r;

	*ret = (struct reply){0};
	while ((!want || n < want) && ev_now_ns() < end) {
		r = recv(fd, ret->text + n, want ? want - n : 1, 0);
		if (r == 0 || (r < 0 && errno != EAGAIN))
			break;
		if (r < 0) {
			ev_run_once(g->loop, 1);
			continue;
		}
		n += (size_t)r;
		if (!want && n >= 4 && memcmp(ret->text + n - 4, "\r\n\r\n", 4) == 0) {
			memcpy(ret->head, ret->text, n < 1023 ? n : 1023);
			ret->body = ret->text + n;
			want = n + (content_length(ret->head) > 0
						   ? (size_t)content_length(ret->head)
						   : 0);
		}
	}
	cr_assert(want && n == want, "no whole answer: \"%s\"", ret->text);
	ret->len = n - (size_t)(ret->body - ret->text);
	cr_assert_eq(sscanf(ret->text, "HTTP/1.1 %u ", &ret->status), 1);
}

bool closed(struct rig *g, int fd)
{
	char c;

	for (int i = 0; i < 1000; i++) {
		ssize_t r = recv(fd, &c, 1, 0);

		if (r >= 0 || errno != EAGAIN)
			return r <= 0;
		ev_run_once(g->loop, 1);
	}
	return false;
}

void expect(struct rig *g, int fd, unsigned status, const char *body)
{
	static struct reply r;

	get(g, fd, &r);
	cr_expect_eq(r.status, status, "%u, not %u: %s", r.status, status, r.text);
	if (body)
		cr_expect_str_eq(r.body, body);
	if (status != 204)
		cr_expect(strstr(r.head, "\r\nContent-Length: "));
	cr_expect(strstr(r.head, "\r\nServer: polyvisor\r\n"));
}
