/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest guest: powers off at once, for timing everything around it. By the ACPI sleep
 * control register, found from the PVH start info, with the S5 type 5; where there is no ACPI,
 * through QEMU's isa-debug-exit (status 33), the i8042's reset line or a triple fault. 32-bit code: PVH enters so.
 */
	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad pvh_start

	.section .text.start, "ax"
	.code32
	.globl pvh_start
pvh_start:
	movl 32(%ebx), %ebx		/* rsdp_paddr */
	testl %ebx, %ebx
	jz no_acpi
	movl 24(%ebx), %ebx		/* XSDT */
	testl %ebx, %ebx
	jz no_acpi
	movl 4(%ebx), %ecx		/* its length: 36 and 8 for each entry */
	subl $36, %ecx
	shrl $3, %ecx
	jz no_acpi
1:	movl 28(%ebx,%ecx,8), %esi	/* the last entry, then the ones before it */
	cmpl $0x50434146, (%esi)	/* "FACP" */
	je 2f
	decl %ecx
	jnz 1b
	jmp no_acpi
2:	cmpl $256, 4(%esi)
	jb no_acpi
	movl 248(%esi), %edx		/* address of the sleep control register */
	movb $0x34, %al			/* SLP_EN, type 5 */
	cmpb $1, 244(%esi)
	jne 3f
	outb %al, %dx
	jmp no_acpi
3:	testl %edx, %edx
	jz no_acpi
	movb %al, (%edx)
no_acpi:
	movl $0x10, %eax
	movl $0xf4, %edx
	outl %eax, %dx
	movb $0xfe, %al
	outb %al, $0x64
	lidt no_idt			/* QEMU's microvm has none of these: a triple fault */
	movw %dx, %ds			/* no such segment */
4:	hlt
	jmp 4b
no_idt:	.word 0
	.long 0
	.section .note.GNU-stack, "", @progbits
