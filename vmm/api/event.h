/* SPDX-License-Identifier: Apache-2.0 */
/* An event as JSON, in the words of cloud-hypervisor's event monitor. */
#ifndef VMM_API_EVENT_H
#define VMM_API_EVENT_H

#include <jansson.h>
#include "vmm/control.h"

/* {"timestamp": {"secs": …, "nanos": …}, "source": …, "event": …, "properties": {"id": …} or null}
 * Returns a new reference, or NULL when out of memory. */
json_t *event_json(const struct vm_event *e);

#endif
