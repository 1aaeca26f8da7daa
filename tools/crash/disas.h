/* SPDX-License-Identifier: Apache-2.0 */
/* One instruction at a time, in a mode as crash reports name them: "x86-64", "x86-32", "x86-16",
 * "arm64", "riscv64". disas_capstone.c needs the library; disas_none.c stands in without it. */
#ifndef TOOLS_CRASH_DISAS_H
#define TOOLS_CRASH_DISAS_H

#include <stddef.h>
#include <stdint.h>

struct disas;

/* 0, or -EOPNOTSUPP where there is no disassembler for the mode. */
int disas_new(const char *mode, struct disas **ret_disas);
void disas_free(struct disas *d); /* NULL is fine */
/* Decodes the instruction at bytes, which is at addr. Returns its length and fills text, or 0 when
 * the n bytes do not start an instruction. */
unsigned disas_one(
	struct disas *d, const uint8_t *bytes, size_t n, uint64_t addr, char *text, size_t cap);

#endif
