/* SPDX-License-Identifier: Apache-2.0 */
/* polyvisor-crash: reads the raw report that the VMM writes and renders it for a person. The format
 * is docs/crash-report.md. Nothing but the head of a report is certain to be there: a machine may
 * be in so bad a way that its registers cannot be read. */
#ifndef TOOLS_CRASH_CRASH_H
#define TOOLS_CRASH_CRASH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "vmm/base/err.h"

/* The whole program; returns the exit status: 0, 1 for a file that is no report, 2 for usage. */
int crash_main(int argc, char **argv, FILE *out, FILE *err);

/* Reads the file ("-" is stdin) and checks its head. *ret_report is json_decref()'d by the caller.
 */
int crash_load(const char *path, json_t **ret_report, struct err *e);

/* all: also what is rarely wanted: model-specific and unnamed registers, long state, zeroes. */
void crash_render(const json_t *report, bool all, FILE *out);
void crash_render_regs(const json_t *regs, bool all, FILE *out);
void crash_render_code(const char *mode, const json_t *code, FILE *out);

/* The text of a member, printable bytes only, or otherwise. buf has cap bytes. */
const char *crash_text(
	const json_t *obj, const char *key, const char *otherwise, char *buf, size_t cap);
/* A member that is a number, or a number as text ("0x…"). */
bool crash_number(const json_t *obj, const char *key, uint64_t *ret);
bool crash_value(const json_t *value, uint64_t *ret);
/* Bytes from a hex string; returns how many, at most cap. */
size_t crash_bytes(const json_t *obj, const char *key, uint8_t *ret, size_t cap);

#endif
