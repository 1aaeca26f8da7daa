/* SPDX-License-Identifier: Apache-2.0 */
/* Framed messages with file descriptors over a unix stream socket, without ever blocking. Each
 * message is judged by a table (size, count of fds, protocol feature that must have been agreed)
 * before any handler sees it; one that breaks a rule ends the connection with one line in the log.
 */
#ifndef OFFLOAD_VU_MSG_H
#define OFFLOAD_VU_MSG_H

#include <stdbool.h>
#include "offload/vhost_user.h"
#include "vmm/base/ev.h"
#include "vmm/base/log.h"

struct vu_rule {
	const char *name;
	uint16_t min, max; /* bytes of the request's payload */
	uint8_t fds_min, fds_max;
	bool replies; /* the request has a reply of its own */
	uint16_t reply_min, reply_max;
	uint8_t reply_fds; /* at most, with the reply */
	/* What the numbers above cannot say (a count inside the payload); NULL = nothing. */
	bool (*shape)(const struct vu_msg *m);
	uint64_t needs; /* protocol feature that must have been agreed, as a mask; 0 = none */
};
/* NULL: no such request. Pure. */
const struct vu_rule *vu_rule(uint32_t request);
const struct vu_rule *vu_backend_rule(uint32_t request); /* on the back-end's own channel */
/* 0, or -EPROTO and *ret_why (static text). m is a request when !reply. A reply to a request that
 * has none of its own is the acknowledgement of REPLY_ACK, a u64. VU_NEED_REPLY is no offence where
 * REPLY_ACK was not agreed: front-ends set it early and then expect no answer. Pure. */
int vu_check(const struct vu_rule *r, const struct vu_msg *m, bool reply, uint64_t agreed,
	const char **ret_why);

struct vu_conn;

struct vu_conn_ops {
	/* A whole message, header valid (version, size within the union), not yet judged by
	 * vu_check. Negative ends the connection. Loop thread. */
	int (*message)(void *arg, struct vu_msg *m);
	/* The peer left or broke the rules; the connection is dead, vu_conn_free() it. Never called
	 * from vu_conn_send. */
	void (*gone)(void *arg, int why);
};

/* Takes fd on success. */
int vu_conn_new(struct ev_loop *loop, int fd, const struct vu_conn_ops *ops, void *arg,
	struct vu_conn **ret_conn);
void vu_conn_free(struct vu_conn *c); /* also from inside its handlers; NULL is fine */
/* While paused no message is delivered; the peer's leaving is. Also from inside the handlers. */
void vu_conn_pause(struct vu_conn *c, bool paused);
bool vu_conn_hung_up(const struct vu_conn *c); /* the peer has closed, heard or not */
/* Queues m (fds are dup'ed when it cannot leave at once). -EPIPE when the peer lets more than 64
 * messages pile up, or has left. */
int vu_conn_send(struct vu_conn *c, const struct vu_msg *m);

/* Closes what is left in m->fds. */
void vu_msg_close_fds(struct vu_msg *m);

#endif
