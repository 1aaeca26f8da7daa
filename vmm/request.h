/* SPDX-License-Identifier: Apache-2.0 */
/* How anything inside a running machine asks for a stopped world. A request is a bit; any thread
 * sets it; vCPUs see that the word is not zero and park after the access at hand; control is told
 * by one posted message, stops the rest, serves the bits and lets the vCPUs go on. Level-triggered:
 * a bit set twice is served once, and none is lost. */
#ifndef VMM_REQUEST_H
#define VMM_REQUEST_H

#include <stdatomic.h>
#include <stdint.h>
#include "vmm/base/ev.h"

enum vm_request_bit {
	REQ_CRASH =
		1 << 0,	   /* write a crash report and end; `crash_vcpu` and `crash_why` say more */
	REQ_EXIT = 1 << 1, /* test-exit: end with `exit_value` */
	REQ_POWEROFF = 1 << 2, /* the guest switched itself off */
	REQ_RESET = 1 << 3,    /* the guest asked for a reboot */
	REQ_REMAP = 1 << 4,    /* PCI windows changed */
	REQ_STOP = 1 << 5,     /* control's own, set without a message: vm_stop_begin() */
};

struct vm_requests {
	_Atomic uint32_t bits;
	_Atomic int exit_value;
	_Atomic int crash_vcpu;		 /* -1 = none in particular */
	_Atomic(const char *) crash_why; /* static text */
	struct ev_loop *control;
	struct ev_msg msg; /* posted when the word leaves zero */
};

/* Any thread. */
static inline void vm_request(struct vm_requests *r, uint32_t bits)
{
	if (!atomic_fetch_or(&r->bits, bits))
		ev_post(r->control, &r->msg);
}

#endif
