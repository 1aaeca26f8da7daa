/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, strings and a small printf to the console. */
#ifndef GUEST_TEXT_H
#define GUEST_TEXT_H

#include "types.h"

void *memset(void *p, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/* Prints to the console. Knows %c %s %d %u %x %% with `l`, a width and a leading zero, as in C. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void vsay(const char *fmt, va_list ap);

/* Reads a number at s, decimal or 0x…, with an optional K, M or G; moves *s behind it. */
uint64_t parse_number(const char **s);

/*
 * Finds the nth (from 0) "key=value" word of a command line. Returns the value, which ends at a
 * space or at the line's end, or NULL.
 */
const char *word_value(const char *line, const char *key, unsigned nth);

/* True if the value that word_value() returned is exactly `text`. */
bool word_is(const char *value, const char *text);

#endif
