/* SPDX-License-Identifier: Apache-2.0 */
/* The text of --cpus model=baseline:FILE: one directive a line, words separated by blanks, # starts
 * a comment. The directives are each chip's own; this only cuts the text. */
#ifndef ARCH_COMMON_BASELINE_H
#define ARCH_COMMON_BASELINE_H

#include <stdarg.h>
#include "vmm/base/err.h"

#define BASELINE_WORDS	  6
#define BASELINE_LINE_MAX 256

struct baseline {
	const char *next; /* set to the text before the first call; borrowed */
	unsigned line;	  /* of the present directive, from 1 */
	unsigned nword;
	const char *word[BASELINE_WORDS]; /* into buf */
	char buf[BASELINE_LINE_MAX];
};

/* 1: the next directive is in word[]; 0: end; -EINVAL with e for a line that is too long. */
int baseline_next(struct baseline *b, struct err *e);

/* Fills e: "--cpus model=baseline:FILE, line N: …". Returns -EINVAL. */
int baseline_error(const struct baseline *b, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
