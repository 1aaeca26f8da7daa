/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers: alignment, little-endian access, and strict text to number. */
#ifndef VMM_BASE_NUM_H
#define VMM_BASE_NUM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define KIB	      ((uint64_t)1 << 10)
#define MIB	      ((uint64_t)1 << 20)
#define GIB	      ((uint64_t)1 << 30)

#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) min_a_ = (a);                                                        \
		__typeof__(b) min_b_ = (b);                                                        \
		min_a_ < min_b_ ? min_a_ : min_b_;                                                 \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) max_a_ = (a);                                                        \
		__typeof__(b) max_b_ = (b);                                                        \
		max_a_ > max_b_ ? max_a_ : max_b_;                                                 \
	})

/* align is a power of two; the caller has made sure that v + align - 1 does not overflow. */
static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

static inline uint64_t align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* Unaligned little-endian loads and stores. Every host we build for is little-endian. */
static inline uint64_t load_le(const void *p, unsigned bytes)
{
	uint64_t v = 0;
	memcpy(&v, p, bytes);
	return v;
}

static inline void store_le(void *p, unsigned bytes, uint64_t v)
{
	memcpy(p, &v, bytes);
}

/* A whole decimal or 0x-hexadecimal number, nothing before or after it.
 * Returns 0, -EINVAL (not a number) or -ERANGE (does not fit). */
int num_parse(const char *text, uint64_t *ret_value);

/* The same with an optional K, M, G or T suffix (powers of 1024): "512M", "2G", "1048576". */
int num_parse_size(const char *text, uint64_t *ret_bytes);

/* "512M", "1536K", "17": the shortest exact form, for messages. buf holds at least 24 bytes. */
const char *num_format_size(uint64_t bytes, char buf[24]);

/* "52:54:00:12:34:56". Returns 0 or -EINVAL. */
int num_parse_mac(const char *text, uint8_t ret_mac[6]);

#endif
