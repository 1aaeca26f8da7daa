/* SPDX-License-Identifier: Apache-2.0 */
/* A round is: wait in epoll, call the ready fds, then fire the timers that were due. Posted
 * messages are one of the fds: an eventfd that the post which finds the list empty writes. All else
 * belongs to the loop's thread and needs no lock.
 *
 * A handler may run a nested round, to wait for the posted end of something it has begun.
 * ev_del() during a round erases the fd from the events still to be called, so that its owner may
 * be freed at once. Timers are rounded up to epoll's millisecond: they never fire early. */
#include "vmm/base/ev.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"
#include "vmm/base/list.h"

#define ROUND_EVENTS 32

/* The events of a round that is being called; rounds nest when a handler waits for a posted end. */
struct round {
	struct epoll_event *events;
	int n;
	struct round *outer;
};

struct ev_loop {
	int epoll_fd;
	struct ev_fd wake;
	struct round *round;	 /* the innermost, NULL outside */
	struct ev_timer *timers; /* ascending at_ns */
	struct ev_idle *idle;
	bool quit;
	pthread_mutex_t lock; /* leaf: guards the two below */
	struct ev_msg *msgs, **msgs_end;
};

uint64_t ev_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static struct ev_msg *take_msg(struct ev_loop *loop)
{
	LOCK_SCOPE(&loop->lock);
	struct ev_msg *m = loop->msgs;

	if (m)
		loop->msgs = m->next;
	if (!loop->msgs)
		loop->msgs_end = &loop->msgs;
	return m;
}

static unsigned count_msgs(struct ev_loop *loop)
{
	unsigned n = 0;
	LOCK_SCOPE(&loop->lock);

	for (struct ev_msg *m = loop->msgs; m; m = m->next)
		n++;
	return n;
}

static void wake(struct ev_loop *loop)
{
	uint64_t one = 1;

	/* Cannot block or fail: the counter is read before each take, so it stays small. */
	if (write(loop->wake.fd, &one, sizeof(one)) < 0) {
	}
}

/* What is posted by a handler comes in the next round: a message that re-posts itself must not
 * starve the fds. One is taken at a time, so that a nested round finds the others. */
static void handle_msgs(struct ev_loop *loop)
{
	unsigned n = count_msgs(loop);
	struct ev_msg *m;

	while (n-- && (m = take_msg(loop)))
		m->handle(m);
	if (count_msgs(loop))
		wake(loop);
}

static void woken(struct ev_fd *w, uint32_t events)
{
	uint64_t count;
	ssize_t n = read(w->fd, &count, sizeof(count));

	(void)n; /* only resets the eventfd */
	handle_msgs(w->loop);
}

int ev_loop_new(struct ev_loop **ret_loop)
{
	struct ev_loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return -ENOMEM;
	pthread_mutex_init(&loop->lock, NULL);
	loop->msgs_end = &loop->msgs;
	loop->wake = (struct ev_fd){.fd = -1, .ready = woken};
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd >= 0)
		loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = loop->wake.fd < 0 ? -errno : ev_add(loop, &loop->wake, EPOLLIN);
	if (r < 0) {
		ev_loop_free(loop);
		return r;
	}
	*ret_loop = loop;
	return 0;
}

void ev_loop_free(struct ev_loop *loop)
{
	if (!loop)
		return;
	cleanup_closep(&loop->wake.fd);
	cleanup_closep(&loop->epoll_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

static int ctl(struct ev_loop *loop, int op, struct ev_fd *w, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = w};

	return epoll_ctl(loop->epoll_fd, op, w->fd, &e) < 0 ? -errno : 0;
}

int ev_add(struct ev_loop *loop, struct ev_fd *w, uint32_t events)
{
	int r = ctl(loop, EPOLL_CTL_ADD, w, events);

	if (r == 0)
		w->loop = loop;
	return r;
}

int ev_mod(struct ev_fd *w, uint32_t events)
{
	return w->loop ? ctl(w->loop, EPOLL_CTL_MOD, w, events) : -ENOENT;
}

void ev_del(struct ev_fd *w)
{
	struct ev_loop *loop = w->loop;

	if (!loop)
		return;
	ctl(loop, EPOLL_CTL_DEL, w, 0); /* fails only when the fd is closed already: also gone */
	for (struct round *r = loop->round; r; r = r->outer)
		for (int i = 0; i < r->n; i++)
			if (r->events[i].data.ptr == w)
				r->events[i].data.ptr = NULL;
	w->loop = NULL;
}

void ev_timer_arm(struct ev_loop *loop, struct ev_timer *t, uint64_t at_ns)
{
	struct ev_timer **at = &loop->timers;

	ev_timer_cancel(t);
	while (*at && (*at)->at_ns <= at_ns)
		at = &(*at)->next;
	t->at_ns = at_ns;
	t->loop = loop;
	t->next = *at;
	*at = t;
}

void ev_timer_cancel(struct ev_timer *t)
{
	if (!t->loop)
		return;
	for (struct ev_timer **at = &t->loop->timers; *at; at = &(*at)->next) {
		if (*at == t) {
			*at = t->next;
			break;
		}
	}
	t->loop = NULL;
}

/* Only as many as are due at the start: a timer that re-arms itself in the past gets its turn once
 * a round. */
static void fire_timers(struct ev_loop *loop)
{
	uint64_t now = loop->timers ? ev_now_ns() : 0;
	unsigned due = 0;

	for (struct ev_timer *t = loop->timers; t && t->at_ns <= now; t = t->next)
		due++;
	while (due-- && loop->timers && loop->timers->at_ns <= now) {
		struct ev_timer *t = loop->timers;

		ev_timer_cancel(t);
		t->fire(t);
	}
}

void ev_post(struct ev_loop *loop, struct ev_msg *m)
{
	bool first;

	m->next = NULL;
	pthread_mutex_lock(&loop->lock);
	first = !loop->msgs;
	*loop->msgs_end = m;
	loop->msgs_end = &m->next;
	pthread_mutex_unlock(&loop->lock);
	if (first)
		wake(loop);
}

void ev_set_idle(struct ev_loop *loop, struct ev_idle *i)
{
	loop->idle = i;
}

static int wait_ms(struct ev_loop *loop, int timeout_ms)
{
	uint64_t now, ms;

	if (timeout_ms && loop->idle && loop->idle->more(loop->idle))
		return 0;
	if (!loop->timers)
		return timeout_ms;
	now = ev_now_ns();
	if (loop->timers->at_ns <= now)
		return 0;
	ms = (loop->timers->at_ns - now + 999999) / 1000000;
	if (timeout_ms >= 0 && ms > (uint64_t)timeout_ms)
		return timeout_ms;
	return ms > 1000000 ? 1000000 : (int)ms;
}

int ev_run_once(struct ev_loop *loop, int timeout_ms)
{
	struct epoll_event events[ROUND_EVENTS];
	struct round r = {.events = events, .outer = loop->round};
	int n;

	/* Nested in a message's handler, whose round has already read the wake-up of the rest. */
	if (r.outer && count_msgs(loop)) {
		handle_msgs(loop);
		return 0;
	}
	n = epoll_wait(loop->epoll_fd, events, ROUND_EVENTS, wait_ms(loop, timeout_ms));
	if (n < 0 && errno != EINTR)
		return -errno;
	r.n = n > 0 ? n : 0;
	loop->round = &r;
	for (int i = 0; i < r.n; i++) {
		struct ev_fd *w = events[i].data.ptr;

		if (w)
			w->ready(w, events[i].events);
	}
	loop->round = r.outer;
	fire_timers(loop);
	return 0;
}

int ev_run(struct ev_loop *loop)
{
	int r = 0;

	while (r == 0 && !loop->quit)
		r = ev_run_once(loop, -1);
	loop->quit = false;
	return r;
}

void ev_quit(struct ev_loop *loop)
{
	loop->quit = true;
}

struct ev_thread {
	pthread_t thread;
	struct ev_loop *loop;
	struct ev_msg quit;
	char name[16];
};

static void *thread_main(void *arg)
{
	struct ev_thread *t = arg;

	pthread_setname_np(pthread_self(), t->name);
	ev_run(t->loop);
	return NULL;
}

static void handle_quit(struct ev_msg *m)
{
	ev_quit(container_of(m, struct ev_thread, quit)->loop);
}

/* Signals are control's: a worker is born with all of them blocked. */
static int spawn(struct ev_thread *t)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&t->thread, NULL, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int ev_thread_new(const char *name, struct ev_thread **ret_thread)
{
	struct ev_thread *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	strncpy(t->name, name, sizeof(t->name) - 1);
	t->quit.handle = handle_quit;
	r = ev_loop_new(&t->loop);
	if (r == 0)
		r = spawn(t);
	if (r < 0) {
		ev_loop_free(t->loop);
		free(t);
		return r;
	}
	*ret_thread = t;
	return 0;
}

struct ev_loop *ev_thread_loop(struct ev_thread *t)
{
	return t->loop;
}

uint64_t ev_thread_cpu_ns(struct ev_thread *t)
{
	struct timespec used;
	clockid_t clock;

	if (pthread_getcpuclockid(t->thread, &clock) || clock_gettime(clock, &used) < 0)
		return 0;
	return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

void ev_thread_free(struct ev_thread *t)
{
	if (!t)
		return;
	ev_post(t->loop, &t->quit);
	pthread_join(t->thread, NULL);
	ev_loop_free(t->loop);
	free(t);
}
