/* SPDX-License-Identifier: Apache-2.0 */
/* The few types and macros every file of the guests uses. Freestanding headers only, and not
 * <stdint.h>: a sysroot's C library may come before the compiler, and its own wants hosted headers
 * that it lacks for the guests' RISC-V ABI. */
#ifndef GUEST_TYPES_H
#define GUEST_TYPES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef __INT8_TYPE__ int8_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;
typedef __UINTPTR_TYPE__ uintptr_t;

#define UINT32_MAX __UINT32_MAX__
#define UINT64_MAX __UINT64_MAX__

#define ARRAY_SIZE(a)  (sizeof(a) / sizeof((a)[0]))
#define BIT(n)	       (1u << (n))
#define ALIGN_UP(x, a) (((x) + ((a)-1)) & ~((a)-1))
#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define MAX(a, b)      ((a) > (b) ? (a) : (b))

/* Keeps the compiler from caching memory that an interrupt handler or another CPU changes. */
#define READ_ONCE(x)	 (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

#endif
