/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/ev.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "vmm/base/list.h"

static struct ev_loop *loop;

static void make(void)
{
	cr_assert_eq(ev_loop_new(&loop), 0);
}

static void unmake(void)
{
	ev_loop_free(loop);
}

TestSuite(ev, .init = make, .fini = unmake, .timeout = 30);

struct watch {
	struct ev_fd w;
	unsigned calls;
	uint32_t events;
	struct watch *kills; /* deleted, poisoned and freed when called */
};

static struct watch *survivor;

static void watch_ready(struct ev_fd *w, uint32_t events)
{
	struct watch *x = container_of(w, struct watch, w);

	x->calls++;
	x->events = events;
	if (x->kills) {
		ev_del(&x->kills->w);
		memset(x->kills, 0xff, sizeof(*x->kills));
		free(x->kills);
		x->kills = NULL;
		survivor = x;
	}
}

static struct watch *watch_new(unsigned initial)
{
	struct watch *x = calloc(1, sizeof(*x));

	x->w.fd = eventfd(initial, EFD_NONBLOCK);
	x->w.ready = watch_ready;
	cr_assert_eq(ev_add(loop, &x->w, EPOLLIN), 0);
	return x;
}

Test(ev, ready_fds_are_called)
{
	struct watch *idle = watch_new(0), *ready = watch_new(1);

	cr_assert_eq(ev_run_once(loop, 0), 0);
	cr_assert(ready->calls == 1 && ready->events == EPOLLIN && idle->calls == 0);
	cr_assert_eq(ev_mod(&idle->w, EPOLLOUT), 0);
	ev_del(&ready->w);
	ev_del(&ready->w); /* not watched: nothing */
	cr_assert_eq(ev_mod(&ready->w, EPOLLIN), -ENOENT);
	ev_run_once(loop, 0);
	cr_assert(ready->calls == 1 && idle->calls == 1 && idle->events == EPOLLOUT);
	free(idle);
	free(ready);
}

Test(ev, a_watch_may_be_freed_in_the_round_that_has_its_event)
{
	struct watch *a = watch_new(1), *b = watch_new(1);

	a->kills = b;
	b->kills = a; /* whoever comes first kills the other */
	ev_run_once(loop, 0);
	/* without a crash, or a report of the sanitizer: one is left, and still called */
	ev_run_once(loop, 0);
	cr_assert_eq(survivor->calls, 2);
	ev_del(&survivor->w);
	free(survivor);
}

Test(ev, files_that_cannot_be_watched)
{
	struct ev_fd w = {.fd = -1, .ready = watch_ready};

	cr_assert_eq(ev_add(loop, &w, EPOLLIN), -EBADF);
	cr_assert_null(w.loop);
	ev_del(&w);
}

struct tick {
	struct ev_timer t;
	unsigned fired;
	uint64_t late_ns;
	bool again;
};

static void tick_fire(struct ev_timer *t)
{
	struct tick *k = container_of(t, struct tick, t);

	cr_assert_geq(ev_now_ns(), t->at_ns); /* never early */
	k->fired++;
	if (k->again)
		ev_timer_arm(loop, t, 0); /* still due */
}

Test(ev, timers_fire_once_in_order)
{
	struct tick a = {.t.fire = tick_fire}, b = a, c = a;
	uint64_t now = ev_now_ns();

	ev_timer_arm(loop, &b.t, now + 20000000);
	ev_timer_arm(loop, &a.t, now + 2000000);
	ev_timer_arm(loop, &c.t, now + 1000000);
	ev_timer_cancel(&c.t);
	ev_timer_cancel(&c.t);
	while (!a.fired)
		ev_run_once(loop, -1);
	ev_timer_arm(loop, &b.t, ev_now_ns() + 1000000); /* re-armed: earlier */
	while (!b.fired)
		ev_run_once(loop, -1);
	cr_assert_lt(ev_now_ns() - now, 10000000000ull);
	ev_run_once(loop, 25);
	cr_assert(a.fired == 1 && b.fired == 1 && c.fired == 0);
}

Test(ev, a_timer_in_the_past_does_not_hold_the_loop)
{
	struct tick t = {.t.fire = tick_fire, .again = true};

	ev_timer_arm(loop, &t.t, 0);
	ev_run_once(loop, -1);
	cr_assert_eq(t.fired, 1);
	ev_run_once(loop, -1);
	cr_assert_eq(t.fired, 2);
	ev_timer_cancel(&t.t);
}

#define POSTERS 4
#define POSTS	20000

struct note {
	struct ev_msg m;
	unsigned from, number;
};

static unsigned next_number[POSTERS], handled;

static void note_handle(struct ev_msg *m)
{
	struct note *n = container_of(m, struct note, m);

	cr_assert_eq(n->number, next_number[n->from]++);
	if (++handled == POSTERS * POSTS)
		ev_quit(loop);
	free(n);
}

static void *post_many(void *arg)
{
	for (unsigned i = 0; i < POSTS; i++) {
		struct note *n = malloc(sizeof(*n));

		*n = (struct note){{.handle = note_handle}, (unsigned)(uintptr_t)arg, i};
		ev_post(loop, &n->m);
	}
	return NULL;
}

Test(ev, posts_of_each_thread_arrive_in_order)
{
	pthread_t t[POSTERS];

	for (uintptr_t i = 0; i < POSTERS; i++)
		pthread_create(&t[i], NULL, post_many, (void *)i);
	cr_assert_eq(ev_run(loop), 0);
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(t[i], NULL);
	cr_assert_eq(handled, POSTERS * POSTS);
}

static void repost(struct ev_msg *m)
{
	handled++;
	ev_post(loop, m);
}

Test(ev, a_message_that_reposts_itself_takes_turns)
{
	struct ev_msg m = {.handle = repost};

	ev_post(loop, &m);
	ev_run_once(loop, -1);
	cr_assert_eq(handled, 1);
	ev_run_once(loop, -1);
	cr_assert_eq(handled, 2);
}

struct job {
	struct ev_msg m;
	char name[32];
	int blocked;
	_Atomic bool done;
};

static void job_handle(struct ev_msg *m)
{
	struct job *j = container_of(m, struct job, m);
	sigset_t s;

	pthread_getname_np(pthread_self(), j->name, sizeof(j->name));
	pthread_sigmask(SIG_SETMASK, NULL, &s);
	j->blocked = sigismember(&s, SIGTERM);
	atomic_store(&j->done, true);
}

Test(ev, a_thread_handles_what_was_posted_before_it_is_freed)
{
	struct job j[100] = {0};
	struct ev_thread *t;

	cr_assert_eq(ev_thread_new("_disk0_q0_much_too_long", &t), 0);
	for (unsigned i = 0; i < 100; i++) {
		j[i].m.handle = job_handle;
		ev_post(ev_thread_loop(t), &j[i].m);
	}
	ev_thread_free(t);
	for (unsigned i = 0; i < 100; i++)
		cr_assert(atomic_load(&j[i].done));
	cr_assert_str_eq(j[0].name, "_disk0_q0_much_");
	cr_assert_eq(j[0].blocked, 1);
	ev_thread_free(NULL);
	ev_loop_free(NULL);
}

struct nested {
	struct ev_loop *loop;
	struct ev_msg outer, inner;
	bool done;
};

static void nested_inner(struct ev_msg *m)
{
	container_of(m, struct nested, inner)->done = true;
}

static void nested_outer(struct ev_msg *m)
{
	struct nested *n = container_of(m, struct nested, outer);

	for (int i = 0; i < 10 && !n->done; i++)
		ev_run_once(n->loop, 10);
}

/* The awaited message was posted before the handler that waits for it ran: same batch. */
Test(ev, a_handler_waits_for_a_message_of_its_own_batch)
{
	struct nested n = {.outer.handle = nested_outer, .inner.handle = nested_inner};

	cr_assert_eq(ev_loop_new(&n.loop), 0);
	ev_post(n.loop, &n.outer);
	ev_post(n.loop, &n.inner);
	ev_run_once(n.loop, 100);
	cr_expect(n.done);
	ev_loop_free(n.loop);
}

struct looker {
	struct ev_idle i;
	unsigned calls, left;
	struct ev_loop *loop;
};

static bool look(struct ev_idle *i)
{
	struct looker *l = container_of(i, struct looker, i);

	l->calls++;
	return l->left && l->left--;
}

/* Asked before each sleep; the fds get their turn all the same. */
Test(ev, idle_work_keeps_the_loop_awake)
{
	struct looker l = {.i.more = look, .left = 3};
	struct watch *x = watch_new(1);

	ev_set_idle(loop, &l.i);
	for (int n = 1; n <= 3; n++) {
		cr_assert_eq(ev_run_once(loop, 60000), 0);
		cr_expect_eq(l.calls, (unsigned)n);
		cr_expect_eq(x->calls, (unsigned)n);
	}
	ev_del(&x->w);
	l.left = 2;
	for (int n = 0; n < 2; n++) /* would sleep for a minute */
		cr_assert_eq(ev_run_once(loop, 60000), 0);
	cr_expect_eq(l.calls, 5u);
	cr_assert_eq(ev_run_once(loop, 0), 0);
	cr_expect_eq(l.calls, 5u, "no sleep, no question");
	cr_assert_eq(ev_run_once(loop, 1), 0);
	cr_expect_eq(l.calls, 6u);
	ev_set_idle(loop, NULL);
	cr_assert_eq(ev_run_once(loop, 1), 0);
	cr_expect_eq(l.calls, 6u);
	close(x->w.fd);
	free(x);
}

static void burn(struct ev_msg *m)
{
	for (uint64_t end = ev_now_ns() + 2000000; ev_now_ns() < end;)
		;
}

Test(ev, a_thread_knows_its_time)
{
	struct ev_msg m = {.handle = burn};
	struct ev_thread *t;
	uint64_t before;

	cr_assert_eq(ev_thread_new("worker", &t), 0);
	before = ev_thread_cpu_ns(t);
	ev_post(ev_thread_loop(t), &m);
	for (int i = 0; i < 5000 && ev_thread_cpu_ns(t) < before + 1000000; i++)
		usleep(1000);
	cr_expect_geq(ev_thread_cpu_ns(t), before + 1000000);
	ev_thread_free(t);
}
