/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to a vhost-user back-end, as the proxy uses it. Everything on the loop it is
 * attached to.
 *
 *   away ──connect──► shaking hands ──► ready ──┐
 *    ▲  ▲                  │                    │  gone, silent for timeout_ms, or broke a rule
 *    │  └──────────────────┴────────────────────┘
 *    └─ back-off 50 ms … 2 s, for as long as it takes
 */
#ifndef OFFLOAD_VU_PEER_H
#define OFFLOAD_VU_PEER_H

#include "devices/virtio/virtq.h"
#include "offload/vhost_user.h"
#include "offload/vu_proxy.h"
#include "offload/vu_steps.h"

/* The one device over a peer. Called on the loop. */
struct vu_client {
	void (*ready)(void *arg); /* a new connection, nothing set up on it yet */
	void (*gone)(void *arg);  /* after every step of it has ended */
	void (*config_changed)(void *arg);
	void (*area)(void *arg); /* vu_peer_area() ended: rings may be set up */
	void *arg;
};
/* -EBUSY: there is a device already, or it is another loop. From here on the peer reconnects. */
int vu_peer_attach(struct vu_peer *p, struct ev_loop *loop, const struct vu_client *c);
/* Its steps' done() are not called any more. Memory that it gave is taken back. */
void vu_peer_detach(struct vu_peer *p);

/* As vu_steps_say(); -ENOTCONN unless ready. */
int vu_peer_say(struct vu_peer *p, const struct vu_msg *m, vu_done *done, void *arg);
int vu_peer_say_u64(struct vu_peer *p, uint32_t request, uint64_t value);
int vu_peer_say_state(struct vu_peer *p, uint32_t request, unsigned index, uint32_t num,
	vu_done *done, void *arg);
/* request is SET_VRING_KICK, CALL or ERR; fd -1 = none. */
int vu_peer_say_fd(struct vu_peer *p, uint32_t request, unsigned index, int fd);
/* Gives it all of mem, unless it has it already on this connection. */
int vu_peer_share(struct vu_peer *p, const struct guest_mem *mem);
/* Ends the driver's session, all its rings stand: what was in flight is nothing, and a back-end
 * that can begins anew (RESET_DEVICE). */
void vu_peer_reset(struct vu_peer *p);

/* The area in which the back-end keeps what it has popped and not completed ("Inflight I/O
 * tracking"), for a successor; vu_peer_area.c. Gives it to this connection, after SET_FEATURES and
 * before rings; the back-end makes it when there is none. True: rings may follow; false: when
 * client->area() is called. */
bool vu_peer_area(struct vu_peer *p);
bool vu_peer_has_area(const struct vu_peer *p);
/* Where packed ring i, of size slots at guest-physical `ring`, has its next used descriptor, when
 * the back-end has left it: 1: *ret; 0: no back-end has begun with it; -ENODATA: nobody can tell.
 */
int vu_peer_area_used(struct vu_peer *p, unsigned i, const struct guest_mem *mem, uint64_t ring,
	uint16_t size, struct virtq_place *ret);

/* Ends the connection: the peer lied. why is static text. */
void vu_peer_drop(struct vu_peer *p, const char *why);

bool vu_peer_ready(const struct vu_peer *p); /* on the loop */
const struct vu_peer_opts *vu_peer_opts(const struct vu_peer *p);

/* Any thread. */
uint64_t vu_peer_offers(struct vu_peer *p); /* what a driver may be offered */
void vu_peer_config(struct vu_peer *p, uint32_t off, void *buf, uint32_t len);
void vu_peer_config_set(struct vu_peer *p, uint32_t off, const void *buf, uint32_t len);
/* What has been set since the driver's session began, and maybe bytes between; size 0 = nothing. */
void vu_peer_config_wrote(struct vu_peer *p, struct vu_config *ret);
/* What a successor must offer, 0 = nothing is agreed with a driver. */
void vu_peer_needs(struct vu_peer *p, uint64_t features);

#endif
