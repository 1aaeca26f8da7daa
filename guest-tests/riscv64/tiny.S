/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest guest: SBI system reset, type shutdown, at once, for timing everything around it. */
	.option norelax
	.option norvc
	.section .text.head, "ax"
	j	start
	.long	0
	.quad	0x200000		/* text_offset */
	/* the linker script puts image_size, a quad, here */
	.section .text.head2, "ax"
	.quad	0
	.long	2
	.long	0
	.quad	0
	.ascii	"RISCV\0\0\0"
	.ascii	"RSC\x05"
	.long	0
start:
	li	a7, 0x53525354
	li	a6, 0
	li	a0, 0
	li	a1, 0
	ecall
1:	wfi
	j	1b
	.section .note.GNU-stack, "", @progbits
