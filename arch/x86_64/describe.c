/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the guest its machine: ACPI tables, then either the zero page with page tables and a GDT
 * (64-bit Linux boot protocol) or hvm_start_info (PVH). Every page touched here costs start-up
 * time, so only what the protocol in use asks for is written. */
#include "arch/arch.h"

#include <stdio.h>
#include <string.h>
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/bootparam.h"
#include "arch/x86_64/layout.h"
#include "vmm/base/num.h"

#define E820_MAX	(PLAN_RAM_RANGES + 4)
#define PVH_CMDLINE_MAX 4095 /* PVH sets no limit; Linux takes 2047 */

struct e820 {
	uint64_t base, size;
	uint32_t type;
};

static unsigned memory_map(const struct plan *p, struct e820 ret[E820_MAX])
{
	unsigned n = 0;

	ret[n++] = (struct e820){0, LOW_RAM_END, E820_RAM};
	ret[n++] = (struct e820){LOW_RAM_END, 0xa0000 - LOW_RAM_END, E820_RESERVED};
	ret[n++] = (struct e820){p->fw_gpa, p->fw_size, E820_RESERVED};
	ret[n++] = (struct e820){KERNEL_GPA, p->ram[0].size - KERNEL_GPA, E820_RAM};
	ret[n++] = (struct e820){p->ecam.base, p->ecam.size, E820_RESERVED};
	for (unsigned i = 1; i < p->nram; i++)
		ret[n++] = (struct e820){p->ram[i].base, p->ram[i].size, E820_RAM};
	return n;
}

/* A place in low RAM that is ours to write; the plan has made sure that it exists. */
static uint8_t *low(struct guest_mem *m, uint64_t gpa, uint64_t size)
{
	guest_mem_dirty(m, gpa, size);
	return guest_mem_ptr(m, gpa, size);
}

/* Bare-metal PVH guests have no AML interpreter: they learn their virtio-mmio slots as microVM
 * kernels do, from the command line. Others find them in the DSDT. */
static int append_slots(const struct machine *machine, char *text, size_t cap)
{
	size_t len = strlen(text);

	for (unsigned i = 0; i < machine->ndev; i++) {
		const struct dev_desc *d = &machine->dev[i];
		int n;

		if (d->kind != DEV_VIRTIO_MMIO)
			continue;
		n = snprintf(text + len, cap - len, "%svirtio_mmio.device=%lluK@0x%llx:%u",
			len ? " " : "", (unsigned long long)(d->size / KIB),
			(unsigned long long)d->base, d->irq);
		if (n < 0 || (size_t)n >= cap - len)
			return -ENOSPC;
		len += (size_t)n;
	}
	return 0;
}

static int write_cmdline(struct guest_mem *m, const struct machine *machine, const struct boot *b,
	size_t limit, struct err *e)
{
	char text[CMDLINE_MAX];
	size_t len = strlen(machine->cmdline);
	int r = -ENOSPC;

	limit = MIN(limit, sizeof(text) - 1);
	if (len <= limit) {
		memcpy(text, machine->cmdline, len + 1);
		r = b->proto == BOOT_PVH ? append_slots(machine, text, limit + 1) : 0;
	}
	if (r < 0)
		return err_set(e, ERR_USAGE, -ENOSPC,
			"--cmdline: %zu characters; this kernel takes at most %zu", len, limit);
	len = strlen(text) + 1;
	memcpy(low(m, CMDLINE_GPA, len), text, len);
	return 0;
}

/* The identity map of the first GiB and the segments that the 64-bit entry asks for. */
static void write_tables(struct guest_mem *m)
{
	static const uint64_t gdt[4] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
	uint8_t *pd = low(m, PD_GPA, 4096);

	memcpy(low(m, GDT_GPA, sizeof(gdt)), gdt, sizeof(gdt));
	store_le(low(m, PML4_GPA, 8), 8, PDPT_GPA | 3); /* present, writable */
	store_le(low(m, PDPT_GPA, 8), 8, PD_GPA | 3);
	for (uint64_t i = 0; i < 512; i++)
		store_le(pd + i * 8, 8, i << 21 | 0x83); /* 2 MiB */
}

/* struct setup_data { u64 next; u32 type, len; u8 data[] } */
static void write_seed(struct guest_mem *m, const struct machine *machine)
{
	uint8_t *s = low(m, SETUP_DATA_GPA, 16 + sizeof(machine->rng_seed));

	store_le(s, 8, 0);
	store_le(s + 8, 4, SETUP_RNG_SEED);
	store_le(s + 12, 4, sizeof(machine->rng_seed));
	memcpy(s + 16, machine->rng_seed, sizeof(machine->rng_seed));
}

static void write_zero_page(
	struct guest_mem *m, const struct plan *p, const struct boot *b, uint64_t rsdp)
{
	uint8_t *bp = low(m, BOOT_PARAMS_GPA, BP_SIZE);
	struct e820 map[E820_MAX];
	unsigned n = memory_map(p, map);

	memset(bp, 0, BP_SIZE);
	memcpy(bp + BP_SETUP_HEADER, b->setup, MIN(b->setup_len, BP_E820_TABLE - BP_SETUP_HEADER));
	bp[HDR_LOADER] = LOADER_UNDEFINED;
	store_le(bp + HDR_CMD_LINE_PTR, 4, CMDLINE_GPA);
	store_le(bp + HDR_RAMDISK_IMAGE, 4, b->initrd);
	store_le(bp + HDR_RAMDISK_SIZE, 4, b->initrd_size);
	store_le(bp + HDR_SETUP_DATA, 8, SETUP_DATA_GPA);
	store_le(bp + BP_ACPI_RSDP, 8, rsdp);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *entry = bp + BP_E820_TABLE + i * 20;
		store_le(entry, 8, map[i].base);
		store_le(entry + 8, 8, map[i].size);
		store_le(entry + 16, 4, map[i].type);
	}
	bp[BP_E820_ENTRIES] = (uint8_t)n;
}

static void write_start_info(
	struct guest_mem *m, const struct plan *p, const struct boot *b, uint64_t rsdp)
{
	struct e820 map[E820_MAX];
	unsigned n = memory_map(p, map);
	uint64_t mod = START_INFO_GPA + 64, list = mod + PVH_MODULE_SIZE;
	uint64_t size = 64 + PVH_MODULE_SIZE + n * PVH_MEMMAP_SIZE;
	uint8_t *si = low(m, START_INFO_GPA, size);

	memset(si, 0, size);
	store_le(si, 4, PVH_MAGIC);
	store_le(si + PVH_VERSION, 4, 1);
	store_le(si + PVH_CMDLINE, 8, CMDLINE_GPA);
	store_le(si + PVH_RSDP, 8, rsdp);
	store_le(si + PVH_MEMMAP, 8, list);
	store_le(si + PVH_MEMMAP_ENTRIES, 4, n);
	if (b->initrd_size) {
		store_le(si + PVH_NR_MODULES, 4, 1);
		store_le(si + PVH_MODLIST, 8, mod);
		store_le(si + 64, 8, b->initrd);
		store_le(si + 64 + 8, 8, b->initrd_size);
	}
	for (unsigned i = 0; i < n; i++) {
		uint8_t *entry = si + 64 + PVH_MODULE_SIZE + i * PVH_MEMMAP_SIZE;
		store_le(entry, 8, map[i].base);
		store_le(entry + 8, 8, map[i].size);
		store_le(entry + 16, 4, map[i].type);
	}
}

/* A PC starts its firmware again when real-mode code jumps to F000:FFF0. Linux does, on machines
 * with hardware-reduced ACPI: it expects UEFI to reset them, and this is what it falls back to. */
static void write_reset_vector(struct guest_mem *m, const struct machine *machine)
{
	const struct dev_desc *power = acpi_find_dev(machine, DEV_POWER);
	uint8_t code[] = {
		0xba, 0, 0, /* mov $port, %dx */
		0xb0, 1,    /* mov $1, %al */
		0xee,	    /* out %al, %dx */
		0xf4,	    /* hlt */
		0xeb, 0xfd, /* jmp to the hlt */
	};

	if (!power || power->space != SPACE_PIO)
		return;
	store_le(code + 1, 2, power->base + ACPI_RESET_REG);
	memcpy(low(m, RESET_VECTOR, sizeof(code)), code, sizeof(code));
}

static size_t cmdline_limit(const struct boot *b)
{
	uint32_t kernel;

	if (b->proto == BOOT_PVH)
		return PVH_CMDLINE_MAX;
	kernel = (uint32_t)load_le(b->setup + HDR_CMDLINE_SIZE - HDR_SETUP_SECTS, 4);
	return MIN(kernel, CMDLINE_MAX - 1);
}

int arch_describe(struct guest_mem *m, const struct plan *p, const struct machine *machine,
	struct boot *boot, struct err *e)
{
	uint8_t *tables = guest_mem_ptr(m, p->fw_gpa, p->fw_size);
	int len, r;

	if (!tables)
		return -EFAULT;
	len = acpi_build(tables, p->fw_size, p->fw_gpa, p, machine);
	if (len < 0)
		return err_set(e, ERR_HOST, len, "the ACPI tables do not fit");
	guest_mem_dirty(m, p->fw_gpa, (uint64_t)len);
	r = write_cmdline(m, machine, boot, cmdline_limit(boot), e);
	if (r < 0)
		return r;
	write_reset_vector(m, machine);
	if (boot->proto == BOOT_PVH) {
		write_start_info(m, p, boot, p->fw_gpa);
		boot->arg = START_INFO_GPA;
		return 0;
	}
	write_tables(m);
	write_seed(m, machine);
	write_zero_page(m, p, boot, p->fw_gpa);
	boot->arg = BOOT_PARAMS_GPA;
	return 0;
}
