/* SPDX-License-Identifier: Apache-2.0 */
/* What a front-end says over one connection: a queue of messages, said one at a time. The next goes
 * out when the answer to the one before has come: a reply, or an acknowledgement where REPLY_ACK is
 * agreed. So a refusal names the message that was refused, and a peer that does not read cannot
 * make us hold more than VU_STEPS of them. A peer that owes an answer for too long has failed.
 *
 * Everything on the loop that it was opened on. */
#ifndef OFFLOAD_VU_STEPS_H
#define OFFLOAD_VU_STEPS_H

#include "offload/vu_msg.h"
#include "vmm/base/list.h"

#define VU_STEPS 256

/* How a message ended: 0, and the reply if the request has one; -EINVAL: refused (SET_CONFIG and
 * NET_SET_MTU, any other refusal is the end of the connection); -EPIPE: the connection is gone. */
typedef void vu_done(void *arg, int result, const struct vu_msg *reply);

struct vu_steps {
	/* Set by the owner. failed() tells once, in words, on the loop and never from inside a call
	 * into here; the owner then closes. */
	void (*failed)(struct vu_steps *s, const char *why);
	unsigned timeout_ms; /* for each answer */
	uint64_t agreed;     /* protocol features */

	struct ev_loop *loop; /* NULL = closed */
	struct vu_conn *conn;
	struct list list;
	unsigned n;
	bool awaiting; /* the first has been said, its answer is due */
	bool dead;     /* failed() is on its way or was called */
	struct ev_timer timer;
	char why[128];
};

/* Takes fd on success. */
int vu_steps_open(struct vu_steps *s, struct ev_loop *loop, int fd);
/* Every message that is left ends with -EPIPE. Closed twice is fine. */
void vu_steps_close(struct vu_steps *s);
/* Queues m; its fds are duplicated. done may be NULL. -ENOTCONN, -ENOMEM, or what dup(2) says. */
int vu_steps_say(struct vu_steps *s, const struct vu_msg *m, vu_done *done, void *arg);
/* Nobody is told any more how they end, except whoever passed `but` as arg. */
void vu_steps_mute(struct vu_steps *s, const void *but);
/* The peer is not to be believed any more: fails as if it had broken a rule. */
void vu_steps_fail(struct vu_steps *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
