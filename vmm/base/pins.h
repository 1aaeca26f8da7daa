/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of pins, as cloud-hypervisor writes them: "[0@[0,2-3],1@[4]]" binds 0 to the host CPUs 0, 2
 * and 3, and 1 to CPU 4. What is bound (a vCPU, a queue) is the user's affair. */
#ifndef VMM_BASE_PINS_H
#define VMM_BASE_PINS_H

#include <sched.h>
#include <stdio.h>

/* 0, or -EINVAL: not such a list, a CPU or number from CPU_SETSIZE up, or the same one twice. */
int pins_check(const char *text);
/* The CPUs of `who`: 1, or 0 when the (checked) list does not name it; NULL names nobody. */
int pins_find(const char *text, unsigned who, cpu_set_t *ret_cpus);
/* Takes one entry after another: *at begins as the text. 1, 0 at the end, or -EINVAL. */
int pins_next(const char **at, unsigned *ret_who, cpu_set_t *ret_cpus);
/* Writes "0@[0,2-3]". */
void pins_write(FILE *out, unsigned who, const cpu_set_t *cpus);

#endif
