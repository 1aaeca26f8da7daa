/* SPDX-License-Identifier: Apache-2.0 */
/* How long a worker may look at its rings before it sleeps. Looking saves the driver's kick and the
 * worker's own waking, and burns a core meanwhile; so it is done where it pays, and rationed.
 *
 * The window grows when news came within it or soon after, and is halved when it would have been in
 * vain at any length. Time spent looking, in vain or not, is paid from an account that fills at
 * `percent` of real time and holds no more than one window: over any stretch of time T no more than
 * percent of T and one window is spent. */
#ifndef DEVICES_VIRTIO_QUEUE_POLL_H
#define DEVICES_VIRTIO_QUEUE_POLL_H

#include <stdbool.h>
#include <stdint.h>

#define POLL_WINDOW_MIN 4000
#define POLL_WINDOW_MAX 64000

/* One worker's. All times are of one clock, in ns. */
struct poll_budget {
	unsigned percent;
	uint64_t window;
	int64_t account;
	uint64_t filled_at;
	uint64_t slept_at; /* 0: it has not slept since it was asked last */
};

void poll_budget_init(struct poll_budget *p, unsigned percent, uint64_t now);
/* Once before a worker begins to look: what its sleep, if it had one, has taught. */
void poll_budget_woke(struct poll_budget *p, uint64_t now);
/* How long it may look from now on; 0: not at all. */
uint64_t poll_budget_window(struct poll_budget *p, uint64_t now);
/* It looked for ns, and found something or not. */
void poll_budget_spent(struct poll_budget *p, uint64_t ns, bool found);
void poll_budget_sleeps(struct poll_budget *p, uint64_t now);

#endif
