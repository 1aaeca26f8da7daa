/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest would read: the tables are walked from the RSDP, as firmware users do. With iasl
 * installed, the DSDT is also disassembled and compiled again. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "arch/arch.h"
#include "arch/x86_64/bootparam.h"
#include "arch/x86_64/state.h"
#include "vmm/base/num.h"

#define RAM (4 * GIB)

static struct guest_mem mem;
static struct plan plan;
static struct dev_desc dev[16];
static struct machine machine;

static void setup(void)
{
	const struct vm_shape s = {
		.machine_version = 1,
		.vcpus = 3,
		.max_vcpus = 3,
		.ram = RAM,
		.page_size = 4096,
		.phys_bits = 40,
		.virtio_mmio = 2,
	};
	struct mem_range range[PLAN_RAM_RANGES];
	const struct mem_opts opts = {.numa_node = -1};

	cr_assert_eq(arch_plan(&s, &plan, NULL), 0);
	for (unsigned i = 0; i < plan.nram; i++)
		range[i] = (struct mem_range){plan.ram[i].base, plan.ram[i].size};
	cr_assert_eq(guest_mem_init(&mem, range, plan.nram, &opts, NULL), 0);
	machine = (struct machine){.dev = dev, .vcpus = 3, .cmdline = "console=ttyS0"};
	for (unsigned i = 0; i < plan.ndev; i++)
		dev[machine.ndev++] = (struct dev_desc){
			.kind = plan.dev[i].kind,
			.space = plan.dev[i].space,
			.base = plan.dev[i].base,
			.size = plan.dev[i].size,
			.irq = plan.dev[i].irq,
			.has_irq = plan.dev[i].has_irq,
		};
	dev[machine.ndev++] = (struct dev_desc){.kind = DEV_PCI_ROOT};
	for (unsigned i = 0; i < 2; i++)
		dev[machine.ndev++] = (struct dev_desc){
			.kind = DEV_VIRTIO_MMIO,
			.base = plan.vmmio_base + i * plan.vmmio_stride,
			.size = plan.vmmio_stride,
			.irq = plan.vmmio_irq + i,
			.has_irq = true,
		};
	memset(machine.rng_seed, 0x5a, sizeof(machine.rng_seed));
}

static void teardown(void)
{
	guest_mem_fini(&mem);
}

TestSuite(x86_describe, .init = setup, .fini = teardown);

static struct boot describe(enum boot_proto proto)
{
	struct boot b = {.proto = proto, .initrd = 32 * MIB, .initrd_size = 12345};
	struct err e = {0};

	b.setup_len = HDR_MIN_LEN - HDR_SETUP_SECTS;
	store_le(b.setup + HDR_CMDLINE_SIZE - HDR_SETUP_SECTS, 4, 2047);
	store_le(b.setup + HDR_MAGIC - HDR_SETUP_SECTS, 4, 0x53726448);
	cr_assert_eq(arch_describe(&mem, &plan, &machine, &b, &e), 0, "%s", e.text);
	return b;
}

static uint64_t at(uint64_t gpa, unsigned bytes)
{
	uint8_t *p = guest_mem_ptr(&mem, gpa, bytes);

	cr_assert(p, "0x%llx is not RAM", (unsigned long long)gpa);
	return load_le(p, bytes);
}

static uint8_t sum(uint64_t gpa, uint64_t len)
{
	uint8_t *p = guest_mem_ptr(&mem, gpa, len), s = 0;

	cr_assert(p);
	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

/* The table that the XSDT lists under this signature. */
static uint64_t table(uint64_t rsdp, const char *sig)
{
	uint64_t xsdt = at(rsdp + 24, 8), len = at(xsdt + 4, 4);

	for (uint64_t i = 36; i < len; i += 8) {
		uint64_t t = at(xsdt + i, 8);
		if (!memcmp(guest_mem_ptr(&mem, t, 4), sig, 4)) {
			cr_expect_eq(sum(t, at(t + 4, 4)), 0, "checksum of %s", sig);
			return t;
		}
	}
	cr_assert(false, "no %s", sig);
	return 0;
}

static uint64_t rsdp_of(const struct boot *b)
{
	return at(b->arg + (b->proto == BOOT_PVH ? PVH_RSDP : BP_ACPI_RSDP), 8);
}

Test(x86_describe, acpi_roots)
{
	struct boot b = describe(BOOT_LINUX64);
	uint64_t rsdp = rsdp_of(&b), xsdt;

	cr_expect_eq(memcmp(guest_mem_ptr(&mem, rsdp, 8), "RSD PTR ", 8), 0);
	cr_expect_eq(sum(rsdp, 20), 0);
	cr_expect_eq(sum(rsdp, 36), 0);
	xsdt = at(rsdp + 24, 8);
	cr_expect_eq(sum(xsdt, at(xsdt + 4, 4)), 0);
	cr_expect_geq(rsdp, plan.fw_gpa);
	cr_expect_lt(xsdt, plan.fw_gpa + plan.fw_size);
}

Test(x86_describe, fadt_is_hardware_reduced)
{
	struct boot b = describe(BOOT_PVH);
	uint64_t fadt = table(rsdp_of(&b), "FACP"), dsdt = at(fadt + 140, 8);

	cr_expect_eq(at(fadt + 4, 4), 276);
	cr_expect(at(fadt + 112, 4) & 1u << 20, "not hardware-reduced");
	cr_expect(at(fadt + 112, 4) & 1u << 10, "no reset register");
	cr_expect_eq(at(fadt + 116, 1), 1); /* port */
	cr_expect_eq(at(fadt + 120, 8), 0x602);
	cr_expect_eq(at(fadt + 244 + 4, 8), 0x600);
	cr_expect_eq(at(fadt + 256 + 4, 8), 0x601);
	cr_expect_eq(memcmp(guest_mem_ptr(&mem, dsdt, 4), "DSDT", 4), 0);
	cr_expect_eq(sum(dsdt, at(dsdt + 4, 4)), 0);
}

Test(x86_describe, madt_lists_processors_and_ioapic)
{
	struct boot b = describe(BOOT_PVH);
	uint64_t madt = table(rsdp_of(&b), "APIC"), end = madt + at(madt + 4, 4);
	unsigned cpus = 0, ioapics = 0;

	for (uint64_t e = madt + 44; e < end; e += at(e + 1, 1)) {
		cr_assert(at(e + 1, 1));
		if (at(e, 1) == 0) {
			cr_expect_eq(at(e + 3, 1), cpus);
			cr_expect_eq(at(e + 4, 4), 1);
			cpus++;
		} else if (at(e, 1) == 1) {
			cr_expect_eq(at(e + 4, 4), plan.irqchip[0].base);
			ioapics++;
		}
	}
	cr_expect_eq(cpus, 3);
	cr_expect_eq(ioapics, 1);
}

Test(x86_describe, mcfg_is_the_ecam)
{
	struct boot b = describe(BOOT_PVH);
	uint64_t mcfg = table(rsdp_of(&b), "MCFG");

	cr_expect_eq(at(mcfg + 44, 8), plan.ecam.base);
	cr_expect_eq(at(mcfg + 55, 1), plan.pci_last_bus);
}

/* The words of the DSDT, as iasl reads them. */
static void dsdt_says(const char *text, const char *what)
{
	cr_expect(strstr(text, what), "the DSDT has no \"%s\"", what);
}

Test(x86_describe, dsdt_compiles)
{
	static char text[256 * 1024];
	struct boot b = describe(BOOT_PVH);
	uint64_t dsdt = at(table(rsdp_of(&b), "FACP") + 140, 8), len = at(dsdt + 4, 4);
	char dir[] = "/tmp/test-dsdt-XXXXXX", cmd[256];
	FILE *f;

	if (system("command -v iasl >/dev/null"))
		cr_skip("iasl is not installed");
	cr_assert(mkdtemp(dir));
	snprintf(cmd, sizeof(cmd), "%s/dsdt.aml", dir);
	f = fopen(cmd, "w");
	cr_assert(f && fwrite(guest_mem_ptr(&mem, dsdt, len), len, 1, f) == 1 && !fclose(f));
	snprintf(cmd, sizeof(cmd),
		"cd %s && iasl -d dsdt.aml >log 2>&1 && iasl dsdt.dsl >>log 2>&1", dir);
	cr_expect_eq(system(cmd), 0, "iasl refuses %s/dsdt.aml", dir);
	snprintf(cmd, sizeof(cmd), "cd %s && grep -q ' 0 Errors, 0 Warnings' log", dir);
	cr_expect_eq(system(cmd), 0, "iasl warns, see %s/log", dir);
	snprintf(cmd, sizeof(cmd), "%s/dsdt.dsl", dir);
	f = fopen(cmd, "r");
	cr_assert(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	fclose(f);
	dsdt_says(text, "EisaId (\"PNP0A08\")");
	dsdt_says(text, "Method (_OSC, 4");
	dsdt_says(text, "33db4d5b-1ff7-401c-9657-7441c03dd766");
	dsdt_says(text, "PNP0C02");
	dsdt_says(text, "ACPI0013");
	dsdt_says(text, "PNP0C0C");
	dsdt_says(text, "PNP0501");
	dsdt_says(text, "PNP0B00");
	dsdt_says(text, "LNRO0005");
	dsdt_says(text, "0xD0001000");
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	cr_expect_eq(system(cmd), 0);
}

static void check_map(uint64_t map, unsigned n, unsigned stride)
{
	uint64_t end = 0, ram = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t base = at(map + i * stride, 8), size = at(map + i * stride + 8, 8);
		cr_expect_geq(base, end, "entry %u is not ascending", i);
		end = base + size;
		if (at(map + i * stride + 16, 4) != E820_RAM)
			continue;
		cr_expect(guest_mem_ptr(&mem, base, size), "entry %u is no RAM", i);
		cr_expect(base >= plan.fw_gpa + plan.fw_size || end <= plan.fw_gpa,
			"entry %u gives the tables away", i);
		ram += size;
	}
	cr_expect_eq(end, 5 * GIB);
	cr_expect_gt(ram, RAM - MIB);
}

Test(x86_describe, zero_page)
{
	struct boot b = describe(BOOT_LINUX64);
	uint64_t seed;

	cr_expect_eq(at(b.arg + HDR_MAGIC, 4), 0x53726448);
	cr_expect_eq(at(b.arg + HDR_LOADER, 1), 0xff);
	cr_expect_eq(at(b.arg + HDR_RAMDISK_IMAGE, 4), b.initrd);
	cr_expect_eq(at(b.arg + HDR_RAMDISK_SIZE, 4), b.initrd_size);
	cr_expect_str_eq(guest_mem_ptr(&mem, at(b.arg + HDR_CMD_LINE_PTR, 4), 32), "console=ttyS0");
	check_map(b.arg + BP_E820_TABLE, (unsigned)at(b.arg + BP_E820_ENTRIES, 1), 20);
	seed = at(b.arg + HDR_SETUP_DATA, 8);
	cr_expect_eq(at(seed, 8), 0);
	cr_expect_eq(at(seed + 8, 4), 9);
	cr_expect_eq(at(seed + 12, 4), 32);
	cr_expect_eq(at(seed + 16, 1), 0x5a);
}

Test(x86_describe, start_info)
{
	struct boot b = describe(BOOT_PVH);
	uint64_t mod;

	cr_expect_eq(at(b.arg, 4), PVH_MAGIC);
	cr_expect_eq(at(b.arg + PVH_VERSION, 4), 1);
	cr_expect_eq(at(b.arg + PVH_NR_MODULES, 4), 1);
	mod = at(b.arg + PVH_MODLIST, 8);
	cr_expect_eq(at(mod, 8), b.initrd);
	cr_expect_eq(at(mod + 8, 8), b.initrd_size);
	check_map(at(b.arg + PVH_MEMMAP, 8), (unsigned)at(b.arg + PVH_MEMMAP_ENTRIES, 4), 24);
	cr_expect_str_eq(guest_mem_ptr(&mem, at(b.arg + PVH_CMDLINE, 8), 128),
		"console=ttyS0 virtio_mmio.device=4K@0xd0000000:10 "
		"virtio_mmio.device=4K@0xd0001000:11");
}

Test(x86_describe, real_mode_reset_vector_resets)
{
	describe(BOOT_LINUX64);
	cr_expect_eq(at(0xffff0, 6), 0xee01b00602ba); /* out 1 to port 0x602 */
}

Test(x86_describe, long_command_lines_are_refused)
{
	static char line[70000];
	struct boot b = {.proto = BOOT_LINUX64};
	struct err e = {0};

	store_le(b.setup + HDR_CMDLINE_SIZE - HDR_SETUP_SECTS, 4, 2047);
	memset(line, 'x', 2047);
	machine.cmdline = line;
	cr_expect_eq(arch_describe(&mem, &plan, &machine, &b, &e), 0, "%s", e.text);
	line[2047] = 'x';
	cr_expect_lt(arch_describe(&mem, &plan, &machine, &b, &e), 0);
	cr_expect(strstr(e.text, "--cmdline") && strstr(e.text, "2047"), "%s", e.text);
	memset(line, 'x', sizeof(line) - 1);
	b.proto = BOOT_PVH;
	cr_expect_lt(arch_describe(&mem, &plan, &machine, &b, NULL), 0);
}

Test(x86_describe, most_processors_fit)
{
	machine.vcpus = PLAN_MAX_VCPUS;
	describe(BOOT_PVH);
}

/* ---- state ---- */

Test(x86_state, saves_and_loads_all_of_it)
{
	static struct arch_vcpu_state a, b;
	struct visit_buf buf = {0};
	struct visitor *v;

	for (size_t i = 0; i < sizeof(a.reg); i++)
		((uint8_t *)a.reg)[i] = (uint8_t)i;
	a.seg[X86_TR].base = 0x1234;
	a.nxcrs = 1;
	a.xcr_value[0] = 7;
	a.nmsrs = 2;
	a.msr[1] = (struct x86_msr){0x10, 0xabcdef};
	a.lapic[1023] = 9;
	a.triple_fault = 1;
	cr_assert_eq(visitor_new_save(&buf, &v), 0);
	cr_assert_eq(arch_vcpu_state_visit(&a, v), 0);
	visitor_free(v);
	cr_assert_eq(visitor_new_load(buf.data, buf.len, &v), 0);
	cr_assert_eq(arch_vcpu_state_visit(&b, v), 0, "%s", visit_error_path(v));
	visitor_free(v);
	cr_expect_eq(memcmp(&a, &b, sizeof(a)), 0);
	b.msr[1].value++;
	cr_assert_eq(visitor_new_compare(buf.data, buf.len, &v), 0);
	cr_expect_eq(arch_vcpu_state_visit(&b, v), -ENOTUNIQ);
	visitor_free(v);
	visit_buf_fini(&buf);
}

Test(x86_state, mode_and_program_counter)
{
	struct arch_vcpu_state *s = calloc(1, arch_vcpu_state_size());

	s->reg[X86_RIP] = 0x100;
	s->seg[X86_CS].base = 0xffff0000;
	cr_expect_str_eq(arch_vcpu_state_mode(s), "x86-16");
	cr_expect_eq(arch_vcpu_state_pc(s), 0xffff0100);
	s->cr0 = 1;
	s->seg[X86_CS].db = 1;
	cr_expect_str_eq(arch_vcpu_state_mode(s), "x86-32");
	s->efer = 1 << 10;
	s->seg[X86_CS].l = 1;
	cr_expect_str_eq(arch_vcpu_state_mode(s), "x86-64");
	cr_expect_eq(arch_vcpu_state_pc(s), 0x100);
	free(s);
}

Test(x86_probe, code_fits_where_it_is_asked_for)
{
	uint8_t code[256];
	size_t n = arch_probe_code(16 * MIB, plan.pci_mmio32.base, 0x11223344, code, sizeof(code));

	cr_expect_gt(n, 100);
	cr_expect_eq(arch_probe_code(16 * MIB, 0xc0000000, 1, code, n - 1), 0);
}
