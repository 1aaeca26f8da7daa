/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: epoll, timers and posted messages. One thread runs a loop; it owns everything
 * registered there. The only function another thread may call is ev_post(): that is how news goes
 * up. A message is a struct that the sender embeds or allocates; ownership passes to the handler.
 */
#ifndef VMM_BASE_EV_H
#define VMM_BASE_EV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct ev_loop;

/* One watched fd. Embedded in its owner; the loop keeps a pointer until ev_del(). */
struct ev_fd {
	int fd; /* not owned */
	void (*ready)(struct ev_fd *w, uint32_t events);
	struct ev_loop *loop; /* set by ev_add, NULL when not watched */
};

/* One-shot timer, embedded in its owner. */
struct ev_timer {
	uint64_t at_ns; /* CLOCK_MONOTONIC; valid while armed */
	void (*fire)(struct ev_timer *t);
	struct ev_loop *loop;
	struct ev_timer *next; /* internal */
};

/* A posted message. handle() runs once on the loop's thread; after it is called the loop does not
 * touch the message again, so the handler may free it. */
struct ev_msg {
	void (*handle)(struct ev_msg *m);
	struct ev_msg *next; /* internal */
};

/* What is asked before the loop goes to sleep; embedded in its owner. more() may do work that needs
 * no fd. True: do not sleep, only look at the fds, and ask again. */
struct ev_idle {
	bool (*more)(struct ev_idle *i);
};

/* Returns 0 or a negative errno (EMFILE, ENOMEM). Free it on the thread that ran it, or after that
 * thread has ended. Freeing handles no more messages: whoever posts must have stopped. */
int ev_loop_new(struct ev_loop **ret_loop);
void ev_loop_free(struct ev_loop *loop);

/* Loop thread (or before the loop runs). events: EPOLLIN, EPOLLOUT, EPOLLET… */
int ev_add(struct ev_loop *loop, struct ev_fd *w, uint32_t events);
int ev_mod(struct ev_fd *w, uint32_t events);
/* Legal inside w's own ready() and when not watched; w may be freed afterwards, even while another
 * event of the same round for it is pending. */
void ev_del(struct ev_fd *w);

void ev_timer_arm(struct ev_loop *loop, struct ev_timer *t, uint64_t at_ns); /* re-arms too */
void ev_timer_cancel(struct ev_timer *t);

/* Loop thread. The loop has one or, with NULL, none. */
void ev_set_idle(struct ev_loop *loop, struct ev_idle *i);

/* Any thread, async-signal-unsafe, never blocks on the loop. Messages are handled in order. */
void ev_post(struct ev_loop *loop, struct ev_msg *m);

/* Runs until ev_quit(); returns 0 or a negative errno. */
int ev_run(struct ev_loop *loop);
/* One round: waits at most timeout_ms (-1 forever), handles what is ready. Returns as ev_run. Not
 * from inside a handler: an owner that waits for a posted end does so between rounds. */
int ev_run_once(struct ev_loop *loop, int timeout_ms);
/* Loop thread (from a handler). */
void ev_quit(struct ev_loop *loop);

uint64_t ev_now_ns(void); /* CLOCK_MONOTONIC */

/* A thread that runs a loop: an I/O worker. The name has at most 15 bytes ("_disk0_q0"). */
struct ev_thread;
int ev_thread_new(const char *name, struct ev_thread **ret_thread);
struct ev_loop *ev_thread_loop(struct ev_thread *t);
/* CPU time that the thread has used, in ns. Any thread. */
uint64_t ev_thread_cpu_ns(struct ev_thread *t);
/* Ends the loop after the messages posted before this call, joins, frees. NULL is fine. */
void ev_thread_free(struct ev_thread *t);

#endif
