/* SPDX-License-Identifier: Apache-2.0 */
/* What the verdict on /dev/kvm runs. It starts as a PVH kernel does, stores once (small guests
 * run), then does what Linux does before and soon after its first line of C: goes to 64-bit mode,
 * and uses the instructions at which KVMs that emulate kernel code are known to give up. It is
 * written here as bytes, because the assembler of the build machine may be another chip's. */
#include <string.h>
#include "arch/arch.h"
#include "vmm/base/num.h"

/* Offsets from the page where the code stands; all of it is zeroed RAM. */
#define PML4 0x1000u
#define PDPT 0x2000u
#define PD0  0x3000u
#define PD1  0x4000u

struct code {
	uint8_t *p;
	size_t len, cap;
};

static void emit(struct code *c, const void *bytes, size_t n)
{
	if (n <= c->cap - c->len)
		memcpy(c->p + c->len, bytes, n);
	c->len += n;
	if (c->len > c->cap)
		c->len = c->cap = 0;
}

static void emit32(struct code *c, uint32_t v)
{
	emit(c, &v, 4);
}

/* movl $value, off(%ebp) */
static void store(struct code *c, uint32_t off, uint32_t value)
{
	emit(c, (const uint8_t[]){0xc7, 0x85}, 2);
	emit32(c, off);
	emit32(c, value);
}

/* Maps the 2 MiB around addr one to one. */
static void map(struct code *c, uint32_t at, uint32_t addr, uint32_t pd)
{
	store(c, PDPT + (addr >> 30) * 8, (at + pd) | 3);
	store(c, pd + (addr >> 21 & 511) * 8, (addr & ~0x1fffffu) | 0x83);
}

static void paging(struct code *c, uint32_t at, uint32_t mmio)
{
	store(c, PML4, (at + PDPT) | 3);
	map(c, at, at, PD0);
	map(c, at, mmio, at >> 30 == mmio >> 30 ? PD0 : PD1);
}

static const uint8_t to_long_mode[] = {
	0x0f, 0x20, 0xe0,		    /* mov %cr4, %eax */
	0x0d, 0x20, 0x06, 0x00, 0x00,	    /* or $0x620, %eax: PAE, OSFXSR, OSXMMEXCPT */
	0x0f, 0x22, 0xe0,		    /* mov %eax, %cr4 */
	0x8d, 0x85, 0x00, 0x10, 0x00, 0x00, /* lea PML4(%ebp), %eax */
	0x0f, 0x22, 0xd8,		    /* mov %eax, %cr3 */
	0xb9, 0x80, 0x00, 0x00, 0xc0,	    /* mov $EFER, %ecx */
	0x0f, 0x32,			    /* rdmsr */
	0x0d, 0x00, 0x01, 0x00, 0x00,	    /* or $LME, %eax */
	0x0f, 0x30,			    /* wrmsr */
	0x0f, 0x20, 0xc0,		    /* mov %cr0, %eax */
	0x0d, 0x00, 0x00, 0x00, 0x80,	    /* or $PG, %eax */
	0x0f, 0x22, 0xc0,		    /* mov %eax, %cr0 */
};

static const uint8_t as_kernels_do[] = {
	0xb8, 0x10, 0x00, 0x00, 0x00,		  /* mov $0x10, %eax */
	0x8e, 0xd0,				  /* mov %eax, %ss */
	0x48, 0x8d, 0xa5, 0x00, 0x0f, 0x00, 0x00, /* lea 0xf00(%rbp), %rsp */
	0x31, 0xc0,				  /* xor %eax, %eax */
	0x0f, 0xa2,				  /* cpuid */
	0x0f, 0x31,				  /* rdtsc */
	0x48, 0x8d, 0xb5, 0x00, 0x08, 0x00, 0x00, /* lea 0x800(%rbp), %rsi */
	0xf0, 0x48, 0x0f, 0xc7, 0x0e,		  /* lock cmpxchg16b (%rsi) */
	0x0f, 0x01, 0xf8,			  /* swapgs */
	0x0f, 0x01, 0xf8,			  /* swapgs */
	0xb9, 0x01, 0x01, 0x00, 0xc0,		  /* mov $GS_BASE, %ecx */
	0x0f, 0x32,				  /* rdmsr */
	0x0f, 0x30,				  /* wrmsr */
	0x0f, 0x01, 0x3e,			  /* invlpg (%rsi) */
	0xdb, 0xe3,				  /* fninit */
	0x48, 0x0f, 0xae, 0x06,			  /* fxsave64 (%rsi) */
	0x48, 0x89, 0xe0,			  /* mov %rsp, %rax */
	0x6a, 0x10,				  /* push $0x10 */
	0x50,					  /* push %rax */
	0x9c,					  /* pushf */
	0x6a, 0x08,				  /* push $8 */
	0x48, 0x8d, 0x05, 0x03, 0x00, 0x00, 0x00, /* lea 1f(%rip), %rax */
	0x50,					  /* push %rax */
	0x48, 0xcf,				  /* iretq */
};

static const uint8_t gdt[] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0x9b, 0xaf, 0, /* 64-bit code */
	0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0,			    /* data */
};

/* mov $addr, %reg (opcode) */
static void load(struct code *c, uint8_t opcode, uint32_t v)
{
	emit(c, &opcode, 1);
	emit32(c, v);
}

/* movl $value, (%edi) or (%rdi) */
static void report(struct code *c, uint32_t value)
{
	emit(c, (const uint8_t[]){0xc7, 0x07}, 2);
	emit32(c, value);
}

/* Stores value, and after all the rest value + 1. Needs 5 pages of zeroed RAM at `at`, which is
 * page aligned and below 4 GiB like mmio. 0 when cap is too small. */
size_t arch_probe_code(uint64_t at, uint64_t mmio, uint32_t value, uint8_t *ret_code, size_t cap)
{
	struct code c = {.p = ret_code, .cap = cap};
	uint32_t base = (uint32_t)at;

	/* jmp over the GDT and its pointer */
	emit(&c, (const uint8_t[]){0xeb, 6 + sizeof(gdt)}, 2);
	emit(&c, (const uint8_t[]){sizeof(gdt) - 1, 0}, 2);
	emit32(&c, base + 2 + 6); /* after the jump and the pointer */
	emit(&c, gdt, sizeof(gdt));
	load(&c, 0xbd, base);		/* %ebp */
	load(&c, 0xbf, (uint32_t)mmio); /* %edi */
	report(&c, value);
	paging(&c, base, (uint32_t)mmio);
	emit(&c, (const uint8_t[]){0x0f, 0x01, 0x55, 2}, 4); /* lgdt 2(%ebp) */
	emit(&c, to_long_mode, sizeof(to_long_mode));
	load(&c, 0xea, base + (uint32_t)c.len + 7); /* ljmp $8, the next instruction */
	emit(&c, (const uint8_t[]){8, 0}, 2);
	emit(&c, as_kernels_do, sizeof(as_kernels_do));
	report(&c, value + 1);
	emit(&c, (const uint8_t[]){0xf3, 0x90, 0xeb, 0xfc}, 4); /* pause; jmp back to it */
	return c.len;
}
