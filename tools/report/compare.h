/* SPDX-License-Identifier: Apache-2.0 */
/* Differences between two reports, as diff(1) would think of them. */
#ifndef REPORT_COMPARE_H
#define REPORT_COMPARE_H

#include <jansson.h>
#include <stdio.h>

/* Prints a line for each difference: facts and test results that are not equal, and figures whose
 * medians are more than tolerance percent of the smaller apart. What must differ (the date, times
 * of single tests) is not compared. Returns how many, or a negative errno. */
int compare_reports(const json_t *a, const json_t *b, unsigned tolerance, FILE *out);

#endif
