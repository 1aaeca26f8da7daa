/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a kernel that has vhost-net and vhost-vdpa. Has the symbols of vhost_sys.c, and those
 * of net_tap.c that vhost-net uses. Every call is noted as a word or two, "SET_VRING_NUM 0 16";
 * descriptors are real eventfds, so that leaks show. One device at a time. */
#ifndef OFFLOAD_VHOST_FAKE_H
#define OFFLOAD_VHOST_FAKE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_RINGS 17

struct vhost_fake {
	/* What the device says; a test sets it before. */
	uint64_t features, backend_features;
	uint32_t type, queues, config_len;
	uint64_t iova_first, iova_last;
	uint8_t config[256];
	int open_error;	      /* negative errno */
	int fail_at;	      /* the n-th call from here fails, 1 = the next; 0 = none */
	int error;	      /* with this negative errno */
	uint32_t moved;	      /* GET_VRING_BASE answers what was set plus this */
	bool refuse_features; /* FEATURES_OK does not stay */

	/* What became of it. */
	char said[8192]; /* words, each with a space behind it */
	const char *failed;
	uint64_t driver_features, memory; /* bytes mapped, or in the table */
	uint8_t status;
	uint32_t num[FAKE_RINGS], base[FAKE_RINGS]; /* by 2 * pair + index */
	uint64_t desc[FAKE_RINGS];
	int kick[FAKE_RINGS], call[FAKE_RINGS], err[FAKE_RINGS], tap[FAKE_RINGS], config_call;
	bool attached[FAKE_RINGS]; /* taps */
	unsigned opened;
	int fd[FAKE_RINGS];
	int tap_end[FAKE_RINGS]; /* of pipes: closed, the tap has an error */
	unsigned tun;
	pthread_mutex_t lock; /* over all of it while a device runs */
};

extern struct vhost_fake vhost_fake;

void vhost_fake_reset(void); /* a device of no type with no features */
/* Waits up to 5 s for the words to have been said, one after the other, since the last call of
 * this, and nothing else. */
bool vhost_fake_said(const char *words);
void vhost_fake_forget(void); /* what was said so far */

#endif
