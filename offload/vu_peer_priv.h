/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of struct vu_peer, for vu_peer.c (life) and vu_shake.c (handshake). */
#ifndef OFFLOAD_VU_PEER_PRIV_H
#define OFFLOAD_VU_PEER_PRIV_H

#include <pthread.h>
#include "offload/vu_peer.h"

/* What a back-end says of itself in one handshake. */
struct vu_offer {
	uint64_t features, protocol; /* protocol: of those we speak */
	uint64_t queues, slots;
	uint8_t config[VU_CONFIG_MAX];
};

enum peer_state { PEER_AWAY, PEER_SHAKING, PEER_READY };

/* vu_peer_area.c */
struct peer_area {
	int fd; /* -1 = none */
	struct vu_inflight at;
	bool given;  /* on this connection: rings may follow */
	bool asking; /* the answer to GET_INFLIGHT_FD is due */
	bool stale;  /* and is for a driver that is no more */
};

struct vu_peer {
	struct vu_peer_opts o; /* its texts are ours */
	struct vu_steps steps;
	enum peer_state state;
	struct vu_offer offer; /* of this connection */
	unsigned shaking;      /* answers that the handshake still waits for */
	char why[160];	       /* the last failure */

	/* Before the first device: where the connection is kept. */
	int fd;

	/* From the first device on. */
	struct ev_loop *loop;
	const struct vu_client *client; /* NULL = no device now */
	struct vu_client client_copy;
	struct ev_timer again;
	unsigned wait_ms;
	bool complained; /* in this outage */
	bool refreshing; /* config space is being fetched */
	struct vu_conn *back;
	struct vu_region given[GUEST_MEM_REGIONS]; /* memory that it has on this connection */
	unsigned ngiven;
	struct peer_area area;

	pthread_mutex_t lock; /* leaf; guards what follows */
	uint8_t config[VU_CONFIG_MAX];
	uint32_t wrote_from, wrote_to; /* bytes of it that the driver wrote */
	uint64_t needs;
	struct vu_peer_status status;
};

/* Begins the handshake on open steps; ends in vu_peer_shaken(), or the steps fail. */
void vu_shake_begin(struct vu_peer *p);
/* 0, or -EINVAL and why (of size cap) says what is missing in the offer. */
int vu_shake_judge(struct vu_peer *p, char *why, size_t cap);
void vu_peer_shaken(struct vu_peer *p);

/* vu_say.c: the guest's memory is about to go. */
void vu_peer_take_back(struct vu_peer *p);
/* Fetches config space anew. */
void vu_peer_refresh(struct vu_peer *p);
/* vu_peer_area.c: the connection is gone, the area stays. */
void vu_peer_area_gone(struct vu_peer *p);

/* vu_front.c. What follows from the number of queues; and what of a peer's config space is ours to
 * say. */
void vu_front_queues(struct vu_peer_opts *o);
void vu_front_config(const struct vu_peer_opts *o, uint8_t *config);

/* GET_CONFIG of the whole. */
void vu_config_request(const struct vu_peer *p, struct vu_msg *ret);
/* Copies its answer; -EPROTO when it is not one. */
int vu_config_reply(const struct vu_peer *p, const struct vu_msg *reply, uint8_t *ret_config);

#endif
