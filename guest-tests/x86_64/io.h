/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accesses to devices, one instruction each, so that exits see exactly this width. The fences are
 * not mfence/sfence: a KVM that emulates kernel-mode code does not know those.
 */
#ifndef GUEST_IO_H
#define GUEST_IO_H

#include "types.h"

#define MMIO_READ(bits, type, insn)                                                                \
	static inline type mmio_read##bits(uint64_t a)                                             \
	{                                                                                          \
		type v;                                                                            \
		__asm__ volatile(insn " %1, %0" : "=r"(v) : "m"(*(volatile type *)a) : "memory");  \
		return v;                                                                          \
	}
#define MMIO_WRITE(bits, type, insn)                                                               \
	static inline void mmio_write##bits(uint64_t a, type v)                                    \
	{                                                                                          \
		__asm__ volatile(insn " %1, %0" : "=m"(*(volatile type *)a) : "r"(v) : "memory");  \
	}
MMIO_READ(8, uint8_t, "movb")
MMIO_READ(16, uint16_t, "movw")
MMIO_READ(32, uint32_t, "movl")
MMIO_READ(64, uint64_t, "movq")
MMIO_WRITE(8, uint8_t, "movb")
MMIO_WRITE(16, uint16_t, "movw")
MMIO_WRITE(32, uint32_t, "movl")
MMIO_WRITE(64, uint64_t, "movq")
#undef MMIO_READ
#undef MMIO_WRITE

static inline void mb(void)
{
	__asm__ volatile("lock; addl $0, (%%rsp)" ::: "memory", "cc");
}

/* Orders what the CPU wrote to memory before what it writes next, and reads likewise: TSO. */
static inline void wmb(void)
{
	__asm__ volatile("" ::: "memory");
}

static inline void rmb(void)
{
	__asm__ volatile("" ::: "memory");
}

static inline void copy_bytes(void *to, const void *from, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
}

static inline void fill_bytes(void *p, int c, size_t n)
{
	size_t words = n / 8, rest = n % 8;
	uint64_t v = (uint8_t)c * 0x0101010101010101ull;

	__asm__ volatile("rep stosq" : "+D"(p), "+c"(words) : "a"(v) : "memory");
	__asm__ volatile("rep stosb" : "+D"(p), "+c"(rest) : "a"(v) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return lo | (uint64_t)hi << 32;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return lo | (uint64_t)hi << 32;
}

struct cpuid {
	uint32_t a, b, c, d;
};

static inline struct cpuid cpuid(uint32_t leaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
	return r;
}

#endif
