/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. Offsets: 8 text_offset, 16 image_size, 24 flags, 56 magic. The kernel goes to the
 * start of RAM, the device tree (plan) to the end of its first part, the initramfs right below the
 * tree, or above it where only that has room. */
#include "arch/common/image_linux.h"

#include <string.h>
#include "arch/common/image.h"
#include "vmm/base/num.h"

#define HEADER_LEN	64
#define HEAD_LEN	1024	/* with the PE headers, and enough to know a bzImage */
#define OLD_TEXT_OFFSET 0x80000 /* arm64 before image_size was filled in (booting.rst §4) */

struct head {
	uint8_t b[HEAD_LEN];
	size_t len;
};

static bool has(const struct head *h, size_t off, const char *magic, size_t n)
{
	return h->len >= off + n && !memcmp(h->b + off, magic, n);
}

/* Whose kernel this is, in words, or NULL. */
static const char *image_chip(const struct head *h)
{
	if (has(h, 56, "ARM\x64", 4))
		return "arm64";
	if (has(h, 56, "RSC\x05", 4))
		return "riscv64";
	if (has(h, 0x202, "HdrS", 4))
		return "x86_64";
	return NULL;
}

static int not_image(const struct head *h, const char *chip, struct err *e)
{
	const char *other = image_chip(h);

	if (other)
		return err_set(e, ERR_HOST, -ENOEXEC,
			"--kernel: this is a kernel for %s, but the host is %s", other, chip);
	if (has(h, 0,
		    "\x7f"
		    "ELF",
		    4))
		return err_set(e, ERR_HOST, -ENOEXEC,
			"--kernel: this is an ELF file; %s boots the Image, plain or gzip'd", chip);
	if (has(h, 4, "zimg", 4))
		return err_set(e, ERR_HOST, -ENOEXEC,
			"--kernel: this is an EFI zboot file; %s boots the Image inside it, plain or "
			"gzip'd",
			chip);
	if (h->len < HEADER_LEN)
		return err_set(e, ERR_HOST, -ENOEXEC,
			"--kernel: %s; a Linux Image for %s is needed, plain or gzip'd",
			h->len ? "the file is truncated" : "the file is empty", chip);
	return err_set(e, ERR_HOST, -ENOEXEC,
		"--kernel: not a kernel: a Linux Image for %s is needed, plain or gzip'd", chip);
}

static int parse(const struct head *h, const char *chip, struct linux_image *ret, struct err *e)
{
	const char *is = h->len >= HEADER_LEN ? image_chip(h) : NULL;

	if (!is || strcmp(is, chip))
		return not_image(h, chip, e);
	ret->text_offset = load_le(h->b + 8, 8);
	ret->image_size = load_le(h->b + 16, 8);
	ret->flags = load_le(h->b + 24, 8);
	if (!ret->image_size)
		ret->text_offset = OLD_TEXT_OFFSET;
	if (ret->flags & 1)
		return err_set(
			e, ERR_HOST, -ENOEXEC, "--kernel: big-endian kernels cannot boot here");
	if (ret->text_offset % 4096)
		return err_set(e, ERR_HOST, -ENOEXEC, "--kernel: the Image header is damaged");
	return 0;
}

/* An Image is an EFI program, too, and only that header tells where the file ends: past its last
 * section's bytes (PE format, "Section Table"). 0 when there is no such header. */
static uint64_t pe_end(const struct head *h)
{
	uint64_t pe = load_le(h->b + 0x3c, 4), end = 0;
	unsigned sections, table;

	if (!has(h, 0, "MZ", 2) || pe > h->len || !has(h, pe, "PE\0", 4) || h->len < pe + 24)
		return 0;
	sections = (unsigned)load_le(h->b + pe + 6, 2);
	table = (unsigned)(pe + 24 + load_le(h->b + pe + 20, 2));
	for (unsigned i = 0; i < sections && table + 40 <= h->len; i++, table += 40) {
		uint64_t raw = load_le(h->b + table + 16, 4) + load_le(h->b + table + 20, 4);

		end = MAX(end, raw);
	}
	return end;
}

static int no_room(const struct plan *p, const struct linux_image *img, struct err *e)
{
	char need[24], at[24], have[24];

	return err_set(e, ERR_USAGE, -E2BIG,
		"--kernel: it needs %s at %s into RAM, more than --memory size=%s has beside the device "
		"tree",
		num_format_size(img->image_size, need), num_format_size(img->text_offset, at),
		num_format_size(p->shape.ram, have));
}

static int load_kernel(struct guest_mem *m, const struct plan *p, struct image_file *f,
	const char *chip, struct boot *ret, struct err *e)
{
	struct head h = {.len = 0};
	struct linux_image img = {0};
	uint64_t end;
	ssize_t n = image_read(f, h.b, sizeof(h.b), e);
	int r;

	if (n < 0)
		return (int)n;
	h.len = (size_t)n;
	r = parse(&h, chip, &img, e);
	if (r < 0)
		return r;
	/* Everything from the kernel to the tree is one bank of RAM. */
	if (img.text_offset > p->fw_gpa - p->kernel_gpa ||
		img.image_size > p->fw_gpa - p->kernel_gpa - img.text_offset ||
		h.len > p->fw_gpa - p->kernel_gpa - img.text_offset)
		return no_room(p, &img, e);
	ret->entry = p->kernel_gpa + img.text_offset;
	r = guest_mem_write(m, ret->entry, h.b, h.len);
	if (r < 0)
		return r;
	n = image_read_rest(f, m, ret->entry + h.len, p->fw_gpa - ret->entry - h.len, e);
	if (n < 0)
		return (int)n;
	end = (uint64_t)n + h.len;
	if (end < pe_end(&h))
		return err_set(e, ERR_HOST, -ENOEXEC,
			"--kernel: the file is truncated: %llu bytes of %llu",
			(unsigned long long)end, (unsigned long long)pe_end(&h));
	ret->kernel_end = ret->entry + MAX(end, img.image_size);
	return 0;
}

static int load_initrd(
	struct guest_mem *m, const struct plan *p, int fd, struct boot *ret, struct err *e)
{
	struct err first = {0};
	int r = image_load_initrd(m, fd, ret->kernel_end, p->fw_gpa, ret, &first);

	if (r == -ENOSPC)
		return image_load_initrd(
			m, fd, p->fw_gpa + p->fw_size, p->ram[0].base + p->ram[0].size, ret, e);
	return r < 0 ? err_set(e, first.kind, r, "%s", first.text) : 0;
}

int linux_image_load(struct guest_mem *m, const struct plan *p, const char *chip, int kernel_fd,
	int initrd_fd, struct boot *ret, struct err *e)
{
	struct boot boot = {.proto = BOOT_IMAGE};
	struct image_file f;
	int r = image_open(&f, kernel_fd, "--kernel", e);

	if (r < 0)
		return r;
	r = load_kernel(m, p, &f, chip, &boot, e);
	image_close(&f);
	if (r == 0 && initrd_fd >= 0)
		r = load_initrd(m, p, initrd_fd, &boot, e);
	if (r == 0)
		*ret = boot;
	return r;
}
