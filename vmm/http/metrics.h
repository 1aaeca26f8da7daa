/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus' text format 0.0.4: a family is one HELP and one TYPE line and then all of its
 * samples, together. */
#ifndef VMM_HTTP_METRICS_H
#define VMM_HTTP_METRICS_H

#include <stdint.h>
#include <stdio.h>

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* name is whole: "polyvisor_uptime_seconds". type: counter, gauge, histogram. */
void metrics_family(FILE *f, const char *name, const char *type, const char *help);
/* name="value", escaped. */
void metrics_label(FILE *f, const char *name, const char *value);
/* Nanoseconds in seconds, as a sample's value: " 1.234567\n". */
void metrics_seconds(FILE *f, uint64_t ns);
uint64_t metrics_resident_bytes(void); /* of this process */
uint64_t metrics_cpu_ns(void);	       /* likewise, all threads */

#endif
