/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics: Prometheus's text format 0.0.4, of the process and, when there is one, the machine.
 */
#ifndef VMM_API_METRICS_H
#define VMM_API_METRICS_H

#include <stddef.h>
#include "vmm/http/metrics.h"
#include "vmm/info.h"

struct metrics {
	const struct vm_info *info;	    /* NULL: no machine is created */
	const struct vm_counters *counters; /* NULL: none is running */
	uint64_t uptime_ns;
	unsigned clients; /* of the API */
};
/* Malloc'ed, *ret_len bytes and a NUL; NULL when out of memory. */
char *metrics_text(const struct metrics *m, size_t *ret_len);

#endif
