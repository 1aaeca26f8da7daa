/* SPDX-License-Identifier: Apache-2.0 */
/* The event monitor of cloud-hypervisor: pretty-printed JSON documents, a blank line behind each,
 * written to a file, FIFO, pipe or socket:
 *
 *   {"timestamp": {"secs": 0, "nanos": 29228206}, "source": "vm", "event": "booted",
 *    "properties": null}
 *
 * A reader that is slow or gone never holds anybody up: an event that does not fit is dropped, and
 * the next one that fits is preceded by {"source": "vmm", "event": "events-dropped",
 * "properties": {"count": "3"}}. Used by one thread. */
#ifndef VMM_API_MONITOR_H
#define VMM_API_MONITOR_H

#include "vmm/base/err.h"
#include "vmm/control.h"

struct monitor;

/* where is the flag's value, "path=FILE" or "fd=N" (taken, and made
 * non-blocking, also for those with whom it is shared). A FIFO is opened without waiting for
 * its reader, whose open returns; a file is made 0600, or appended to. e names flag and field. */
int monitor_new(const char *where, struct monitor **ret_monitor, struct err *e);
void monitor_publish(struct monitor *m, const struct vm_event *e);
void monitor_free(struct monitor *m); /* NULL is fine */

#endif
