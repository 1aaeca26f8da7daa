/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses to devices, one instruction each, and fences between devices and memory. */
#ifndef GUEST_IO_H
#define GUEST_IO_H

#include "types.h"

#define MMIO(bits, type, load, store)                                                              \
	static inline type mmio_read##bits(uint64_t a)                                             \
	{                                                                                          \
		type v;                                                                            \
		__asm__ volatile(load " %0, 0(%1)\n\tfence i, ir" : "=r"(v) : "r"(a) : "memory");  \
		return v;                                                                          \
	}                                                                                          \
	static inline void mmio_write##bits(uint64_t a, type v)                                    \
	{                                                                                          \
		__asm__ volatile("fence w, o\n\t" store " %0, 0(%1)" ::"r"(v), "r"(a) : "memory"); \
	}
MMIO(8, uint8_t, "lbu", "sb")
MMIO(16, uint16_t, "lhu", "sh")
MMIO(32, uint32_t, "lwu", "sw")
MMIO(64, uint64_t, "ld", "sd")
#undef MMIO

static inline void mb(void)
{
	__asm__ volatile("fence iorw, iorw" ::: "memory");
}

static inline void wmb(void)
{
	__asm__ volatile("fence rw, rw" ::: "memory");
}

static inline void rmb(void)
{
	__asm__ volatile("fence rw, rw" ::: "memory");
}

static inline void copy_bytes(void *to, const void *from, size_t n)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	while (n--) {
		*t++ = *f++;
		__asm__ volatile("" ::: "memory"); /* or the compiler calls memcpy here */
	}
}

static inline void fill_bytes(void *p, int c, size_t n)
{
	uint8_t *t = p;

	while (n--) {
		*t++ = (uint8_t)c;
		__asm__ volatile("" ::: "memory");
	}
}

#define csr_read(name)                                                                             \
	({                                                                                         \
		uint64_t csr_v;                                                                    \
		__asm__ volatile("csrr %0, " name : "=r"(csr_v));                                  \
		csr_v;                                                                             \
	})
#define csr_write(name, v) __asm__ volatile("csrw " name ", %0" ::"r"((uint64_t)(v)) : "memory")
#define csr_set(name, v)   __asm__ volatile("csrs " name ", %0" ::"r"((uint64_t)(v)) : "memory")
#define csr_clear(name, v) __asm__ volatile("csrc " name ", %0" ::"r"((uint64_t)(v)) : "memory")

#endif
