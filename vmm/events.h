/* SPDX-License-Identifier: Apache-2.0 */
/* News for outside listeners, posted to the one subscriber's loop. Handed down to whoever has news,
 * as the log is. */
#ifndef VMM_EVENTS_H
#define VMM_EVENTS_H

#include <stdatomic.h>
#include "devices/device.h"
#include "vmm/control.h"

struct events {
	struct vm_events to;
	uint64_t start_ns;
	struct log *log;
	struct log_limit limit;
	_Atomic uint64_t window; /* the second in which `used` counts */
	_Atomic uint32_t used;
};

void events_init(struct events *ev, const struct vm_events *to, struct log *log);
/* Any thread; never blocks. source and event are static text. */
void events_post(struct events *ev, const char *source, const char *event);
/* The same of a process that was started. */
void events_started(struct events *ev, const char *source, const char *event, pid_t pid);
/* What a guest's driver brought about: at most EVENTS_NOTICES a second, the rest is dropped. ev
 * NULL: nobody listens. */
#define EVENTS_NOTICES 256
void events_notice(struct events *ev, const char *id, enum dev_notice n);

#endif
