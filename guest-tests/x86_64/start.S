/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PVH entry (Xen docs/misc/pvh.pandoc): 32-bit protected mode, paging off, ebx = start info. Goes
 * to long mode with the low 4 GiB identity mapped by tables that the assembler fills in: filling
 * them at run time would cost milliseconds where KVM emulates each instruction.
 */
#define TRAMPOLINE 0x8000
#define STACK_SIZE 8192

	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad pvh_start

	.section .text.start, "ax"
	.code32
	.globl pvh_start
pvh_start:
	cli
	cld
	movl $__bss_start, %edi
	movl $__bss_end, %ecx
	subl %edi, %ecx
	shrl $2, %ecx
	xorl %eax, %eax
	rep stosl
	movl %ebx, pvh_info
	movl $boot_stack_top, %esp
	lgdt gdt_ptr
	call enter_long_mode
	ljmp $0x08, $start64

/* Paging and long mode on; the caller then jumps to 64-bit code. */
enter_long_mode:
	movl %cr4, %eax
	orl $0x20, %eax			/* PAE */
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx		/* EFER */
	rdmsr
	orl $0x100, %eax		/* LME */
	wrmsr
	movl %cr0, %eax
	andl $0x9fffffff, %eax		/* CD and NW off */
	orl $0x80000001, %eax		/* PG, PE */
	movl %eax, %cr0
	ret

	.code64
start64:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $boot_stack_top, %esp
	call guest_main
1:	hlt
	jmp 1b

/* What INIT-SIPI starts; copied to TRAMPOLINE and run from there. One CPU at a time. */
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	xorl %eax, %eax
	movw %ax, %ds
	lgdtl TRAMPOLINE + tramp_gdt_ptr - trampoline
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $0x18, $TRAMPOLINE + tramp32 - trampoline
	.code32
tramp32:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl ap_stack, %esp
	movl $enter_long_mode, %eax
	call *%eax
	ljmp $0x08, $ap_start64
	.balign 4
tramp_gdt_ptr:
	.word gdt_end - gdt - 1
	.long gdt
trampoline_end:

	.code64
ap_start64:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movq ap_stack, %rsp
	call secondary_main
1:	cli
	hlt
	jmp 1b

/*
 * Trap entries: 256 stubs of 16 bytes push an error code where the CPU does not, then the vector.
 */
	.balign 16
	.globl trap_stubs
trap_stubs:
	vector = 0
	.rept 256
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	pushq $0
	.endif
	pushq $vector
	jmp trap_common
	vector = vector + 1
	.endr

trap_common:
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	movq 72(%rsp), %rdi		/* vector */
	leaq 72(%rsp), %rsi		/* struct trap_frame */
	pushq %rbp
	movq %rsp, %rbp
	andq $-16, %rsp
	cld
	call x86_trap
	movq %rbp, %rsp
	popq %rbp
	/*
	 * Return without iretq, which an emulating KVM does not implement: put the flags and the
	 * return address on the interrupted stack (same privilege, no red zone), and pop them.
	 */
	movq 112(%rsp), %rax		/* interrupted rsp */
	movq 88(%rsp), %rcx		/* rip */
	movq 104(%rsp), %rdx		/* rflags */
	subq $24, %rax
	movq %rcx, 16(%rax)
	movq %rdx, 8(%rax)
	movq 64(%rsp), %rcx		/* rax */
	movq %rcx, 0(%rax)
	movq 56(%rsp), %rcx
	movq 48(%rsp), %rdx
	movq 40(%rsp), %rsi
	movq 32(%rsp), %rdi
	movq 24(%rsp), %r8
	movq 16(%rsp), %r9
	movq 8(%rsp), %r10
	movq 0(%rsp), %r11
	movq %rax, %rsp
	popq %rax
	popfq
	ret

	.section .rodata
	.balign 8
gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* 0x08: 64-bit code */
	.quad 0x00cf93000000ffff	/* 0x10: data */
	.quad 0x00cf9b000000ffff	/* 0x18: 32-bit code */
gdt_end:
gdt_ptr:
	.word gdt_end - gdt - 1
	.quad gdt

	.data
	.balign 4096
	.globl pml4, pdpt
pml4:
	.quad pdpt + 3
	.fill 511, 8, 0
pdpt:
	.quad pd + 0x0003, pd + 0x1003, pd + 0x2003, pd + 0x3003
	.fill 508, 8, 0
pd:
	address = 0
	.rept 2048
	.quad address + 0x83		/* present, writable, 2 MiB */
	address = address + 0x200000
	.endr
	.globl pvh_info, ap_stack
pvh_info:
	.quad 0
ap_stack:
	.quad 0

	.section .noinit, "aw", @nobits
	.balign STACK_SIZE
	.skip STACK_SIZE
boot_stack_top:
	.section .note.GNU-stack, "", @progbits
