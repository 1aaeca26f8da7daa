/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/vu_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct step {
	struct list link;
	struct vu_msg msg; /* its fds are owned until it has been said */
	vu_done *done;
	void *arg;
	bool awaits;
};

static const char *name_of(const struct step *s)
{
	return vu_rule(s->msg.request)->name;
}

static struct step *first(const struct vu_steps *s)
{
	return list_empty(&s->list) ? NULL : container_of(s->list.next, struct step, link);
}

/* Takes st off the queue and tells how it ended. */
static void end(struct vu_steps *s, struct step *st, int result, const struct vu_msg *reply)
{
	list_del(&st->link);
	s->n--;
	vu_msg_close_fds(&st->msg);
	if (st->done)
		st->done(st->arg, result, reply);
	free(st);
}

/* From the timer, so that nobody is called back from inside a call of his. */
void vu_steps_fail(struct vu_steps *s, const char *fmt, ...)
{
	va_list ap;

	if (s->dead || !s->loop)
		return;
	s->dead = true;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	ev_timer_arm(s->loop, &s->timer, 0);
}

static void fire(struct ev_timer *t)
{
	struct vu_steps *s = container_of(t, struct vu_steps, timer);

	if (!s->dead)
		snprintf(s->why, sizeof(s->why), "no answer to %s for %u ms", name_of(first(s)),
			s->timeout_ms);
	s->dead = true;
	s->failed(s, s->why);
}

/* Says what can be said. */
static void pump(struct vu_steps *s)
{
	struct step *st;

	while (!s->awaiting && !s->dead && (st = first(s))) {
		int r = vu_conn_send(s->conn, &st->msg);

		vu_msg_close_fds(&st->msg);
		if (r < 0) {
			vu_steps_fail(s, "cannot send %s: %s", name_of(st), strerrordesc_np(-r));
			return;
		}
		s->awaiting = st->awaits;
		if (st->awaits)
			ev_timer_arm(s->loop, &s->timer, ev_now_ns() + s->timeout_ms * 1000000ull);
		else
			end(s, st, 0, NULL);
	}
}

/* What an acknowledgement says about its request: 0 or -EINVAL. */
static int verdict(const struct step *st, const struct vu_msg *m)
{
	return !vu_rule(st->msg.request)->replies && m->p.u64 ? -EINVAL : 0;
}

static int on_message(void *arg, struct vu_msg *m)
{
	struct vu_steps *s = arg;
	struct step *st = s->awaiting ? first(s) : NULL;
	const char *why;

	if (s->dead)
		return 0;
	if (!st || m->request != st->msg.request) {
		vu_steps_fail(s, "an answer to what was not asked, message %u", m->request);
		return 0;
	}
	if (vu_check(vu_rule(m->request), m, true, s->agreed, &why) < 0) {
		vu_steps_fail(s, "%s: %s", name_of(st), why);
		return 0;
	}
	int r = verdict(st, m);
	if (r < 0 && m->request != VU_SET_CONFIG && m->request != VU_NET_SET_MTU) {
		vu_steps_fail(s, "it refused %s", name_of(st));
		return 0;
	}
	s->awaiting = false;
	ev_timer_cancel(&s->timer);
	end(s, st, r, vu_rule(m->request)->replies ? m : NULL);
	if (s->loop) /* done() may have closed */
		pump(s);
	return 0;
}

static void on_gone(void *arg, int why)
{
	struct vu_steps *s = arg;
	const struct step *st = s->awaiting ? first(s) : NULL;

	if (why == -EPROTO)
		vu_steps_fail(s, "what it says is not vhost-user");
	else if (st)
		vu_steps_fail(s, "it closed the connection at %s", name_of(st));
	else
		vu_steps_fail(s, "it closed the connection");
}

static const struct vu_conn_ops conn_ops = {.message = on_message, .gone = on_gone};

int vu_steps_open(struct vu_steps *s, struct ev_loop *loop, int fd)
{
	int r = vu_conn_new(loop, fd, &conn_ops, s, &s->conn);

	if (r < 0)
		return r;
	list_init(&s->list);
	s->loop = loop;
	s->n = 0;
	s->agreed = 0;
	s->awaiting = s->dead = false;
	s->timer = (struct ev_timer){.fire = fire};
	return 0;
}

void vu_steps_close(struct vu_steps *s)
{
	struct step *st;

	if (!s->loop)
		return;
	ev_timer_cancel(&s->timer);
	vu_conn_free(s->conn);
	s->conn = NULL;
	s->loop = NULL; /* what done() says now is refused */
	while ((st = first(s)))
		end(s, st, -EPIPE, NULL);
}

static int take_fds(struct step *st, const struct vu_msg *m)
{
	st->msg.nfds = 0;
	for (unsigned i = 0; i < m->nfds; i++) {
		int fd = fcntl(m->fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			return -errno;
		st->msg.fds[st->msg.nfds++] = fd;
	}
	return 0;
}

int vu_steps_say(struct vu_steps *s, const struct vu_msg *m, vu_done *done, void *arg)
{
	bool acks = s->agreed & VU_PF(REPLY_ACK), replies = vu_rule(m->request)->replies;
	struct step *st;
	int r;

	if (!s->loop || s->dead)
		return -ENOTCONN;
	st = s->n < VU_STEPS ? malloc(sizeof(*st)) : NULL;
	if (!st) {
		vu_steps_fail(s, "too many messages wait for it");
		return -ENOMEM;
	}
	*st = (struct step){.msg = *m, .done = done, .arg = arg, .awaits = acks || replies};
	r = take_fds(st, m);
	if (r < 0) {
		vu_msg_close_fds(&st->msg);
		free(st);
		vu_steps_fail(
			s, "cannot send %s: %s", vu_rule(m->request)->name, strerrordesc_np(-r));
		return r;
	}
	st->msg.flags = VU_VERSION | (acks && !replies ? VU_NEED_REPLY : 0);
	list_add(&s->list, &st->link);
	s->n++;
	pump(s);
	return 0;
}

void vu_steps_mute(struct vu_steps *s, const void *but)
{
	if (!s->loop)
		return;
	list_for_each (it, &s->list) {
		struct step *st = container_of(it, struct step, link);

		if (st->arg != but)
			st->done = NULL;
	}
}
