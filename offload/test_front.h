/* SPDX-License-Identifier: Apache-2.0 */
/* A front-end for tests of the transport: messages by hand over a real socket, a driver's rings in
 * a memfd, and the back-end with its loop on a thread. */
#ifndef OFFLOAD_TEST_FRONT_H
#define OFFLOAD_TEST_FRONT_H

#include "devices/backend/block.h"
#include "devices/backend/netdev.h"
#include "devices/testing/guest_driver.h"
#include "offload/vu_device.h"
#include "offload/vu_msg.h"

#define FRONT_RAM (2u << 20)
#define FRONT_UVA 0x7fff00000000ull /* where the front-end sees gpa 0 */

struct front {
	/* the back-end */
	char path[64];
	struct ev_loop *loop;
	struct vu_device *device;
	struct block *block; /* one of the two */
	struct netdev *net[2];
	pthread_t thread;
	_Atomic bool stop;
	/* the front-end */
	int fd, memfd;
	uint64_t agreed;
	bool enable; /* queue_setup enables, too */
	int kick[GUEST_QUEUES], call[GUEST_QUEUES];
	struct fake_host f; /* only its memory */
	struct guest_driver g;
};

/* A disk of 1 MiB behind a socket, nobody connected. */
void front_init(struct front *t, bool net);
void front_init_pairs(struct front *t); /* or a network of two pairs */
void front_fini(struct front *t);
void front_connect(struct front *t);
void front_hang_up(struct front *t);

/* payload of size bytes at p; fds stay the caller's. */
void front_send(struct front *t, uint32_t request, uint32_t flags, const void *p, uint32_t size,
	const int *fds, unsigned nfds);
/* The next message; false when the back-end has closed (or says nothing for 5 s). */
bool front_receive(struct front *t, struct vu_msg *m);
bool front_closed(struct front *t); /* waits for it */
/* Sends with VU_NEED_REPLY; the acknowledgement's value, or UINT64_MAX when it hung up. */
uint64_t front_ask(struct front *t, uint32_t request, const void *p, uint32_t size, const int *fds,
	unsigned nfds);
uint64_t front_ask_u64(struct front *t, uint32_t request, uint64_t v);
uint64_t front_ask_state(struct front *t, uint32_t request, uint32_t index, uint32_t num);
uint64_t front_ask_fd(struct front *t, uint32_t request, uint32_t index, int fd);
/* Requests with an answer of their own. */
uint64_t front_get_u64(struct front *t, uint32_t request);
uint32_t front_get_base(struct front *t, uint32_t index);
uint64_t front_add_mem(struct front *t, uint64_t gpa, uint64_t size, uint64_t offset, int fd);

/* Connects, agrees on everything offered (and on `features` of the device's), hands memory over. */
void front_greet(struct front *t, uint64_t features);
/* greet, and ring 0 of 16 entries runs. */
void front_start(struct front *t, uint64_t features);
/* A request of virtio-blk; true when it came back with status 0. */
bool front_read_sector(struct front *t, uint64_t sector);

int front_memfd(uint64_t size, bool sealed);
unsigned front_open_fds(void); /* of this process */
/* Waits up to 5 s for that many: the other side closes its own in its own time. */
bool front_fds_become(unsigned n);

#endif
