/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of dialling, each ended by an event, all of them together by one timer. */
#include "cloud/node/dial_internal.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/un.h>
#include <unistd.h>
#include "cloud/link/tls.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/list.h"

#define ATTEMPT_NS (15ull * 1000000000)
#define FIRST_NS   (500ull * 1000000)
#define MOST_NS	   (15ull * 1000000000)
#define GOOD_NS	   (10ull * 1000000000) /* a connection that lived so long was a good one */

enum step { WAIT, RESOLVE, CONNECT, HANDSHAKE, SEND, ANSWER, UP };

struct dial {
	struct ev_loop *loop;
	struct log *log;
	char *token_file, *url, *name, *chip, *version;
	char identity[65];
	void (*ready)(struct link_wire *w, void *arg);
	void *arg;

	enum step step;
	struct ev_timer timer; /* WAIT: the next attempt; else this one's end */
	unsigned failures;
	uint64_t up_ns;
	char why[480];
	char said[480]; /* the last line of the log */

	struct dial_target t;
	struct resolve *resolve;
	struct addrinfo *list, *next; /* addresses to try */
	struct ev_fd fd;
	struct link_wire *w;
	char request[2048];
	size_t sent, len;
	struct dial_answer *answer;
};

static void unwatch(struct dial *d)
{
	if (d->fd.loop)
		ev_del(&d->fd);
}

/* Back to nothing but the timer. */
static void clear(struct dial *d)
{
	resolve_cancel(steal_ptr(&d->resolve));
	unwatch(d);
	if (d->w)
		d->w->free(d->w);
	else if (d->fd.fd >= 0)
		close(d->fd.fd);
	d->w = NULL;
	d->fd.fd = -1;
	if (d->list)
		freeaddrinfo(d->list);
	d->list = d->next = NULL;
	dial_answer_free(d->answer);
	d->answer = NULL;
}

/* Twice as long each time, and of that a random part of the upper half. */
static uint64_t backoff(unsigned failures)
{
	uint64_t ns = FIRST_NS << (failures < 6 ? failures : 6), r = 0;

	ns = ns < MOST_NS ? ns : MOST_NS;
	if (getrandom(&r, sizeof(r), GRND_NONBLOCK) < 0)
		r = ev_now_ns();
	return ns / 2 + r % (ns / 2);
}

static void later(struct dial *d)
{
	clear(d);
	d->step = WAIT;
	ev_timer_arm(d->loop, &d->timer, ev_now_ns() + backoff(d->failures));
	d->failures++;
}

/* The attempt is over. The same reason is told once. */
static void fail(struct dial *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct dial *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->why, sizeof(d->why), fmt, ap);
	va_end(ap);
	if (strcmp(d->why, d->said) != 0)
		log_line(d->log, LOG_WARN, "dial", "%s", d->why);
	strcpy(d->said, d->why);
	later(d);
}

static void fail_err(struct dial *d, const struct err *e)
{
	fail(d, "%.160s: %s", d->t.url, e->text);
}

/* ---- the end: an answer ---- */

static void up(struct dial *d)
{
	size_t n;
	const char *rest = dial_answer_rest(d->answer, &n);
	struct link_wire *w = link_wire_after(steal_ptr(&d->w), rest, n);

	unwatch(d);
	d->fd.fd = -1;
	clear(d);
	if (!w) {
		fail(d, "no memory");
		return;
	}
	ev_timer_cancel(&d->timer);
	d->step = UP;
	d->up_ns = ev_now_ns();
	d->why[0] = d->said[0] = '\0';
	log_line(d->log, LOG_INFO, "dial", "connected to %s as %s", d->t.url, d->name);
	d->ready(w, d->arg);
}

static void refused(struct dial *d)
{
	unsigned status = dial_answer_status(d->answer);
	char text[320];

	dial_answer_text(d->answer, text, sizeof(text));
	if (status == 401)
		fail(d, "%.100s does not accept the token in %.100s: %.200s", d->t.url,
			d->token_file, text);
	else if (status >= 400 && status < 500)
		fail(d, "%.100s refuses this node: %s", d->t.url, text);
	else
		fail(d, "%.100s answered %u: %s", d->t.url, status, text);
}

static void read_answer(struct dial *d)
{
	char buf[4096];
	ssize_t n = d->w->read(d->w, buf, sizeof(buf));
	int r;

	if (n == -EAGAIN)
		return;
	if (n < 0) {
		fail(d, "%.160s: the connection broke: %s", d->t.url, strerror((int)-n));
		return;
	}
	r = dial_answer_feed(d->answer, buf, (size_t)n);
	if (r < 0)
		fail(d,
			n ? "%.160s does not answer as a control plane does"
			  : "%.160s closed the connection without an answer",
			d->t.url);
	else if (r && dial_answer_status(d->answer) == 101)
		up(d);
	else if (r)
		refused(d);
	else if (d->w->pending(d->w))
		read_answer(d); /* at most 64 KiB in all */
}

/* ---- on the way there ---- */

static void send_request(struct dial *d)
{
	ssize_t n = d->w->write(d->w, d->request + d->sent, d->len - d->sent);

	if (n == -EAGAIN)
		return;
	if (n < 0) {
		fail(d, "%.160s: the connection broke: %s", d->t.url, strerror((int)-n));
		return;
	}
	d->sent += (size_t)n;
	if (d->sent < d->len)
		return;
	explicit_bzero(d->request, sizeof(d->request));
	d->step = ANSWER;
	ev_mod(&d->fd, EPOLLIN);
}

static void compose(struct dial *d)
{
	bool v6 = strchr(d->t.host, ':');

	d->sent = 0;
	d->len = (size_t)snprintf(d->request, sizeof(d->request),
		"POST /v1/nodes/connect?name=%s&chip=%s&version=%s HTTP/1.1\r\n"
		"Host: %s%s%s\r\nContent-Length: 0\r\n"
		"Connection: Upgrade\r\nUpgrade: polycloud-node/1\r\n"
		"Authorization: Bearer %s\r\nX-Polycloud-Identity: %s\r\n\r\n",
		d->name, d->chip, d->version, v6 ? "[" : "",
		d->t.unix_path[0] ? "localhost" : d->t.host, v6 ? "]" : "", d->t.token,
		d->identity);
	d->step = SEND;
	ev_mod(&d->fd, EPOLLOUT);
}

static void handshake(struct dial *d)
{
	uint32_t events = EPOLLIN;
	struct err e = {0};
	int r = link_tls_handshake(d->w, &events, &e);

	if (r < 0)
		fail_err(d, &e);
	else if (r == 0)
		ev_mod(&d->fd, events);
	else
		compose(d);
}

static void connected(struct dial *d)
{
	const char *pin = d->t.fingerprint[0] ? d->t.fingerprint : NULL;
	struct err e = {0};
	int one = 1;

	if (d->t.unix_path[0]) {
		d->w = link_wire_socket(d->fd.fd);
		if (d->w)
			compose(d);
	} else {
		setsockopt(d->fd.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (link_wire_tls(d->fd.fd, d->t.host, pin, &d->w, &e) == 0) {
			d->step = HANDSHAKE;
			handshake(d);
			return;
		}
	}
	if (!d->w) {
		unwatch(d);
		d->fd.fd = -1; /* the wire's maker closed it */
		err_set(&e, ERR_HOST, -ENOMEM, "no memory");
		fail_err(d, &e);
	}
}

static int open_socket(struct dial *d, int family, const struct sockaddr *to, socklen_t len)
{
	int r;

	unwatch(d);
	if (d->fd.fd >= 0)
		close(d->fd.fd);
	d->fd.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->fd.fd < 0)
		return -errno;
	if (connect(d->fd.fd, to, len) < 0 && errno != EINPROGRESS)
		return -errno;
	r = ev_add(d->loop, &d->fd, EPOLLOUT);
	if (r == 0)
		d->step = CONNECT;
	return r;
}

/* The next address; the last one's error is told. */
static void next_address(struct dial *d, int error)
{
	while (d->next) {
		struct addrinfo *a = d->next;

		d->next = a->ai_next;
		error = open_socket(d, a->ai_family, a->ai_addr, a->ai_addrlen);
		if (error == 0)
			return;
	}
	fail(d, "%.160s cannot be reached: %s", d->t.url, strerror(-error));
}

static void check_connect(struct dial *d)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(d->fd.fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error)
		next_address(d, -error);
	else
		connected(d);
}

static void on_fd(struct ev_fd *w, uint32_t events)
{
	struct dial *d = container_of(w, struct dial, fd);

	switch (d->step) {
	case CONNECT:
		check_connect(d);
		break;
	case HANDSHAKE:
		handshake(d);
		break;
	case SEND:
		send_request(d);
		break;
	case ANSWER:
		read_answer(d);
		break;
	default:
		unwatch(d);
	}
}

static void resolved(void *arg, struct addrinfo *list, const char *error)
{
	struct dial *d = arg;

	d->resolve = NULL;
	d->list = d->next = list;
	if (error)
		fail(d, "%.160s: the name %.120s has no address: %s", d->t.url, d->t.host, error);
	else
		next_address(d, -EADDRNOTAVAIL);
}

static void start(struct dial *d)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct err e = {0};
	int r;

	if (dial_target_read(d->token_file, d->url, &d->t, &e) < 0) {
		fail(d, "%s", e.text);
		return;
	}
	if (dial_answer_new(&d->answer) < 0) {
		fail(d, "no memory");
		return;
	}
	ev_timer_arm(d->loop, &d->timer, ev_now_ns() + ATTEMPT_NS);
	d->step = RESOLVE;
	if (d->t.unix_path[0]) {
		strcpy(un.sun_path, d->t.unix_path);
		r = open_socket(d, AF_UNIX, (struct sockaddr *)&un, sizeof(un));
		if (r < 0)
			next_address(d, r);
		return;
	}
	r = resolve_start(d->loop, d->t.host, d->t.port, resolved, d, &d->resolve);
	if (r < 0)
		fail(d, "cannot look up %.120s: %s", d->t.host, strerror(-r));
}

static void on_timer(struct ev_timer *t)
{
	struct dial *d = container_of(t, struct dial, timer);

	if (d->step == WAIT)
		start(d);
	else
		fail(d, "%.160s does not answer within %llu s", d->t.url,
			(unsigned long long)(ATTEMPT_NS / 1000000000));
}

/* ---- outside ---- */

void dial_again(struct dial *d, const char *why)
{
	if (d->step != UP)
		return;
	if (ev_now_ns() - d->up_ns > GOOD_NS)
		d->failures = 0;
	fail(d, "the connection to %.160s is over: %s", d->t.url, why);
}

const char *dial_why(const struct dial *d)
{
	return d->why;
}

static int check_words(const struct dial_opts *o, struct err *e)
{
	static const char word[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	size_t n = strlen(o->name);

	if (n < 1 || n > 63 || strspn(o->name, word) != n || o->name[0] == '-' ||
		o->name[n - 1] == '-')
		return err_set(e, ERR_USAGE, -EINVAL,
			"--name: %.80s is not allowed; allowed: 1 to 63 of a-z, 0-9 and -, "
			"not at either end",
			o->name);
	if (strpbrk(o->version, " \r\n&#?%") || strpbrk(o->chip, " \r\n&#?%"))
		return err_set(e, ERR_USAGE, -EINVAL, "chip or version is no word");
	return 0;
}

int dial_new(struct ev_loop *loop, const struct dial_opts *o, struct dial **ret_dial, struct err *e)
{
	struct dial *d;
	struct dial_target t;
	char identity[65];
	int r = check_words(o, e);

	if (r == 0)
		r = dial_target_read(o->token_file, o->url, &t, e);
	if (r == 0)
		r = dial_identity(o->data, identity, e);
	if (r < 0)
		return r;
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_set(e, ERR_HOST, -ENOMEM, "no memory");
	d->loop = loop;
	d->log = o->log;
	d->ready = o->ready;
	d->arg = o->arg;
	d->t = t;
	d->fd = (struct ev_fd){.fd = -1, .ready = on_fd};
	d->timer.fire = on_timer;
	memcpy(d->identity, identity, sizeof(identity));
	d->token_file = strdup(o->token_file);
	d->url = o->url ? strdup(o->url) : NULL;
	d->name = strdup(o->name);
	d->chip = strdup(o->chip);
	d->version = strdup(o->version);
	if (!d->token_file || (o->url && !d->url) || !d->name || !d->chip || !d->version) {
		dial_free(d);
		return err_set(e, ERR_HOST, -ENOMEM, "no memory");
	}
	strcpy(d->why, "not connected yet");
	ev_timer_arm(loop, &d->timer, 0);
	*ret_dial = d;
	return 0;
}

void dial_free(struct dial *d)
{
	if (!d)
		return;
	clear(d);
	ev_timer_cancel(&d->timer);
	free(d->token_file);
	free(d->url);
	free(d->name);
	free(d->chip);
	free(d->version);
	explicit_bzero(d, sizeof(*d));
	free(d);
}
