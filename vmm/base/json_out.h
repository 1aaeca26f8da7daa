/* SPDX-License-Identifier: Apache-2.0 */
/* A writer of JSON text to a FILE: escapes, commas, indentation; no tree, no allocation. Used for
 * state dumps and crash reports, which must work in a process that is in a bad way. Reading JSON is
 * another matter and uses a library. */
#ifndef VMM_BASE_JSON_OUT_H
#define VMM_BASE_JSON_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_OUT_DEPTH 32

struct json_out {
	FILE *f;
	unsigned depth;
	bool first[JSON_OUT_DEPTH];
};

void json_out_init(struct json_out *j, FILE *f);
/* Writes only `"name": `; the caller writes the value to j->f (a state dump, say). */
void json_key(struct json_out *j, const char *name);
/* name is NULL for array elements and for the document itself. */
void json_obj(struct json_out *j, const char *name);
void json_obj_end(struct json_out *j);
void json_arr(struct json_out *j, const char *name);
void json_arr_end(struct json_out *j);
void json_str(struct json_out *j, const char *name,
	const char *s); /* s NULL writes null; bytes that are not UTF-8 become U+FFFD */
void json_u64(struct json_out *j, const char *name, uint64_t v);
void json_i64(struct json_out *j, const char *name, int64_t v);
void json_hex(struct json_out *j, const char *name,
	uint64_t v); /* "0x…" as a string: JSON numbers lose bits */
void json_bool(struct json_out *j, const char *name, bool v);
void json_bytes(
	struct json_out *j, const char *name, const void *p, size_t n); /* lower-case hex string */

#endif
