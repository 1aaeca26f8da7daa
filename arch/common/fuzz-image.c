/* SPDX-License-Identifier: Apache-2.0 */
/* Loading a kernel that nobody vouches for. Random bytes are refused at the first magic number, so
 * the input is a list of edits (offset, byte) to a nearly valid file of some kind, sometimes
 * packed, sometimes cut; or it is the file itself. What loads must lie in the guest's memory. */
#include <assert.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include "arch/arch.h"
#include "vmm/base/num.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM	 (32 * MIB)
#define FILE_LEN 8192

enum kind { IMAGE_ARM64, IMAGE_RISCV64, BZIMAGE, ELF_PVH, RAW, KINDS };

static void image(uint8_t *b, const char *magic)
{
	memcpy(b, "MZ", 2);
	store_le(b + 16, 8, MIB);
	memcpy(b + 56, magic, 4);
	store_le(b + 0x3c, 4, 64);
	memcpy(b + 64, "PE\0", 4);
	store_le(b + 64 + 6, 2, 2);
	store_le(b + 64 + 24 + 16, 4, FILE_LEN - 512);
	store_le(b + 64 + 24 + 20, 4, 512);
}

/* Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". */
static void bzimage(uint8_t *b)
{
	b[0x1f1] = 1; /* setup_sects */
	store_le(b + 0x1fe, 2, 0xaa55);
	store_le(b + 0x200, 2, 0x6ceb);
	memcpy(b + 0x202, "HdrS", 4);
	store_le(b + 0x206, 2, 0x20f);
	b[0x211] = 1;			 /* loadflags: high */
	store_le(b + 0x230, 4, 2 * MIB); /* kernel_alignment */
	b[0x234] = 1;			 /* relocatable */
	store_le(b + 0x236, 2, 1);	 /* xloadflags: 64-bit entry */
	store_le(b + 0x238, 4, 2047);
	store_le(b + 0x258, 8, 16 * MIB); /* pref_address */
	store_le(b + 0x260, 4, MIB);	  /* init_size */
}

static void elf_pvh(uint8_t *b)
{
	Elf64_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = 1,
		.e_entry = MIB,
		.e_phoff = 64,
		.e_ehsize = 64,
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2};
	Elf64_Phdr p[2] = {{.p_type = PT_LOAD,
				   .p_offset = 4096,
				   .p_vaddr = MIB,
				   .p_paddr = MIB,
				   .p_filesz = 4096,
				   .p_memsz = 65536},
		{.p_type = PT_NOTE, .p_offset = 1024, .p_filesz = 24, .p_memsz = 24, .p_align = 4}};
	Elf64_Nhdr n = {.n_namesz = 4, .n_descsz = 8, .n_type = 18};

	memcpy(b, &h, sizeof(h));
	memcpy(b + 64, p, sizeof(p));
	memcpy(b + 1024, &n, sizeof(n));
	memcpy(b + 1036, "Xen", 4);
	store_le(b + 1040, 8, MIB);
}

static size_t pack(uint8_t *b, size_t len, size_t cap)
{
	uint8_t from[FILE_LEN];
	z_stream z = {.next_in = from,
		.avail_in = (unsigned)len,
		.next_out = b,
		.avail_out = (unsigned)cap};

	memcpy(from, b, len);
	if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return z.total_out;
}

/* Makes the file; data[0] chooses the kind, data[1] packing and cutting, the rest are edits. */
static size_t make(uint8_t *b, const uint8_t *data, size_t size)
{
	unsigned kind = size ? data[0] % KINDS : RAW, how = size > 1 ? data[1] : 0;
	size_t len = FILE_LEN;

	memset(b, 0, FILE_LEN + 256);
	if (kind == RAW) {
		len = MIN(size, (size_t)FILE_LEN);
		memcpy(b, data, len);
		return len;
	}
	if (kind == IMAGE_ARM64)
		image(b, "ARM\x64");
	else if (kind == IMAGE_RISCV64)
		image(b, "RSC\x05");
	else if (kind == BZIMAGE)
		bzimage(b);
	else
		elf_pvh(b);
	for (size_t i = 2; i + 3 <= size; i += 3)
		b[load_le(data + i, 2) % (how & 1 ? FILE_LEN : 0x280)] = data[i + 2];
	if (how & 2)
		len = how * 8;
	if (how & 4)
		len = pack(b, len, FILE_LEN + 256);
	if (how & 8 && len > 16)
		b[10 + how % (len - 10)] ^= how;
	return len;
}

static void expect_inside(const struct guest_mem *m, const struct boot *b)
{
	assert(guest_mem_ptr(m, b->entry, 1));
	assert(!b->initrd_size || guest_mem_ptr(m, b->initrd, b->initrd_size));
	assert(!b->initrd_size || b->initrd >= b->kernel_end || b->proto == BOOT_PVH ||
		b->initrd + b->initrd_size <= b->entry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guest_mem mem;
	static struct plan plan;
	static int kernel = -1, initrd = -1;
	uint8_t file[FILE_LEN + 256];
	struct boot boot = {0};
	struct err e = {0};
	size_t len;

	if (kernel < 0) {
		struct vm_shape s = {.machine_version = 1,
			.vcpus = 1,
			.max_vcpus = 1,
			.ram = RAM,
			.page_size = 4096,
			.phys_bits = 40};
		struct mem_range r[PLAN_RAM_RANGES];
		struct mem_opts o = {.numa_node = -1};

		if (arch_plan(&s, &plan, &e) < 0)
			abort();
		for (unsigned i = 0; i < plan.nram; i++)
			r[i] = (struct mem_range){plan.ram[i].base, plan.ram[i].size};
		if (guest_mem_init(&mem, r, plan.nram, &o, &e) < 0)
			abort();
		kernel = memfd_create("kernel", MFD_CLOEXEC);
		initrd = memfd_create("initrd", MFD_CLOEXEC);
		if (kernel < 0 || initrd < 0 || ftruncate(initrd, 12345) < 0)
			abort();
	}
	len = make(file, data, size);
	if (ftruncate(kernel, 0) < 0 || pwrite(kernel, file, len, 0) != (ssize_t)len)
		abort();
	if (arch_load(&mem, &plan, kernel, size & 1 ? initrd : -1, &boot, &e) == 0)
		expect_inside(&mem, &boot);
	else
		assert(e.text[0] && !strchr(e.text, '\n'));
	return 0;
}
