/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accesses to devices. Plain ldr/str with one base register and nothing else: other forms leave no
 * syndrome for the hypervisor to decode (Arm ARM, ESR_EL2.ISS.ISV).
 */
#ifndef GUEST_IO_H
#define GUEST_IO_H

#include "types.h"

#define MMIO(bits, type, suffix, reg)                                                              \
	static inline type mmio_read##bits(uint64_t a)                                             \
	{                                                                                          \
		type v;                                                                            \
		__asm__ volatile("ldr" suffix " %" reg "0, [%1]" : "=r"(v) : "r"(a) : "memory");   \
		return v;                                                                          \
	}                                                                                          \
	static inline void mmio_write##bits(uint64_t a, type v)                                    \
	{                                                                                          \
		__asm__ volatile("str" suffix " %" reg "0, [%1]" ::"r"(v), "r"(a) : "memory");     \
	}
MMIO(8, uint8_t, "b", "w")
MMIO(16, uint16_t, "h", "w")
MMIO(32, uint32_t, "", "w")
MMIO(64, uint64_t, "", "x")
#undef MMIO

static inline void mb(void)
{
	__asm__ volatile("dsb sy" ::: "memory");
}

static inline void wmb(void)
{
	__asm__ volatile("dmb sy" ::: "memory");
}

static inline void rmb(void)
{
	__asm__ volatile("dmb sy" ::: "memory");
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

#define sysreg_read(name)                                                                          \
	({                                                                                         \
		uint64_t sysreg_v;                                                                 \
		__asm__ volatile("mrs %0, " name : "=r"(sysreg_v));                                \
		sysreg_v;                                                                          \
	})
#define sysreg_write(name, v) __asm__ volatile("msr " name ", %0" ::"r"((uint64_t)(v)) : "memory")

static inline void isb(void)
{
	__asm__ volatile("isb" ::: "memory");
}

#endif
