/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest guest: PSCI SYSTEM_OFF at once, for timing everything around it. */
	.section .text.head, "ax"
	b	start
	.long	0
	.quad	0			/* text_offset */
	/* the linker script puts image_size, a quad, here */
	.section .text.head2, "ax"
	.quad	0xa
	.quad	0, 0, 0
	.ascii	"ARM\x64"
	.long	0
start:
	mov	w0, #0x0008
	movk	w0, #0x8400, lsl #16
	hvc	#0
1:	wfi
	b	1b
	.section .note.GNU-stack, "", @progbits
