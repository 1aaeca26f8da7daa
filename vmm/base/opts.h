/* SPDX-License-Identifier: Apache-2.0 */
/* Typed option tables. One table describes the fields of one struct; from it come the parser of
 * `key=value,key=value` on the command line, the JSON reader and writer (opts_json.c), the help
 * text and the schema. Every message names the flag and the field and says what is allowed. */
#ifndef VMM_BASE_OPTS_H
#define VMM_BASE_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "vmm/base/err.h"

enum opt_type {
	OPT_BOOL, /* bool:     on|off|true|false */
	OPT_U32,  /* uint32_t: number in min..max */
	OPT_U64,  /* uint64_t: number in min..max */
	OPT_SIZE, /* uint64_t: number with K/M/G/T in min..max */
	OPT_INT,  /* int:      number in (int64_t)min..(int64_t)max, may be negative */
	OPT_STR,  /* char *:   strdup'ed, owned by the struct */
	OPT_ENUM, /* int:      index into values[] */
	OPT_MAC,  /* uint8_t[6] */
	OPT_FD,	  /* int:      an open file descriptor number, -1 = none */
};

struct opt {
	const char *name;
	enum opt_type type;
	size_t offset;		   /* of the field in the struct */
	uint64_t min, max;	   /* numbers, max 0 = no limit; OPT_STR: length, max 0 = 4095 */
	const char *const *values; /* OPT_ENUM: NULL-terminated */
	const char *help;	   /* one short clause */
	bool required;
	size_t set_offset; /* of a bool that tells "was given"; 0 = none */
};

struct opt_table {
	const char *flag; /* "--disk" */
	const char *help; /* one line */
	const struct opt *opts;
	unsigned n;
	size_t size; /* of the struct */
	const char *
		bare_key; /* the key that a first word without '=' sets, or NULL ("--serial tty") */
};

/* Parses text into *s, which the caller has filled with defaults. Unknown key, key twice, value not
 * allowed, required key missing: -EINVAL and e as ERR_USAGE. A value may be in "double quotes" to
 * hold commas. Strings set before (defaults) are freed when replaced. On error the struct can be
 * freed with opts_free(). */
int opts_parse(const struct opt_table *t, const char *text, void *s, struct err *e);
/* Sets one field from text; the step inside opts_parse and behind JSON values. */
int opts_set(const struct opt_table *t, const char *key, const char *value, void *s, struct err *e);
/* Frees the strings of *s. */
void opts_free(const struct opt_table *t, void *s);
/* Deep copy, strings duplicated. Returns 0 or -ENOMEM. */
int opts_copy(const struct opt_table *t, const void *from, void *to);

/* "  --disk path=FILE,readonly=on|off,…" and the lines that explain the keys. */
void opts_help(const struct opt_table *t, FILE *out);

#endif
