/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image header and entry (Linux Documentation/arch/arm64/booting.rst): EL1, MMU and caches off,
 * x0 = device tree. Relocates itself, builds an identity map (mmu.c) so that memory is cacheable
 * (exclusives need that), then runs guest_main.
 */
#define STACK_SIZE 8192

	.section .text.head, "ax"
	b	start
	.long	0
	.quad	0			/* text_offset */
	/* the linker script puts image_size, a quad, here */
	.section .text.head2, "ax"
	.quad	0xa			/* little endian, 4 KiB pages, anywhere in RAM */
	.quad	0, 0, 0
	.ascii	"ARM\x64"
	.long	0

	.section .text.start, "ax"
start:
	msr	daifset, #0xf
	mov	x19, x0
	adr	x20, __image_start

	adrp	x0, __bss_start
	add	x0, x0, :lo12:__bss_start
	adrp	x1, __bss_end
	add	x1, x1, :lo12:__bss_end
1:	cmp	x0, x1
	b.hs	2f
	stp	xzr, xzr, [x0], #16
	b	1b

	/* R_AARCH64_RELATIVE: *(base + offset) = base + addend */
2:	adrp	x0, __rela_start
	add	x0, x0, :lo12:__rela_start
	adrp	x1, __rela_end
	add	x1, x1, :lo12:__rela_end
3:	cmp	x0, x1
	b.hs	4f
	ldp	x2, x3, [x0]
	ldr	x4, [x0, #16]
	add	x0, x0, #24
	cmp	w3, #1027
	b.ne	3b
	add	x4, x4, x20
	str	x4, [x20, x2]
	b	3b

4:	adrp	x1, boot_stack_top
	add	x1, x1, :lo12:boot_stack_top
	mov	sp, x1
	adrp	x1, fdt_address
	str	x19, [x1, :lo12:fdt_address]
	mov	x0, x20
	mov	x1, x19
	bl	mmu_build
	/* drop what the caches may hold of the memory written so far */
	mov	x0, x20
	adrp	x2, boot_stack_top
	add	x2, x2, :lo12:boot_stack_top
	dsb	sy
5:	dc	civac, x0
	add	x0, x0, #16
	cmp	x0, x2
	b.lo	5b
	dsb	sy
	bl	mmu_on
	bl	guest_main
6:	wfi
	b	6b

/* PSCI CPU_ON enters here: x0 = top of this CPU's stack. */
	.globl	secondary_entry
secondary_entry:
	msr	daifset, #0xf
	mov	sp, x0
	bl	mmu_on
	bl	secondary_main
7:	wfi
	b	7b

mmu_on:
	adr	x0, vectors
	msr	vbar_el1, x0
	adrp	x0, l0_table
	add	x0, x0, :lo12:l0_table
	msr	ttbr0_el1, x0
	ldr	x0, =0xff00		/* MAIR: 0 = Device-nGnRnE, 1 = Normal write-back */
	msr	mair_el1, x0
	mrs	x1, id_aa64mmfr0_el1
	and	x1, x1, #7
	cmp	x1, #5
	mov	x2, #5
	csel	x1, x1, x2, lo
	ldr	x0, =0x803510		/* T0SZ 16, WB WA, inner shareable, 4 KiB, no TTBR1 */
	orr	x0, x0, x1, lsl #32
	msr	tcr_el1, x0
	tlbi	vmalle1
	dsb	sy
	isb
	mrs	x0, sctlr_el1
	mov	x1, #0x1005		/* I, C, M */
	orr	x0, x0, x1
	bic	x0, x0, #2		/* A: unaligned accesses to memory are fine */
	msr	sctlr_el1, x0
	isb
	ret

	.balign	2048
vectors:
	.rept	4
	.balign	128
	b	bad_trap
	.endr
	.balign	128			/* current EL, SP_ELx: synchronous */
	b	bad_trap
	.balign	128			/* IRQ */
	b	irq_entry
	.balign	128			/* FIQ */
	b	bad_trap
	.balign	128			/* SError */
	b	bad_trap
	.rept	8
	.balign	128
	b	bad_trap
	.endr

bad_trap:
	mrs	x0, esr_el1
	mrs	x1, elr_el1
	mrs	x2, far_el1
	b	arm_exception

irq_entry:
	sub	sp, sp, #192
	stp	x0, x1, [sp, #0]
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x30, [sp, #144]
	mrs	x0, elr_el1
	mrs	x1, spsr_el1
	stp	x0, x1, [sp, #160]
	str	x29, [sp, #176]
	bl	arm_irq
	ldp	x0, x1, [sp, #160]
	msr	elr_el1, x0
	msr	spsr_el1, x1
	ldr	x29, [sp, #176]
	ldp	x2, x3, [sp, #16]
	ldp	x4, x5, [sp, #32]
	ldp	x6, x7, [sp, #48]
	ldp	x8, x9, [sp, #64]
	ldp	x10, x11, [sp, #80]
	ldp	x12, x13, [sp, #96]
	ldp	x14, x15, [sp, #112]
	ldp	x16, x17, [sp, #128]
	ldp	x18, x30, [sp, #144]
	ldp	x0, x1, [sp, #0]
	add	sp, sp, #192
	eret

	.ltorg
	.section .noinit, "aw", @nobits
	.balign STACK_SIZE
	.skip STACK_SIZE
boot_stack_top:
	.section .note.GNU-stack, "", @progbits
