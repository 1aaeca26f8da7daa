/* SPDX-License-Identifier: Apache-2.0 */
/* What a loop that waits for memory to change does between two looks: leaves the core to its other
 * threads for a moment, where the compiler has a word for that. */
#ifndef VMM_BASE_RELAX_H
#define VMM_BASE_RELAX_H

#ifndef __has_builtin
#define __has_builtin(x) 0
#endif

static inline void relax(void)
{
#if __has_builtin(__builtin_ia32_pause)
	__builtin_ia32_pause();
#elif __has_builtin(__builtin_arm_yield)
	__builtin_arm_yield();
#elif __has_builtin(__builtin_riscv_pause)
	__builtin_riscv_pause();
#endif
}

#endif
