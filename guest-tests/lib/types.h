/* SPDX-License-Identifier: Apache-2.0 */
/* The few types and macros every file of the guests uses. Freestanding headers only. */
#ifndef GUEST_TYPES_H
#define GUEST_TYPES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a)  (sizeof(a) / sizeof((a)[0]))
#define BIT(n)	       (1u << (n))
#define ALIGN_UP(x, a) (((x) + ((a)-1)) & ~((a)-1))
#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define MAX(a, b)      ((a) > (b) ? (a) : (b))

/* Keeps the compiler from caching memory that an interrupt handler or another CPU changes. */
#define READ_ONCE(x)	 (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

#endif
