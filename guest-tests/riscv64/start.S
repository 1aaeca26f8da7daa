/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image header and entry (Linux Documentation/arch/riscv/boot.rst, boot-image-header.rst):
 * S-mode, no paging, a0 = hart id, a1 = device tree. Relocates itself, then runs guest_main.
 */
#define STACK_SIZE 8192

	.option norelax
	.option norvc
	.section .text.head, "ax"
	j	start
	.long	0
	.quad	0x200000		/* text_offset */
	/* the linker script puts image_size, a quad, here */
	.section .text.head2, "ax"
	.quad	0			/* little endian */
	.long	2			/* header version 0.2 */
	.long	0
	.quad	0
	.ascii	"RISCV\0\0\0"
	.ascii	"RSC\x05"
	.long	0

	.section .text.start, "ax"
start:
	csrw	sie, zero
	csrci	sstatus, 2
	mv	s0, a0
	mv	s1, a1
	lla	s2, __image_start

	lla	t0, __bss_start
	lla	t1, __bss_end
1:	bgeu	t0, t1, 2f
	sd	zero, 0(t0)
	addi	t0, t0, 8
	j	1b

	/* R_RISCV_RELATIVE: *(base + offset) = base + addend */
2:	lla	t0, __rela_start
	lla	t1, __rela_end
3:	bgeu	t0, t1, 4f
	ld	t2, 0(t0)
	lwu	t3, 8(t0)
	ld	t4, 16(t0)
	addi	t0, t0, 24
	addi	t3, t3, -3
	bnez	t3, 3b
	add	t2, t2, s2
	add	t4, t4, s2
	sd	t4, 0(t2)
	j	3b

4:	lla	sp, boot_stack_top
	lla	t0, boot_hart
	sd	s0, 0(t0)
	lla	t0, fdt_address
	sd	s1, 0(t0)
	lla	t0, trap_entry
	csrw	stvec, t0
	call	guest_main
5:	wfi
	j	5b

/* SBI hart_start enters here: a1 = top of this hart's stack. */
	.globl	secondary_entry
secondary_entry:
	csrw	sie, zero
	csrci	sstatus, 2
	mv	sp, a1
	lla	t0, trap_entry
	csrw	stvec, t0
	call	secondary_main
6:	wfi
	j	6b

	.balign	4
trap_entry:
	addi	sp, sp, -144
	sd	ra, 0(sp)
	sd	t0, 8(sp)
	sd	t1, 16(sp)
	sd	t2, 24(sp)
	sd	t3, 32(sp)
	sd	t4, 40(sp)
	sd	t5, 48(sp)
	sd	t6, 56(sp)
	sd	a0, 64(sp)
	sd	a1, 72(sp)
	sd	a2, 80(sp)
	sd	a3, 88(sp)
	sd	a4, 96(sp)
	sd	a5, 104(sp)
	sd	a6, 112(sp)
	sd	a7, 120(sp)
	csrr	t0, sepc
	sd	t0, 128(sp)
	csrr	t0, sstatus
	sd	t0, 136(sp)
	csrr	a0, scause
	csrr	a1, sepc
	csrr	a2, stval
	call	riscv_trap
	ld	t0, 136(sp)
	csrw	sstatus, t0
	ld	t0, 128(sp)
	csrw	sepc, t0
	ld	ra, 0(sp)
	ld	t0, 8(sp)
	ld	t1, 16(sp)
	ld	t2, 24(sp)
	ld	t3, 32(sp)
	ld	t4, 40(sp)
	ld	t5, 48(sp)
	ld	t6, 56(sp)
	ld	a0, 64(sp)
	ld	a1, 72(sp)
	ld	a2, 80(sp)
	ld	a3, 88(sp)
	ld	a4, 96(sp)
	ld	a5, 104(sp)
	ld	a6, 112(sp)
	ld	a7, 120(sp)
	addi	sp, sp, 144
	sret

	.section .noinit, "aw", @nobits
	.balign STACK_SIZE
	.skip STACK_SIZE
boot_stack_top:
	.section .note.GNU-stack, "", @progbits
