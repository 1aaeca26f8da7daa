/* SPDX-License-Identifier: Apache-2.0 */
/* Writes AML (ACPI 6.5 ch. 20) into a fixed buffer: just what our DSDT needs. What does not fit is
 * dropped and noted in `full`, so callers check once at the end. Objects that contain others are
 * opened and closed; aml_open functions return the token that aml_close() takes. */
#ifndef ARCH_X86_64_AML_H
#define ARCH_X86_64_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf; /* not owned */
	size_t len, cap;
	bool full;
};

/* Opcodes used as they are (ACPI 6.5 §20.2). */
enum aml_op {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_LOCAL0 = 0x60,
	AML_ARG0 = 0x68, /* ARG0 + n */
	AML_STORE = 0x70,
	AML_AND = 0x7b,
	AML_OR = 0x7d,
	AML_DWORD_FIELD = 0x8a,
	AML_LNOT = 0x92, /* before AML_LEQUAL: not equal */
	AML_LEQUAL = 0x93,
	AML_RETURN = 0xa4,
	AML_NOTIFY = 0x86,
};

void aml_byte(struct aml *a, uint8_t b);
void aml_bytes(struct aml *a, const void *p, size_t n);
void aml_le(struct aml *a, uint64_t v, unsigned bytes);

void aml_name(struct aml *a, const char seg[4]); /* a name of one segment */
void aml_int(struct aml *a, uint64_t v);	 /* the shortest constant */
void aml_string(struct aml *a, const char *s);
void aml_eisaid(struct aml *a, const char id[7]); /* "PNP0A08" as an integer (§19.3.4) */

size_t aml_scope(struct aml *a, const char seg[4]); /* below the root */
size_t aml_device(struct aml *a, const char seg[4]);
size_t aml_method(struct aml *a, const char seg[4], unsigned args);
size_t aml_if(struct aml *a);
size_t aml_else(struct aml *a);
size_t aml_package(struct aml *a, uint8_t n);
void aml_close(struct aml *a, size_t token);

void aml_buffer(struct aml *a, const void *p, size_t n);

/* Name (SEG, …): what follows is the value. */
void aml_named(struct aml *a, const char seg[4]);
void aml_named_int(struct aml *a, const char seg[4], uint64_t v);
void aml_named_eisaid(struct aml *a, const char seg[4], const char id[7]);
void aml_named_string(struct aml *a, const char seg[4], const char *s);
void aml_op_region_io(struct aml *a, const char seg[4], uint16_t port, uint8_t len);
void aml_field_byte(struct aml *a, const char region[4], const char field[4]);

/* Name (_CRS, ResourceTemplate () { … }), §6.4. */
struct aml_crs {
	size_t token, size_at, start;
};
struct aml_crs aml_crs_open(struct aml *a);
void aml_crs_close(struct aml *a, const struct aml_crs *c);
void aml_crs_io(struct aml *a, uint16_t port, uint8_t len);
void aml_crs_irq(struct aml *a, uint32_t gsi, bool level);
void aml_crs_memory32(struct aml *a, uint32_t base, uint32_t len);
void aml_crs_bus(struct aml *a, uint16_t first, uint16_t last);
void aml_crs_window32(struct aml *a, uint32_t base, uint32_t len);
void aml_crs_window64(struct aml *a, uint64_t base, uint64_t len);

#endif
