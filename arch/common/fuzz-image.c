/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel loaders against files that nobody vouches for; built once for each chip. Random bytes
 * hardly pass a magic number, so the first byte picks a valid beginning of one of the formats, over
 * which the rest of the input is laid as edits. What loads must also be described. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "arch/arch.h"
#include "vmm/base/num.h"

#define FILE_LEN 8192
#define RAM	 (64 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ELF of 64 bits: one segment and a PVH note; machine as on x86_64. */
static void seed_elf(uint8_t *f)
{
	static const uint8_t head[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};

	memcpy(f, head, sizeof(head));
	store_le(f + 18, 2, 62);
	store_le(f + 32, 8, 64); /* program headers */
	store_le(f + 54, 2, 56);
	store_le(f + 56, 2, 2);
	store_le(f + 64, 4, 1); /* PT_LOAD */
	store_le(f + 64 + 8, 8, 1024);
	store_le(f + 64 + 24, 8, 2 * MIB);
	store_le(f + 64 + 32, 8, 4096);
	store_le(f + 64 + 40, 8, 8192);
	store_le(f + 120, 4, 4); /* PT_NOTE */
	store_le(f + 120 + 8, 8, 512);
	store_le(f + 120 + 32, 8, 24);
	store_le(f + 120 + 40, 8, 24);
	store_le(f + 512, 4, 4);
	store_le(f + 516, 4, 8);
	store_le(f + 520, 4, 18);
	memcpy(f + 524, "Xen", 4);
	store_le(f + 528, 8, 2 * MIB);
}

static void seed_bzimage(uint8_t *f)
{
	f[0x1f1] = 1;
	store_le(f + 0x1f4, 4, 4096 / 16);
	store_le(f + 0x1fe, 2, 0xaa55);
	f[0x201] = 0x6a;
	memcpy(f + 0x202, "HdrS", 4);
	store_le(f + 0x206, 2, 0x20f);
	f[0x211] = 1;
	store_le(f + 0x22c, 4, 0x7fffffff);
	store_le(f + 0x230, 4, 2 * MIB);
	f[0x234] = 1;
	store_le(f + 0x236, 2, 1);
	store_le(f + 0x238, 4, 2047);
	store_le(f + 0x258, 8, 16 * MIB);
	store_le(f + 0x260, 4, 8 * MIB);
}

/* The Image of arm64 and riscv64: the fields stand at the same places. */
static void seed_image(uint8_t *f, const char *magic)
{
	store_le(f + 8, 8, 2 * MIB); /* text offset */
	store_le(f + 16, 8, 4 * MIB);
	store_le(f + 32, 4, 2); /* version */
	memcpy(f + 56, magic, 4);
}

static void seed(uint8_t *f, uint8_t which)
{
	switch (which % 5) {
	case 0:
		seed_elf(f);
		break;
	case 1:
		seed_bzimage(f);
		break;
	case 2:
		seed_image(f, "ARM\x64");
		break;
	case 3:
		seed_image(f, "RSC\x05");
		break;
	}
}

/* { u16 offset, u8 length, bytes }… into the file, whose length the second byte shortens. */
static size_t edit(uint8_t *f, const uint8_t *data, size_t size)
{
	size_t len = FILE_LEN, i = 2;

	seed(f, data[0]);
	if (data[1] & 0x80)
		len = (size_t)(data[1] & 0x7f) * 64;
	while (size - i > 3) {
		size_t off = load_le(data + i, 2) % FILE_LEN, n = data[i + 2] % 16;

		i += 3;
		n = MIN(n, size - i);
		n = MIN(n, FILE_LEN - off);
		memcpy(f + off, data + i, n);
		i += n;
	}
	return len;
}

static int file_of(const uint8_t *f, size_t len)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || pwrite(fd, f, len, 0) != (ssize_t)len)
		abort();
	return fd;
}

static void load(const uint8_t *f, size_t len)
{
	const struct vm_shape shape = {
		.machine_version = 1,
		.vcpus = 2,
		.max_vcpus = 2,
		.ram = RAM,
		.page_size = (uint64_t)sysconf(_SC_PAGESIZE),
		.phys_bits = 40,
	};
	const struct mem_opts opts = {.numa_node = -1};
	const struct machine machine = {.vcpus = 2, .cmdline = ""};
	struct mem_range range[PLAN_RAM_RANGES];
	struct guest_mem mem = {0};
	struct plan plan;
	struct boot boot;
	struct err e = {0};
	int kernel = file_of(f, len), initrd = file_of(f, MIN(len, 100)), r;

	if (arch_plan(&shape, &plan, NULL) < 0)
		abort();
	for (unsigned i = 0; i < plan.nram; i++)
		range[i] = (struct mem_range){plan.ram[i].base, plan.ram[i].size};
	if (guest_mem_init(&mem, range, plan.nram, &opts, NULL) < 0)
		abort();
	r = arch_load(&mem, &plan, kernel, len ? initrd : -1, &boot, &e);
	assert(r >= 0 || e.kind != ERR_NONE); /* every refusal has its line */
	assert(!strchr(e.text, '\n'));
	if (r >= 0) {
		/* What was loaded lies in RAM. */
		assert(guest_mem_ptr(&mem, boot.entry, 1));
		assert(!boot.initrd_size || guest_mem_ptr(&mem, boot.initrd, boot.initrd_size));
	}
	/* arm64's and riscv64's tables need facts that only a host has. */
	if (r >= 0 && !strcmp(arch_name(), "x86_64"))
		arch_describe(&mem, &plan, &machine, &boot, &e);
	guest_mem_fini(&mem);
	close(kernel);
	close(initrd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[FILE_LEN];

	if (size < 2)
		return 0;
	memset(file, 0, sizeof(file));
	load(file, edit(file, data, size));
	return 0;
}
