/* SPDX-License-Identifier: Apache-2.0 */
/* What happened between two looks at a device of polyvisor-offload. Pure: JSON in, JSON out. */
#ifndef TOOLS_POLYCTL_RATES_H
#define TOOLS_POLYCTL_RATES_H

#include <jansson.h>

/* now and before are a device as GET …/devices has it, seconds lie between; before may be NULL, and
 * seconds 0: then it is all since the device was made, and there are no rates. A count that has
 * become smaller began anew. A new reference, or NULL when out of memory:
 *
 *   id type health connected_seconds, then of all queues, and in "queues" of each:
 *   requests read_bytes written_bytes errors dropped in_flight
 *   requests_per_s read_bytes_per_s written_bytes_per_s cpu_percent poll_percent   null without
 * seconds p50_ns p99_ns p999_ns kicks_per_io interrupts_per_io cpu_ns_per_io             null
 * without requests */
json_t *rates_of(const json_t *now, const json_t *before, double seconds);

#endif
