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
	OPT_PINS, /* char *:   "[0@[0,2-3],1@[4]]" (vmm/base/pins.h), owned by the struct; in JSON
		     [{"vcpu": 0, "host_cpus": [0, 2, 3]}, …], "vcpu" being values[0] */
};

struct opt {
	const char *name;
	const char *json; /* key in JSON where it differs ("boot" is "boot_vcpus" there) */
	enum opt_type type;
	size_t offset;		   /* of the field in the struct */
	uint64_t min, max;	   /* numbers, max 0 = no limit; OPT_STR: length, max 0 = 4095 */
	const char *const *values; /* OPT_ENUM: NULL-terminated */
	const char *const *json_values; /* their spelling in JSON ("Pty"); read in any case */
	const char *help;		/* one short clause */
	bool required;
	size_t set_offset; /* of a bool that tells "was given"; 0 = none */
};

/* A JSON key that others' documents may hold and we do not offer: only its default is taken. */
struct opt_unoffered {
	const char *key;
	const char *value; /* the default, as JSON text; null is always taken */
};

struct opt_table {
	const char *flag; /* "--disk" */
	const char *help; /* one line */
	const struct opt *opts;
	unsigned n;
	size_t size; /* of the struct */
	const char *
		bare_key; /* the key that a first word without '=' sets, or NULL ("--serial tty") */
	const struct opt_unoffered *unoffered;
	unsigned nunoffered;
};

/* Parses text into *s, which the caller has filled with defaults. Unknown key, key twice, value not
 * allowed, required key missing: -EINVAL and e as ERR_USAGE. A value may be in "double quotes" or
 * [brackets] to hold commas. Strings set before (defaults) are freed when replaced. On error the
 * struct can be freed with opts_free(). */
int opts_parse(const struct opt_table *t, const char *text, void *s, struct err *e);
/* Sets one field from text; the step inside opts_parse. */
int opts_set(const struct opt_table *t, const char *key, const char *value, void *s, struct err *e);

/* Where a field stands, for messages: "--disk" on the command line, "disks[1]" in JSON. */
struct opt_at {
	const char *path;
	bool json;
};
/* The same for one option, wherever it stands; what is behind opts_set and JSON values. */
int opts_set_at(
	const struct opt_at *at, const struct opt *o, const char *value, void *s, struct err *e);
/* "on or off", "a number between 1 and 255": what o takes there, as far as buf holds it. */
const char *opts_allowed(const struct opt_at *at, const struct opt *o, char *buf, size_t cap);
/* The range of a number or of a text's length, where the table leaves it open too. */
uint64_t opts_max(const struct opt *o);
int64_t opts_int_min(const struct opt *o);
const char *opts_json_key(const struct opt *o);
/* Frees the strings of *s. */
void opts_free(const struct opt_table *t, void *s);
/* Deep copy, strings duplicated. Returns 0 or -ENOMEM. */
int opts_copy(const struct opt_table *t, const void *from, void *to);

/* "  --disk path=FILE,readonly=on|off,…" and the lines that explain the keys. */
void opts_help(const struct opt_table *t, FILE *out);

#endif
