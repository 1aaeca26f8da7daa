/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of arch_load() for the chips that boot an Image. Included once by each chip's test-image.c,
 * which defines CHIP, MAGIC, OTHER_CHIP, OTHER_MAGIC (of 4 bytes) and RAM_BASE. Files are made in
 * memory; the machine has 64 MiB. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include "arch/arch.h"
#include "vmm/base/num.h"

#define RAM	    (64 * MIB)
#define TEXT_OFFSET (2 * MIB)

struct fixture {
	struct guest_mem mem;
	struct plan plan;
	struct boot boot;
	struct err err;
};

static void setup(struct fixture *f)
{
	struct vm_shape shape = {.machine_version = 1,
		.vcpus = 1,
		.max_vcpus = 1,
		.ram = RAM,
		.page_size = 4096,
		.phys_bits = 40};
	struct mem_range range = {RAM_BASE, RAM};
	struct mem_opts opts = {.numa_node = -1};

	memset(f, 0, sizeof(*f));
	cr_assert_eq(arch_plan(&shape, &f->plan, &f->err), 0, "%s", f->err.text);
	cr_assert_eq(guest_mem_init(&f->mem, &range, 1, &opts, &f->err), 0, "%s", f->err.text);
}

static int file_of(const void *bytes, size_t len)
{
	int fd = memfd_create("file", 0);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
	return fd;
}

/* An Image of len bytes that says it needs image_size. */
static uint8_t *image_of(size_t len, uint64_t image_size, uint64_t flags, const char *magic)
{
	uint8_t *b = calloc(1, len);

	for (size_t i = 64; i < len; i++)
		b[i] = (uint8_t)(i * 7 >> 3);
	store_le(b + 8, 8, TEXT_OFFSET);
	store_le(b + 16, 8, image_size);
	store_le(b + 24, 8, flags);
	memcpy(b + 56, magic, 4);
	return b;
}

static int load(struct fixture *f, const void *bytes, size_t len, int initrd)
{
	int fd = file_of(bytes, len);
	int r = arch_load(&f->mem, &f->plan, fd, initrd, &f->boot, &f->err);

	close(fd);
	return r;
}

/* One line that names the flag and holds `says`. */
static void expect_error(struct fixture *f, int r, const char *flag, const char *says)
{
	cr_assert_lt(r, 0);
	cr_assert(strstr(f->err.text, flag) == f->err.text, "%s", f->err.text);
	cr_assert(strstr(f->err.text, says), "%s", f->err.text);
	cr_assert_not(strchr(f->err.text, '\n'));
}

Test(image, plain)
{
	struct fixture f;
	uint8_t *b = image_of(300000, 3 * MIB, 0, MAGIC);

	setup(&f);
	cr_assert_eq(load(&f, b, 300000, -1), 0, "%s", f.err.text);
	cr_assert_eq(f.boot.proto, BOOT_IMAGE);
	cr_assert_eq(f.boot.entry, RAM_BASE + TEXT_OFFSET);
	cr_assert_eq(f.boot.kernel_end, RAM_BASE + TEXT_OFFSET + 3 * MIB);
	cr_assert_eq(f.boot.initrd_size, 0);
	cr_assert_eq(memcmp(guest_mem_ptr(&f.mem, f.boot.entry, 300000), b, 300000), 0);
	free(b);
	guest_mem_fini(&f.mem);
}

static size_t pack(const uint8_t *b, size_t len, uint8_t *ret, size_t cap)
{
	z_stream z = {.next_in = (uint8_t *)b,
		.avail_in = (unsigned)len,
		.next_out = ret,
		.avail_out = (unsigned)cap};

	cr_assert_eq(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

Test(image, packed)
{
	struct fixture f;
	uint8_t *b = image_of(300000, 3 * MIB, 0, MAGIC), *z = malloc(400000);
	size_t len = pack(b, 300000, z, 400000);

	setup(&f);
	cr_assert_eq(load(&f, z, len, -1), 0, "%s", f.err.text);
	cr_assert_eq(memcmp(guest_mem_ptr(&f.mem, f.boot.entry, 300000), b, 300000), 0);
	f.err = (struct err){0};
	expect_error(&f, load(&f, z, len / 2, -1), "--kernel: ", "truncated");
	f.err = (struct err){0};
	z[len / 2] ^= 0xff;
	expect_error(&f, load(&f, z, len, -1), "--kernel: ", "damaged");
	free(b);
	free(z);
	guest_mem_fini(&f.mem);
}

/* A small archive of much: it must stop at the end of the guest's memory. */
Test(image, bomb)
{
	struct fixture f;
	size_t len = RAM + MIB;
	uint8_t *b = calloc(1, len), *z = malloc(MIB), *head = image_of(64, MIB, 0, MAGIC);

	memcpy(b, head, 64);
	len = pack(b, len, z, MIB);
	setup(&f);
	expect_error(&f, load(&f, z, len, -1), "--kernel: ", "--memory");
	free(b);
	free(z);
	free(head);
	guest_mem_fini(&f.mem);
}

Test(image, refused)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *says;
	} bad[] = {
		{"", 0, "empty"},
		{"MZ", 2, "truncated"},
		{"\x7f"
		 "ELF",
			4, "ELF"},
	};
	struct fixture f;
	uint8_t *b, noise[4096];

	setup(&f);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		f.err = (struct err){0};
		expect_error(&f, load(&f, bad[i].bytes, bad[i].len, -1), "--kernel: ", bad[i].says);
	}
	for (unsigned i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(i * 31);
	f.err = (struct err){0};
	expect_error(&f, load(&f, noise, sizeof(noise), -1), "--kernel: ", "not a kernel");

	memcpy(noise + 0x202, "HdrS", 4);
	f.err = (struct err){0};
	expect_error(&f, load(&f, noise, sizeof(noise), -1), "--kernel: ", "x86_64");

	b = image_of(4096, MIB, 0, OTHER_MAGIC);
	f.err = (struct err){0};
	expect_error(&f, load(&f, b, 4096, -1), "--kernel: ", "for " OTHER_CHIP);
	free(b);

	b = image_of(4096, MIB, 1, MAGIC);
	f.err = (struct err){0};
	expect_error(&f, load(&f, b, 4096, -1), "--kernel: ", "big-endian");
	free(b);

	b = image_of(4096, RAM, 0, MAGIC);
	f.err = (struct err){0};
	expect_error(&f, load(&f, b, 4096, -1), "--kernel: ", "--memory");
	store_le(b + 16, 8, UINT64_MAX);
	f.err = (struct err){0};
	expect_error(&f, load(&f, b, 4096, -1), "--kernel: ", "--memory");
	free(b);
	guest_mem_fini(&f.mem);
}

/* The EFI header tells how long the file should be. */
Test(image, cut_off)
{
	struct fixture f;
	uint8_t *b = image_of(8192, MIB, 0, MAGIC);

	memcpy(b, "MZ", 2);
	store_le(b + 0x3c, 4, 64);
	memcpy(b + 64, "PE\0", 4);
	store_le(b + 64 + 6, 2, 1);   /* one section */
	store_le(b + 64 + 20, 2, 16); /* after 16 bytes of optional header */
	store_le(b + 64 + 24 + 16 + 16, 4, 4096);
	store_le(b + 64 + 24 + 16 + 20, 4, 4096);
	setup(&f);
	cr_assert_eq(load(&f, b, 8192, -1), 0, "%s", f.err.text);
	expect_error(&f, load(&f, b, 8191, -1), "--kernel: ", "truncated: 8191 bytes of 8192");
	free(b);
	guest_mem_fini(&f.mem);
}

Test(image, initrd)
{
	struct fixture f;
	uint8_t *b = image_of(4096, MIB, 0, MAGIC), *rd = malloc(40 * MIB);
	int fd;

	memset(rd, 0x5a, 40 * MIB);
	setup(&f);
	fd = file_of(rd, 100001);
	cr_assert_eq(load(&f, b, 4096, fd), 0, "%s", f.err.text);
	cr_assert_eq(f.boot.initrd_size, 100001);
	cr_assert_eq(f.boot.initrd % (64 * KIB), 0);
	cr_assert_geq(f.boot.initrd, f.boot.kernel_end);
	cr_assert_leq(f.boot.initrd + f.boot.initrd_size, f.plan.fw_gpa);
	cr_assert_eq(memcmp(guest_mem_ptr(&f.mem, f.boot.initrd, 100001), rd, 100001), 0);
	close(fd);

	fd = file_of(rd, 40 * MIB);
	cr_assert_eq(load(&f, b, 4096, fd), 0, "%s", f.err.text);
	store_le(b + 16, 8, 40 * MIB); /* now the kernel leaves less than 40 MiB */
	expect_error(&f, load(&f, b, 4096, fd), "--initramfs: ", "41943040 bytes");
	close(fd);

	f.err = (struct err){0};
	fd = file_of(rd, 0);
	expect_error(&f, load(&f, b, 4096, fd), "--initramfs: ", "empty");
	close(fd);
	free(b);
	free(rd);
	guest_mem_fini(&f.mem);
}
