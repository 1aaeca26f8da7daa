/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a device tree back that arch_describe() wrote. Included once by each chip's
 * test-describe.c, which defines RAM_BASE. With FDT_DUMP=FILE in the environment the tree is
 * written there, too, for dtc to check. */
#include <criterion/criterion.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "arch/arch.h"
#include "vmm/base/num.h"

struct tree {
	struct guest_mem mem;
	struct plan plan;
	struct boot boot;
	struct err err;
	const void *fdt;
};

/* The machine's devices as they would describe themselves. */
static unsigned devices_of(const struct plan *p, unsigned vmmio, struct dev_desc *ret)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->ndev; i++)
		ret[n++] = (struct dev_desc){.kind = p->dev[i].kind,
			.base = p->dev[i].base,
			.size = p->dev[i].size,
			.irq = p->dev[i].irq,
			.has_irq = p->dev[i].has_irq,
			.level = p->dev[i].level};
	for (unsigned i = 0; i < vmmio; i++)
		ret[n++] = (struct dev_desc){.kind = DEV_VIRTIO_MMIO,
			.base = p->vmmio_base + i * p->vmmio_stride,
			.size = 0x200,
			.irq = p->vmmio_irq + i,
			.has_irq = true};
	ret[n++] = (struct dev_desc){.kind = DEV_PCI_ROOT};
	return n;
}

static void dump(const void *fdt)
{
	const char *path = getenv("FDT_DUMP");
	FILE *f = path ? fopen(path, "wb") : NULL;

	if (!f)
		return;
	fwrite(fdt, 1, fdt_totalsize(fdt), f);
	fclose(f);
}

static void tree_init(struct tree *t, unsigned vcpus, bool user_irqchip,
	const struct arch_facts *facts, const char *cmdline)
{
	struct vm_shape shape = {.machine_version = 1,
		.vcpus = vcpus,
		.max_vcpus = vcpus,
		.ram = 64 * MIB,
		.page_size = 4096,
		.phys_bits = 40,
		.user_irqchip = user_irqchip,
		.test_exit = true};
	struct mem_range range = {RAM_BASE, 64 * MIB};
	struct mem_opts opts = {.numa_node = -1};
	struct dev_desc dev[PLAN_DEVS + PLAN_VIRTIO_MMIO + 1];
	struct machine machine = {.dev = dev, .vcpus = vcpus, .cmdline = cmdline, .facts = facts};

	memset(t, 0, sizeof(*t));
	cr_assert_eq(arch_plan(&shape, &t->plan, &t->err), 0, "%s", t->err.text);
	cr_assert_eq(guest_mem_init(&t->mem, &range, 1, &opts, &t->err), 0, "%s", t->err.text);
	t->boot.initrd = RAM_BASE + 32 * MIB;
	t->boot.initrd_size = 12345;
	machine.ndev = devices_of(&t->plan, 2, dev);
	for (unsigned i = 0; i < sizeof(machine.rng_seed); i++)
		machine.rng_seed[i] = (uint8_t)(i + 1);
	cr_assert_eq(arch_describe(&t->mem, &t->plan, &machine, &t->boot, &t->err), 0, "%s",
		t->err.text);
	cr_assert_eq(t->boot.arg, t->plan.fw_gpa);
	t->fdt = guest_mem_ptr(&t->mem, t->boot.arg, t->plan.fw_size);
	cr_assert_eq(fdt_check_full(t->fdt, t->plan.fw_size), 0);
	dump(t->fdt);
}

static void tree_fini(struct tree *t)
{
	guest_mem_fini(&t->mem);
}

__attribute__((format(printf, 2, 3))) static int node_at(const struct tree *t, const char *fmt, ...)
{
	char path[96];
	va_list ap;
	int node;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	node = fdt_path_offset(t->fdt, path);
	cr_assert_geq(node, 0, "no %s", path);
	return node;
}

#define LL(v) ((unsigned long long)(v))

static uint64_t cell(const struct tree *t, int node, const char *name, unsigned i)
{
	int len = 0;
	const void *p = fdt_getprop(t->fdt, node, name, &len);

	cr_assert(p, "no %s", name);
	cr_assert_lt((int)(i * 4), len);
	return fdt32_ld((const fdt32_t *)p + i);
}

static uint64_t two_cells(const struct tree *t, int node, const char *name, unsigned i)
{
	return cell(t, node, name, i) << 32 | cell(t, node, name, i + 1);
}

static const char *text(const struct tree *t, int node, const char *name)
{
	const char *s = fdt_getprop(t->fdt, node, name, NULL);

	cr_assert(s, "no %s", name);
	return s;
}

static void expect_text(const struct tree *t, int node, const char *name, const char *want)
{
	cr_assert_str_eq(text(t, node, name), want);
}

/* What both chips promise. */
static void expect_common(const struct tree *t)
{
	int chosen = node_at(t, "/chosen"), memory = node_at(t, "/memory@%llx", LL(RAM_BASE));
	int pci = node_at(t, "/pcie@%llx", LL(t->plan.ecam.base)), len;
	int uart = fdt_path_offset(t->fdt, text(t, chosen, "stdout-path"));

	expect_text(t, chosen, "bootargs", "console=ttyS0");
	cr_assert_eq(two_cells(t, chosen, "linux,initrd-start", 0), t->boot.initrd);
	cr_assert_eq(two_cells(t, chosen, "linux,initrd-end", 0), t->boot.initrd + 12345);
	cr_assert_eq(two_cells(t, memory, "reg", 0), RAM_BASE);
	cr_assert_eq(two_cells(t, memory, "reg", 2), 64 * MIB);
	cr_assert_geq(uart, 0);
	expect_text(t, uart, "compatible", "ns16550a");
	cr_assert_eq(two_cells(t, uart, "reg", 0), t->plan.dev[0].base);
	for (unsigned i = 0; i < 2; i++) {
		int n = node_at(
			t, "/virtio_mmio@%llx", LL(t->plan.vmmio_base + i * t->plan.vmmio_stride));

		expect_text(t, n, "compatible", "virtio,mmio");
	}
	expect_text(t, pci, "compatible", "pci-host-ecam-generic");
	cr_assert_eq(two_cells(t, pci, "reg", 0), t->plan.ecam.base);
	cr_assert_eq(cell(t, pci, "bus-range", 1), t->plan.pci_last_bus);
	cr_assert_eq(cell(t, pci, "ranges", 0), 0x02000000);
	cr_assert_eq(two_cells(t, pci, "ranges", 3), t->plan.pci_mmio32.base);
	cr_assert_eq(two_cells(t, pci, "ranges", 5), t->plan.pci_mmio32.size);
	cr_assert_eq(cell(t, pci, "ranges", 7), 0x43000000);
	cr_assert_eq(two_cells(t, pci, "ranges", 10), t->plan.pci_mmio64.base);
	cr_assert(fdt_getprop(t->fdt, chosen, "kaslr-seed", &len) && len == 8);
	cr_assert(fdt_getprop(t->fdt, chosen, "rng-seed", &len) && len == 24);
	expect_text(t, node_at(t, "/test-exit@%llx", LL(t->plan.dev[2].base)), "compatible",
		"polyvisor,test-exit");
}

/* INTx of slot 5, INTB, is pin (5 + 1) % 4; `before` cells stand before the pin in a specifier. */
static void expect_intx(const struct tree *t, unsigned entry, unsigned before)
{
	int pci = node_at(t, "/pcie@%llx", LL(t->plan.ecam.base));
	unsigned i = entry * (4 * (5 % 4) + 1);

	cr_assert_eq(cell(t, pci, "interrupt-map-mask", 0), 0x1800);
	cr_assert_eq(cell(t, pci, "interrupt-map", i), (5 % 4) << 11);
	cr_assert_eq(cell(t, pci, "interrupt-map", i + 3), 2);
	cr_assert_eq(cell(t, pci, "interrupt-map", i + 5 + before), t->plan.intx_pin[(5 + 1) % 4]);
}

/* A command line that leaves no room: an error, not a broken tree. */
static void expect_too_long(const struct arch_facts *facts)
{
	struct tree t;
	size_t len = 2 * MIB;
	char *cmdline = malloc(len + 1);
	struct machine machine = {.vcpus = 1, .cmdline = cmdline, .facts = facts};

	memset(cmdline, 'x', len);
	cmdline[len] = 0;
	tree_init(&t, 1, false, facts, "console=ttyS0");
	cr_assert_lt(arch_describe(&t.mem, &t.plan, &machine, &t.boot, &t.err), 0);
	cr_assert(strstr(t.err.text, "--cmdline"), "%s", t.err.text);
	free(cmdline);
	tree_fini(&t);
}
