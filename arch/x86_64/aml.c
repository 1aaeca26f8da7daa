/* SPDX-License-Identifier: Apache-2.0 */
/* Lengths of packages are written when the package is closed, always in the three-byte form
 * (ACPI 6.5 §20.2.4), which any length up to 1 MiB fits. */
#include "arch/x86_64/aml.h"

#include <string.h>

#define PKG_LEN_BYTES 3

enum {
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_EXT = 0x5b,
	OP_IF = 0xa0,
	OP_ELSE = 0xa1,
	EXT_REGION = 0x80,
	EXT_FIELD = 0x81,
	EXT_DEVICE = 0x82,
};

void aml_bytes(struct aml *a, const void *p, size_t n)
{
	if (a->full || n > a->cap - a->len) {
		a->full = true;
		return;
	}
	memcpy(a->buf + a->len, p, n);
	a->len += n;
}

void aml_byte(struct aml *a, uint8_t b)
{
	aml_bytes(a, &b, 1);
}

void aml_le(struct aml *a, uint64_t v, unsigned bytes)
{
	aml_bytes(a, &v, bytes);
}

void aml_name(struct aml *a, const char seg[4])
{
	aml_bytes(a, seg, 4);
}

void aml_int(struct aml *a, uint64_t v)
{
	if (v <= 1) {
		aml_byte(a, (uint8_t)v);
		return;
	}
	unsigned bytes = v <= 0xff ? 1 : v <= 0xffff ? 2 : v <= 0xffffffff ? 4 : 8;
	aml_byte(a, bytes == 1 ? OP_BYTE : bytes == 2 ? OP_WORD : bytes == 4 ? OP_DWORD : OP_QWORD);
	aml_le(a, v, bytes);
}

void aml_string(struct aml *a, const char *s)
{
	aml_byte(a, OP_STRING);
	aml_bytes(a, s, strlen(s) + 1);
}

static unsigned hex(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

void aml_eisaid(struct aml *a, const char id[7])
{
	uint32_t v = (uint32_t)(id[0] & 0x1f) << 26 | (uint32_t)(id[1] & 0x1f) << 21 |
		     (uint32_t)(id[2] & 0x1f) << 16 | hex(id[3]) << 12 | hex(id[4]) << 8 |
		     hex(id[5]) << 4 | hex(id[6]);

	aml_byte(a, OP_DWORD);
	aml_le(a, __builtin_bswap32(v), 4);
}

/* The token is where the length stands. */
static size_t open_package(struct aml *a)
{
	size_t at = a->len;

	aml_le(a, 0, PKG_LEN_BYTES);
	return at;
}

void aml_close(struct aml *a, size_t token)
{
	size_t len = a->len - token;

	if (a->full)
		return;
	a->buf[token] = (uint8_t)(2 << 6 | (len & 0xf));
	a->buf[token + 1] = (uint8_t)(len >> 4);
	a->buf[token + 2] = (uint8_t)(len >> 12);
}

size_t aml_scope(struct aml *a, const char seg[4])
{
	size_t t;

	aml_byte(a, OP_SCOPE);
	t = open_package(a);
	aml_byte(a, '\\');
	aml_name(a, seg);
	return t;
}

size_t aml_device(struct aml *a, const char seg[4])
{
	size_t t;

	aml_byte(a, OP_EXT);
	aml_byte(a, EXT_DEVICE);
	t = open_package(a);
	aml_name(a, seg);
	return t;
}

size_t aml_method(struct aml *a, const char seg[4], unsigned args)
{
	size_t t;

	aml_byte(a, OP_METHOD);
	t = open_package(a);
	aml_name(a, seg);
	aml_byte(a, (uint8_t)(args | 1 << 3)); /* serialized */
	return t;
}

size_t aml_if(struct aml *a)
{
	aml_byte(a, OP_IF);
	return open_package(a);
}

size_t aml_else(struct aml *a)
{
	aml_byte(a, OP_ELSE);
	return open_package(a);
}

size_t aml_package(struct aml *a, uint8_t n)
{
	size_t t;

	aml_byte(a, OP_PACKAGE);
	t = open_package(a);
	aml_byte(a, n);
	return t;
}

void aml_buffer(struct aml *a, const void *p, size_t n)
{
	size_t t;

	aml_byte(a, OP_BUFFER);
	t = open_package(a);
	aml_int(a, n);
	aml_bytes(a, p, n);
	aml_close(a, t);
}

void aml_named(struct aml *a, const char seg[4])
{
	aml_byte(a, OP_NAME);
	aml_name(a, seg);
}

void aml_named_int(struct aml *a, const char seg[4], uint64_t v)
{
	aml_named(a, seg);
	aml_int(a, v);
}

void aml_named_eisaid(struct aml *a, const char seg[4], const char id[7])
{
	aml_named(a, seg);
	aml_eisaid(a, id);
}

void aml_named_string(struct aml *a, const char seg[4], const char *s)
{
	aml_named(a, seg);
	aml_string(a, s);
}

void aml_op_region_io(struct aml *a, const char seg[4], uint16_t port, uint8_t len)
{
	aml_byte(a, OP_EXT);
	aml_byte(a, EXT_REGION);
	aml_name(a, seg);
	aml_byte(a, 1); /* SystemIO */
	aml_int(a, port);
	aml_int(a, len);
}

void aml_field_byte(struct aml *a, const char region[4], const char field[4])
{
	size_t t;

	aml_byte(a, OP_EXT);
	aml_byte(a, EXT_FIELD);
	t = open_package(a);
	aml_name(a, region);
	aml_byte(a, 1); /* ByteAcc, NoLock, Preserve */
	aml_name(a, field);
	aml_byte(a, 8); /* bits */
	aml_close(a, t);
}

struct aml_crs aml_crs_open(struct aml *a)
{
	struct aml_crs c;

	aml_named(a, "_CRS");
	aml_byte(a, OP_BUFFER);
	c.token = open_package(a);
	aml_byte(a, OP_WORD);
	c.size_at = a->len;
	aml_le(a, 0, 2);
	c.start = a->len;
	return c;
}

void aml_crs_close(struct aml *a, const struct aml_crs *c)
{
	uint16_t size;

	aml_le(a, 0x79, 2); /* end tag, its checksum 0 = not computed (§6.4.2.9) */
	if (a->full)
		return;
	size = (uint16_t)(a->len - c->start);
	memcpy(a->buf + c->size_at, &size, 2);
	aml_close(a, c->token);
}

void aml_crs_io(struct aml *a, uint16_t port, uint8_t len)
{
	aml_byte(a, 0x47); /* §6.4.2.5 */
	aml_byte(a, 1);	   /* 16-bit decode */
	aml_le(a, port, 2);
	aml_le(a, port, 2);
	aml_byte(a, 1); /* alignment */
	aml_byte(a, len);
}

void aml_crs_irq(struct aml *a, uint32_t gsi, bool level)
{
	aml_byte(a, 0x89); /* extended interrupt, §6.4.3.6 */
	aml_le(a, 6, 2);
	aml_byte(a, level ? 0x1 : 0x3); /* consumer; edge; active high; exclusive */
	aml_byte(a, 1);
	aml_le(a, gsi, 4);
}

void aml_crs_memory32(struct aml *a, uint32_t base, uint32_t len)
{
	aml_byte(a, 0x86); /* 32-bit fixed memory, §6.4.3.4 */
	aml_le(a, 9, 2);
	aml_byte(a, 1); /* writable */
	aml_le(a, base, 4);
	aml_le(a, len, 4);
}

/* An address space descriptor (§6.4.3.5): producer, positive decode, both ends fixed. */
static void window(struct aml *a, uint8_t tag, unsigned bytes, uint8_t type, uint8_t type_flags,
	uint64_t first, uint64_t len)
{
	aml_byte(a, tag);
	aml_le(a, 3 + 5 * bytes, 2);
	aml_byte(a, type);
	aml_byte(a, 0x0c);
	aml_byte(a, type_flags);
	aml_le(a, 0, bytes); /* granularity */
	aml_le(a, first, bytes);
	aml_le(a, first + len - 1, bytes);
	aml_le(a, 0, bytes); /* translation */
	aml_le(a, len, bytes);
}

void aml_crs_bus(struct aml *a, uint16_t first, uint16_t last)
{
	window(a, 0x88, 2, 2, 0, first, (uint64_t)last - first + 1);
}

void aml_crs_window32(struct aml *a, uint32_t base, uint32_t len)
{
	window(a, 0x87, 4, 0, 1, base, len); /* memory, writable, not cacheable */
}

void aml_crs_window64(struct aml *a, uint64_t base, uint64_t len)
{
	window(a, 0x8a, 8, 0, 1, base, len);
}
