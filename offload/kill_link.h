/* SPDX-License-Identifier: Apache-2.0 */
/* polyvisor-offload as a child, and a blocking front-end's connection to it: whatever is refused,
 * or closed by a process that was not killed, is a failure with words. */
#ifndef OFFLOAD_KILL_LINK_H
#define OFFLOAD_KILL_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define KILL_QUEUES 4

struct kill_link {
	/* Set by the owner. */
	char **argv; /* of the program */
	const char *socket;
	unsigned queues;
	uint16_t ring; /* entries of each */
	bool packed, event_idx, inflight;
	int memfd;
	uint64_t mem_size; /* gpa 0, and the same as the front-end's own address */
	struct {
		uint64_t desc, avail, used;
		uint32_t base;
		int kick, call;
	} queue[KILL_QUEUES];

	pid_t pid; /* 0: none */
	int fd;	   /* -1: not connected */
	/* The in-flight area, from the first connection on. */
	int area_fd;
	uint64_t area_size, area_offset;
	bool dead; /* it was waited for */
	char why[200];
};

/* Starts the process and does not wait for it. */
int kill_link_spawn(struct kill_link *l);
/* Connects, shakes hands, starts the rings. 0; -EPIPE: it was killed meanwhile; another negative
 * errno, and why: it failed by itself. */
int kill_link_up(struct kill_link *l);
/* Hangs up and waits for the process, which was sent SIGKILL. Negative, with why, if it had ended
 * otherwise. */
int kill_link_down(struct kill_link *l);

#endif
