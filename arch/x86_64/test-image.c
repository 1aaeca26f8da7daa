/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <elf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "arch/arch.h"
#include "arch/x86_64/bootparam.h"
#include "vmm/base/num.h"

#define RAM (64 * MIB)

static struct guest_mem mem;
static struct plan plan;

static void setup(void)
{
	const struct vm_shape s = {1, 1, 1, RAM, 4096, 40};
	const struct mem_range range = {0, RAM};
	const struct mem_opts opts = {.numa_node = -1};

	cr_assert_eq(arch_plan(&s, &plan, NULL), 0);
	cr_assert_eq(guest_mem_init(&mem, &range, 1, &opts, NULL), 0);
}

static void teardown(void)
{
	guest_mem_fini(&mem);
}

TestSuite(x86_image, .init = setup, .fini = teardown);

static int file_of(const void *data, size_t len)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, data, len), (ssize_t)len);
	return fd;
}

static int load(const void *data, size_t len, uint64_t initrd, struct boot *b, struct err *e)
{
	int kernel = file_of(data, len), ramdisk = -1, r;

	if (initrd) {
		ramdisk = memfd_create("initrd", MFD_CLOEXEC);
		cr_assert_eq(ftruncate(ramdisk, (off_t)initrd), 0);
		cr_assert_eq(pwrite(ramdisk, "disk", 4, 0), 4);
	}
	r = arch_load(&mem, &plan, kernel, ramdisk, b, e);
	close(kernel);
	if (ramdisk >= 0)
		close(ramdisk);
	return r;
}

static void refused(const void *data, size_t len, const char *words)
{
	struct err e = {0};
	struct boot b;

	cr_assert_lt(load(data, len, 0, &b, &e), 0, "expected: %s", words);
	cr_expect(strstr(e.text, "--kernel"), "%s", e.text);
	cr_expect(strstr(e.text, words), "\"%s\" does not say \"%s\"", e.text, words);
}

/* ---- bzImage ---- */

#define BZ_LEN (2 * 512 + 4096)

struct bz {
	uint8_t b[BZ_LEN];
};

static struct bz bzimage(void)
{
	struct bz z = {0};

	z.b[HDR_SETUP_SECTS] = 1;
	store_le(z.b + HDR_SYSSIZE, 4, 4096 / 16);
	store_le(z.b + HDR_BOOT_FLAG, 2, 0xaa55);
	z.b[HDR_JUMP] = 0x6a;
	memcpy(z.b + HDR_MAGIC, "HdrS", 4);
	store_le(z.b + HDR_VERSION, 2, 0x20f);
	z.b[HDR_LOADFLAGS] = LOADED_HIGH;
	store_le(z.b + HDR_INITRD_MAX, 4, 0x7fffffff);
	store_le(z.b + HDR_ALIGNMENT, 4, 2 * MIB);
	z.b[HDR_RELOCATABLE] = 1;
	store_le(z.b + HDR_XLOADFLAGS, 2, XLF_KERNEL_64);
	store_le(z.b + HDR_CMDLINE_SIZE, 4, 2047);
	store_le(z.b + HDR_PREF_ADDRESS, 8, 16 * MIB);
	store_le(z.b + HDR_INIT_SIZE, 4, 8 * MIB);
	memcpy(z.b + 1024, "payload", 7);
	return z;
}

Test(x86_image, bzimage_goes_where_it_prefers)
{
	struct bz z = bzimage();
	struct boot b;
	struct err e = {0};

	cr_assert_eq(load(z.b, BZ_LEN, MIB + 5, &b, &e), 0, "%s", e.text);
	cr_expect_eq(b.proto, BOOT_LINUX64);
	cr_expect_eq(b.entry, 16 * MIB + 0x200);
	cr_expect_eq(b.kernel_end, 24 * MIB);
	cr_expect_eq(memcmp(guest_mem_ptr(&mem, 16 * MIB, 7), "payload", 7), 0);
	cr_expect_eq(memcmp(b.setup, z.b + HDR_SETUP_SECTS, b.setup_len), 0);
	cr_expect_eq(b.initrd_size, MIB + 5);
	cr_expect_geq(b.initrd, b.kernel_end);
	cr_expect_leq(b.initrd + b.initrd_size, RAM);
	cr_expect_eq(memcmp(guest_mem_ptr(&mem, b.initrd, 4), "disk", 4), 0);
}

Test(x86_image, relocatable_bzimage_moves_when_it_must)
{
	struct bz z = bzimage();
	struct boot b;

	store_le(z.b + HDR_PREF_ADDRESS, 8, 60 * MIB);
	cr_assert_eq(load(z.b, BZ_LEN, 0, &b, NULL), 0);
	cr_expect_eq(b.entry, 2 * MIB + 0x200);
	z.b[HDR_RELOCATABLE] = 0;
	refused(z.b, BZ_LEN, "--memory");
}

Test(x86_image, bad_bzimages_are_refused)
{
	struct bz z = bzimage();

	for (size_t len = HDR_MAGIC + 4; len < BZ_LEN - 16; len += 97)
		refused(z.b, len, "truncated");
	store_le(z.b + HDR_VERSION, 2, 0x20b);
	refused(z.b, BZ_LEN, "64-bit");
	z = bzimage();
	store_le(z.b + HDR_XLOADFLAGS, 2, 0);
	refused(z.b, BZ_LEN, "64-bit");
	z = bzimage();
	z.b[HDR_LOADFLAGS] = 0;
	refused(z.b, BZ_LEN, "zImage");
	z = bzimage();
	store_le(z.b + HDR_ALIGNMENT, 4, 3);
	refused(z.b, BZ_LEN, "alignment");
	z = bzimage();
	store_le(z.b + HDR_INIT_SIZE, 4, 0xffffffff);
	refused(z.b, BZ_LEN, "--memory");
	z = bzimage();
	store_le(z.b + HDR_SYSSIZE, 4, 0);
	refused(z.b, BZ_LEN, "truncated");
}

Test(x86_image, initramfs_must_fit)
{
	struct bz z = bzimage();
	struct err e = {0};
	struct boot b;

	cr_assert_lt(load(z.b, BZ_LEN, 41 * MIB, &b, &e), 0);
	cr_expect(strstr(e.text, "--initramfs"), "%s", e.text);
	cr_assert_eq(load(z.b, BZ_LEN, 40 * MIB, &b, NULL), 0);
	/* where the kernel wants it no higher */
	store_le(z.b + HDR_INITRD_MAX, 4, 32 * MIB - 1);
	cr_assert_eq(load(z.b, BZ_LEN, 8 * MIB, &b, NULL), 0);
	cr_expect_leq(b.initrd + b.initrd_size, 32 * MIB);
}

/* ---- ELF ---- */

struct elf {
	Elf64_Ehdr h;
	Elf64_Phdr p[3]; /* the last is left unused */
	struct {
		Elf64_Nhdr n;
		char name[4];
		uint64_t entry;
	} note;
	uint8_t text[64];
};

static struct elf elf_kernel(void)
{
	struct elf k = {
		.h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_phoff = offsetof(struct elf, p),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 3},
		.p = {{.p_type = PT_LOAD,
			      .p_offset = offsetof(struct elf, text),
			      .p_paddr = 2 * MIB,
			      .p_filesz = 64,
			      .p_memsz = 4 * MIB},
			{.p_type = PT_NOTE,
				.p_offset = offsetof(struct elf, note),
				.p_filesz = sizeof(k.note),
				.p_memsz = sizeof(k.note)}},
		.note = {.n = {4, 8, 18}, .name = "Xen", .entry = 2 * MIB + 8},
		.text = "elf text",
	};

	return k;
}

Test(x86_image, elf_with_a_pvh_note)
{
	struct elf k = elf_kernel();
	struct boot b;
	struct err e = {0};

	cr_assert_eq(load(&k, sizeof(k), MIB, &b, &e), 0, "%s", e.text);
	cr_expect_eq(b.proto, BOOT_PVH);
	cr_expect_eq(b.entry, 2 * MIB + 8);
	cr_expect_eq(b.kernel_end, 6 * MIB);
	cr_expect_eq(memcmp(guest_mem_ptr(&mem, 2 * MIB, 8), "elf text", 8), 0);
	cr_expect_geq(b.initrd, b.kernel_end);
}

Test(x86_image, elf_of_32_bit_class)
{
	struct {
		Elf32_Ehdr h;
		Elf32_Phdr p[2];
		struct {
			Elf32_Nhdr n;
			char name[4];
			uint32_t entry;
		} note;
		char text[16];
	} k = {
		.h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
			.e_type = ET_EXEC,
			.e_machine = EM_386,
			.e_phoff = sizeof(Elf32_Ehdr),
			.e_phentsize = sizeof(Elf32_Phdr),
			.e_phnum = 2},
		.p = {{.p_type = PT_NOTE, .p_filesz = 20},
			{.p_type = PT_LOAD, .p_paddr = MIB, .p_filesz = 16, .p_memsz = 16}},
		.note = {.n = {4, 4, 18}, .name = "Xen", .entry = MIB},
		.text = "narrow",
	};
	struct boot b;
	struct err e = {0};

	k.p[0].p_offset = (uint32_t)((char *)&k.note - (char *)&k);
	k.p[1].p_offset = (uint32_t)((char *)&k.text - (char *)&k);
	cr_assert_eq(load(&k, sizeof(k), 0, &b, &e), 0, "%s", e.text);
	cr_expect_eq(b.entry, MIB);
	cr_expect_str_eq(guest_mem_ptr(&mem, MIB, 16), "narrow");
}

Test(x86_image, bad_elf_files_are_refused)
{
	struct elf k = elf_kernel();

	for (size_t len = 4; len < sizeof(k); len += 13)
		refused(&k, len, "truncated");
	k.note.n.n_type = 1;
	refused(&k, sizeof(k), "PVH note");
	k = elf_kernel();
	k.note.entry = 60 * MIB;
	refused(&k, sizeof(k), "entry");
	k = elf_kernel();
	k.h.e_machine = EM_AARCH64;
	refused(&k, sizeof(k), "arm64");
	k = elf_kernel();
	k.h.e_machine = EM_RISCV;
	refused(&k, sizeof(k), "riscv64");
	k = elf_kernel();
	k.h.e_phnum = 0xffff;
	refused(&k, sizeof(k), "program headers");
	k = elf_kernel();
	k.h.e_phoff = UINT64_MAX - 8;
	refused(&k, sizeof(k), "truncated");
	k = elf_kernel();
	k.h.e_ident[EI_DATA] = ELFDATA2MSB;
	refused(&k, sizeof(k), "little-endian");
}

Test(x86_image, bad_segments_are_refused)
{
	struct elf k = elf_kernel();

	k.p[0].p_memsz = 8;
	refused(&k, sizeof(k), "sizes");
	k = elf_kernel();
	k.p[0].p_paddr = UINT64_MAX - 100;
	refused(&k, sizeof(k), "sizes");
	k = elf_kernel();
	k.p[0].p_paddr = 62 * MIB;
	refused(&k, sizeof(k), "--memory");
	k = elf_kernel();
	k.p[0].p_paddr = 0x7000;
	refused(&k, sizeof(k), "0x100000");
	k = elf_kernel();
	k.p[2] = k.p[0];
	refused(&k, sizeof(k), "overlap");
	k = elf_kernel();
	k.p[0].p_offset = UINT64_MAX;
	refused(&k, sizeof(k), "truncated");
	k = elf_kernel();
	k.p[0].p_type = PT_NULL;
	refused(&k, sizeof(k), "nothing to load");
}

Test(x86_image, strangers_are_named)
{
	uint8_t head[256] = {0};

	refused(head, 0, "empty");
	refused(head, sizeof(head), "not a kernel");
	memcpy(head + 56, "ARM\x64", 4);
	refused(head, sizeof(head), "for arm64");
	memcpy(head + 56, "RSC\x05", 4);
	refused(head, sizeof(head), "for riscv64");
	head[0] = 0x1f;
	head[1] = 0x8b;
	refused(head, sizeof(head), "gzip");
}
