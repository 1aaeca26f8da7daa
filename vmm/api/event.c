/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/event.h"

#define NS_PER_S 1000000000

json_t *event_json(const struct vm_event *e)
{
	json_t *properties = *e->id   ? json_pack("{s:s}", "id", e->id)
			     : e->pid ? json_pack("{s:i}", "pid", (int)e->pid)
				      : json_null();

	return json_pack("{s:{s:I,s:I},s:s,s:s,s:o}", "timestamp", "secs",
		(json_int_t)(e->since_ns / NS_PER_S), "nanos", (json_int_t)(e->since_ns % NS_PER_S),
		"source", e->source, "event", e->event, "properties", properties);
}
