/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of x86_64: bzImage, entered at its 64-bit entry point, and ELF with a PVH note, entered
 * in 32-bit mode. RAM is fresh when this runs, so nothing is cleared. */
#include "arch/arch.h"

#include <elf.h>
#include <string.h>
#include "arch/common/elf.h"
#include "arch/common/image.h"
#include "arch/x86_64/bootparam.h"
#include "arch/x86_64/layout.h"
#include "vmm/base/num.h"

#define HEAD_LEN    1024
#define INITRD_MAX  0x7fffffffull /* where a kernel does not say */
#define PROTO_64BIT 0x020c	  /* the first with a 64-bit entry point */

static uint64_t low_ram_end(const struct plan *p)
{
	return p->ram[0].base + p->ram[0].size;
}

/* What the file is, when it is nothing we boot. The magics of arm64's and riscv64's Image are at 56
 * (Documentation/arch/arm64/booting.rst, riscv/boot-image-header.rst). */
static const char *stranger(const uint8_t *head, size_t len)
{
	if (len >= 60 && !memcmp(head + 56, "ARM\x64", 4))
		return "a kernel for arm64";
	if (len >= 60 && !memcmp(head + 56, "RSC\x05", 4))
		return "a kernel for riscv64";
	return "not a kernel";
}

static int bad_bzimage(struct err *e, const char *what)
{
	return err_set(e, ERR_HOST, -ENOEXEC, "--kernel: a bzImage that is %s", what);
}

static uint64_t field(const uint8_t *head, unsigned off, unsigned bytes)
{
	return load_le(head + off, bytes);
}

static int check_header(const uint8_t *head, size_t len, struct err *e)
{
	if (len < HDR_MIN_LEN)
		return bad_bzimage(e, "truncated");
	if (field(head, HDR_BOOT_FLAG, 2) != 0xaa55)
		return bad_bzimage(e, "damaged: no boot flag");
	if (field(head, HDR_VERSION, 2) < PROTO_64BIT ||
		!(field(head, HDR_XLOADFLAGS, 2) & XLF_KERNEL_64))
		return bad_bzimage(e, "32-bit; needed is a 64-bit kernel (boot protocol 2.12)");
	if (!(head[HDR_LOADFLAGS] & LOADED_HIGH))
		return bad_bzimage(e, "a zImage; needed is one that loads above 1 MiB");
	if (!is_pow2(field(head, HDR_ALIGNMENT, 4)))
		return bad_bzimage(e, "damaged: its alignment is no power of two");
	return 0;
}

/* Where the kernel prefers to be, else the lowest place where it may be; 0 when it fits nowhere. */
static uint64_t place(const uint8_t *head, const struct plan *p, uint64_t need)
{
	uint64_t pref = field(head, HDR_PREF_ADDRESS, 8), end = low_ram_end(p);
	uint64_t low = align_up(p->kernel_gpa, field(head, HDR_ALIGNMENT, 4));

	if (pref >= p->kernel_gpa && pref <= end && need <= end - pref)
		return pref;
	if (head[HDR_RELOCATABLE] && low <= end && need <= end - low)
		return low;
	return 0;
}

static void keep_header(const uint8_t *head, struct boot *b)
{
	unsigned end = HDR_MAGIC + head[HDR_JUMP];

	end = MIN(MAX(end, HDR_MIN_LEN), HEAD_LEN);
	b->setup_header = HDR_SETUP_SECTS;
	b->setup_len = end - HDR_SETUP_SECTS;
	memcpy(b->setup, head + HDR_SETUP_SECTS, b->setup_len);
}

static int load_bzimage(struct guest_mem *m, const struct plan *p, struct image_file *f,
	const uint8_t *head, size_t len, struct boot *b, struct err *e)
{
	uint64_t sects, size, need, at;
	char text[24];
	ssize_t n;
	int r = check_header(head, len, e);

	if (r < 0)
		return r;
	sects = head[HDR_SETUP_SECTS] ? head[HDR_SETUP_SECTS] : 4;
	size = field(head, HDR_SYSSIZE, 4) * 16;
	f->pos = (sects + 1) * 512;
	if (size <= KERNEL64_ENTRY || f->size < f->pos)
		return bad_bzimage(e, "truncated");
	/* The last 16 bytes that syssize counts may be partly absent. */
	if (f->size - f->pos + 15 < size)
		return bad_bzimage(e, "truncated");
	size = MIN(size, f->size - f->pos);
	need = MAX(size, field(head, HDR_INIT_SIZE, 4));
	at = place(head, p, need);
	if (!at)
		return err_set(e, ERR_HOST, -ENOSPC,
			"--kernel: needs %s of RAM above its load address; raise --memory size=",
			num_format_size(align_up(need, MIB), text));
	n = image_read(f, guest_mem_ptr(m, at, size), size, e);
	if (n < 0)
		return (int)n;
	if ((uint64_t)n != size)
		return bad_bzimage(e, "truncated");
	guest_mem_dirty(m, at, size);
	b->proto = BOOT_LINUX64;
	b->entry = at + KERNEL64_ENTRY;
	b->kernel_end = at + need;
	keep_header(head, b);
	return 0;
}

static int load_elf(
	struct guest_mem *m, const struct plan *p, int fd, struct boot *b, struct err *e)
{
	static const uint16_t machines[] = {EM_X86_64, EM_386, 0};
	struct elf_image img;
	int r = elf_load(m, fd, machines, p->kernel_gpa, &img, e);

	if (r < 0)
		return r;
	if (img.pvh_entry < p->kernel_gpa || img.pvh_entry >= MIN(img.end, low_ram_end(p)))
		return err_set(e, ERR_HOST, -ENOEXEC,
			"--kernel: damaged ELF file: the PVH entry lies outside its segments");
	b->proto = BOOT_PVH;
	b->entry = img.pvh_entry;
	b->kernel_end = img.end;
	return 0;
}

static int load_kernel(
	struct guest_mem *m, const struct plan *p, int fd, struct boot *b, struct err *e)
{
	struct image_file f = {.fd = fd, .flag = "--kernel"};
	uint8_t head[HEAD_LEN];
	ssize_t n;
	int r = image_open(&f, fd, f.flag, e);

	if (r < 0)
		return r;
	if (f.gz) {
		image_close(&f);
		return err_set(e, ERR_HOST, -ENOEXEC, "--kernel: a gzip file; unpack it first");
	}
	n = image_read(&f, head, sizeof(head), e);
	if (n < 0)
		return (int)n;
	if (elf_is(head, (size_t)n))
		return load_elf(m, p, fd, b, e);
	if (n >= HDR_MAGIC + 4 && !memcmp(head + HDR_MAGIC, "HdrS", 4))
		return load_bzimage(m, p, &f, head, (size_t)n, b, e);
	return err_set(e, ERR_HOST, -ENOEXEC,
		"--kernel: %s; needed is a bzImage or an ELF kernel with a PVH note for x86_64",
		n ? stranger(head, (size_t)n) : "empty");
}

static uint64_t initrd_ceiling(const struct plan *p, const struct boot *b)
{
	uint64_t max = INITRD_MAX;

	if (b->proto == BOOT_LINUX64)
		max = load_le(b->setup + HDR_INITRD_MAX - HDR_SETUP_SECTS, 4);
	return MIN(low_ram_end(p), max + 1);
}

int arch_load(struct guest_mem *m, const struct plan *p, int kernel_fd, int initrd_fd,
	struct boot *ret, struct err *e)
{
	struct boot b = {0};
	int r = load_kernel(m, p, kernel_fd, &b, e);

	if (r < 0)
		return r;
	if (initrd_fd >= 0) {
		r = image_load_initrd(m, initrd_fd, b.kernel_end, initrd_ceiling(p, &b), &b, e);
		if (r < 0)
			return r;
	}
	*ret = b;
	return 0;
}
