/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest-test says on its serial port: one verdict line, any number of metric lines, and
 * detail that is only kept as text. The guest is the thing under test, so nothing it prints is
 * trusted: fields are bounded and made printable, numbers are read strictly. */
#ifndef REPORT_GUEST_OUT_H
#define REPORT_GUEST_OUT_H

#include <stddef.h>
#include <stdint.h>

#define GUEST_METRICS 32

enum verdict { VERDICT_NONE, VERDICT_PASS, VERDICT_FAIL, VERDICT_SKIP };

struct guest_metric {
	char name[48];
	char unit[12];
	uint64_t value;
};

struct guest_out {
	enum verdict verdict; /* of the last "case NAME: …" line; NONE when there is none */
	char name[48];
	char reason[240];
	struct guest_metric metric[GUEST_METRICS];
	unsigned nmetrics;
};

/* Reads text (len bytes, any bytes at all). Lines that are neither are ignored. */
void guest_out_parse(const char *text, size_t len, struct guest_out *ret);

/* "pass", "fail", "skip", "none". */
const char *verdict_name(enum verdict v);

/* Copies at most room - 1 bytes of src up to len, control bytes and bytes above ASCII becoming
 * '?', spaces at the end dropped. */
void copy_printable(char *dst, size_t room, const char *src, size_t len);

#endif
