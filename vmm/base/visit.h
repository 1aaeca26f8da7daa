/* SPDX-License-Identifier: Apache-2.0 */
/* visit(): one function per state struct that walks plain data and so serves save, load, JSON dump
 * and compare. The visitor keeps the first error; visiting functions need not check each call, they
 * return visit_status() at the end. Names are stable: they are the format.
 *
 * Stream: each item is { u8 type, u8 name length, name, payload }, little-endian; a struct carries
 * a version. Loading is strict: names and types must match in order, so a mismatch names its field.
 */
#ifndef VMM_BASE_VISIT_H
#define VMM_BASE_VISIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum visit_mode { VISIT_SAVE, VISIT_LOAD, VISIT_DUMP, VISIT_COMPARE };

struct visitor; /* control thread, world stopped */

/* A growable byte buffer that the caller owns and frees with visit_buf_fini(). */
struct visit_buf {
	uint8_t *data;
	size_t len, cap;
};
void visit_buf_fini(struct visit_buf *b);

int visitor_new_save(struct visit_buf *out, struct visitor **ret_v);
/* data is borrowed until visitor_free(). COMPARE walks like LOAD but writes nothing: it fails with
 * -ENOTUNIQ at the first field that differs. */
int visitor_new_load(const uint8_t *data, size_t len, struct visitor **ret_v);
int visitor_new_compare(const uint8_t *data, size_t len, struct visitor **ret_v);
/* Writes JSON (an object's members, braces included) to out as it goes. */
int visitor_new_dump(FILE *out, struct visitor **ret_v);
void visitor_free(struct visitor *v);

enum visit_mode visit_mode(const struct visitor *v);
/* 0 or the first error: -EINVAL for a malformed or foreign stream, -ENOTUNIQ for a difference.
 * visit_error_path() then names the field ("vm.vcpu0.regs.rip"). */
int visit_status(const struct visitor *v);
const char *visit_error_path(const struct visitor *v);
/* Fails the visit at the current path: a value loaded but not acceptable. Returns code. */
int visit_fail(struct visitor *v, int code);

/* Opens a struct. *version is written when saving, and replaced by the stream's when loading, which
 * must lie in 1..*version. */
void visit_begin(struct visitor *v, const char *name, uint32_t *version);
void visit_end(struct visitor *v);
/* Opens an array of *n elements, at most max; loading sets *n. Elements are visited in order with
 * name NULL. */
void visit_array(struct visitor *v, const char *name, uint32_t *n, uint32_t max);
void visit_array_end(struct visitor *v);

void visit_bool(struct visitor *v, const char *name, bool *x);
void visit_u8(struct visitor *v, const char *name, uint8_t *x);
void visit_u16(struct visitor *v, const char *name, uint16_t *x);
void visit_u32(struct visitor *v, const char *name, uint32_t *x);
void visit_u64(struct visitor *v, const char *name, uint64_t *x);
/* len is fixed by the struct (a register image, a MAC). */
void visit_bytes(struct visitor *v, const char *name, void *bytes, size_t len);
/* A string in a fixed char array of cap bytes, always terminated. */
void visit_str(struct visitor *v, const char *name, char *str, size_t cap);

#endif
