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

	pthread_mutex_t lock; /* leaf; guards what follows */
	uint8_t config[VU_CONFIG_MAX];
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

/* GET_CONFIG of the whole. */
void vu_config_request(const struct vu_peer *p, struct vu_msg *ret);
/* Copies its answer; -EPROTO when it is not one. */
int vu_config_reply(const struct vu_peer *p, const struct vu_msg *reply, uint8_t *ret_config);

#endif
