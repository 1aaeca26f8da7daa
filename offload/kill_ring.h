/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's side of a ring, split or packed, as a real driver has it: many chains in flight,
 * direct or indirect, ids reused in any order, kicks and interrupts suppressed as both sides ask.
 * The device at the other end may vanish at any instant; the ring then stays as it is, and what
 * has become visible in it counts. One thread. */
#ifndef OFFLOAD_KILL_RING_H
#define OFFLOAD_KILL_RING_H

#include <stdbool.h>
#include <stdint.h>

#define KILL_RING	256 /* entries */
#define KILL_RING_BYTES (64u << 10)

struct kill_buf {
	uint64_t gpa;
	uint32_t len;
	bool write; /* by the device */
};

struct kill_ring {
	uint8_t *mem;		    /* gpa 0 */
	uint64_t desc, avail, used; /* gpa; packed: ring, driver area, device area */
	bool packed, event_idx;
	uint16_t nfree, free_head, next[KILL_RING]; /* of descriptors (split), of ids (packed) */
	uint16_t ndesc[KILL_RING];		    /* by id; 0: not in flight */
	uint16_t added, kicked;		/* chains (split), slots (packed), modulo 2^16 */
	uint16_t seen;			/* split: used index up to which we looked */
	uint16_t avail_slot, used_slot; /* packed */
	bool avail_wrap, used_wrap;
};

/* At gpa `at`, KILL_RING_BYTES of zeroes. */
void kill_ring_init(struct kill_ring *r, uint8_t *mem, uint64_t at, bool packed, bool event_idx);
/* Makes a chain available; table: gpa for an indirect one, or 0. Its id, or -1 when full. */
int kill_ring_add(struct kill_ring *r, const struct kill_buf *b, unsigned n, uint64_t table);
/* Does the device want a kick for what was added since the last call? */
bool kill_ring_wants_kick(struct kill_ring *r);
/* 1: a completion; 0: none; -1: of an id that is not in flight, or an index that is impossible. */
int kill_ring_take(struct kill_ring *r, uint16_t *ret_id, uint32_t *ret_len);
/* Asks for an interrupt at the next completion; true when there is one already. */
bool kill_ring_arm(struct kill_ring *r);
/* The operand of SET_VRING_BASE for a device that comes anew: everything visible was taken. */
uint32_t kill_ring_base(const struct kill_ring *r);

#endif
