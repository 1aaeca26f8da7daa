/* SPDX-License-Identifier: Apache-2.0 */
/* A guest at configuration space (ECAM and ports) and at an MSI-X table. Mostly valid: the input
 * picks from what drivers do (size a BAR, move it, toggle decode, program a vector), and rarely
 * pokes anywhere. After each step control remaps, as it does for a parked vCPU, and the invariants
 * hold. */
#include <stdlib.h>
#include "devices/pci/pci_regs.h"
#include "devices/testing/fake_host.h"
#include "vmm/base/num.h"

#define ECAM	 UINT64_C(0xe0000000)
#define MMIO32	 UINT64_C(0xc0000000)
#define MMIO64	 UINT64_C(0x4000000000)
#define PBA_OFF	 0x800
#define NVECTORS 5
#define TOYS	 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct pci_layout layout = {
	.ecam = {ECAM, 2 << 20},
	.last_bus = 1,
	.mmio32 = {MMIO32, MIB},
	.mmio64 = {MMIO64, MIB},
	.conf1 = true,
	.intx_pin = {16, 17, 18, 19},
};

struct toy {
	struct device device;
	struct pci_fn fn;
	bool doorbell; /* what bar_mapped said last */
};

struct input {
	const uint8_t *p;
	size_t n;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	bytes = MIN((size_t)bytes, in->n);
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->n -= bytes;
	return v;
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void toy_mapped(struct pci_fn *f, unsigned bar, uint64_t base, bool mapped)
{
	struct toy *t = container_of(f, struct toy, fn);

	if (bar != 2)
		return;
	check(t->doorbell != mapped);
	t->doorbell = mapped;
}

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
	struct toy *t = dev;

	return msix_read(&t->fn, off % PBA_OFF, size, off >= PBA_OFF);
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct toy *t = dev;

	if (off < PBA_OFF)
		msix_write(&t->fn, off, size, value);
}

static const struct pci_fn_ops toy_fn_ops = {.bar_mapped = toy_mapped};
static const struct io_ops bar_io = {bar_read, bar_write};
static const struct device_ops toy_ops = {.type = "toy"};

static void toy_init(struct toy *t, struct dev_host *h, struct pci_root *root)
{
	memset(t, 0, sizeof(*t));
	device_init(&t->device, &toy_ops, h, "toy");
	pci_fn_init(&t->fn, &toy_fn_ops, &t->device, 0x1af4, 0x1041, 0x02000001, 0x1af4, 1);
	for (unsigned i = 0; i < 4; i += 2)
		t->fn.bar[i] = (struct pci_bar){
			.size = 0x1000 << i,
			.is64 = i == 2,
			.region = {.ops = &bar_io,
				.dev = t,
				.lock = &t->device.lock,
				.name = "toy"},
		};
	check(pci_fn_add_msix(&t->fn, NVECTORS, 2, 0, PBA_OFF) == 0);
	check(pci_root_add(root, &t->fn, -1) == 0);
}

static void out(struct fake_host *f, uint64_t port, unsigned size, uint64_t v)
{
	unsigned hint = 0;

	bus_write(&f->pio, port, size, v, &hint);
	bus_read(&f->pio, port, size, &v, &hint);
}

static void config(
	struct fake_host *f, const struct toy *t, unsigned reg, unsigned size, uint64_t v)
{
	uint64_t devfn = t->fn.bdf.devfn;

	if (v & 1) {
		out(f, 0xcf8, 4, 0x80000000 | devfn << 8 | (reg & 0xfc));
		out(f, 0xcfc + (reg & 3), size, v);
	} else {
		fake_write(f, ECAM + (devfn << 12) + reg, size, v);
		fake_read(f, ECAM + (devfn << 12) + reg, size);
	}
}

static void set_bar(struct fake_host *f, struct toy *t, struct input *in)
{
	unsigned reg = PCI_CFG_BAR0 + 4 * (take(in, 1) % PCI_BARS);
	uint64_t how = take(in, 1), at = take(in, 2);

	switch (how % 4) {
	case 0:
		config(f, t, reg, 4, 0xffffffff);
		break;
	case 1:
		config(f, t, reg, 4, MMIO32 + at % 0x1000 * 0x100);
		break;
	case 2:
		config(f, t, reg, 4, at * 0x1000);
		break;
	default:
		config(f, t, reg, 4, MMIO64 >> 32);
		break;
	}
}

static void use_table(struct fake_host *f, struct toy *t, struct input *in)
{
	const struct pci_bar *b = &t->fn.bar[2];
	unsigned size = 1u << take(in, 1) % 4, how = take(in, 1);
	uint64_t off = take(in, 1) * 4, v = take(in, 4);

	if (!b->mapped)
		return;
	if (how % 16 == 0)
		off = take(in, 2) % (b->size - 8);
	fake_write(f, b->region.base + off, size, v);
	fake_read(f, b->region.base + off, size);
	fake_read(f, b->region.base + PBA_OFF + off % 64, size);
}

static void step(struct fake_host *f, struct toy *toys, struct input *in)
{
	unsigned op = take(in, 1);
	struct toy *t = &toys[op % TOYS];

	switch (op / TOYS % 8) {
	case 0:
		config(f, t, PCI_CFG_COMMAND, 2, take(in, 2));
		break;
	case 1:
		set_bar(f, t, in);
		break;
	case 2:
	case 3:
		use_table(f, t, in);
		break;
	case 4:
		config(f, t, t->fn.msix_cap + MSIX_CAP_CONTROL, 2, take(in, 2));
		break;
	case 5:
		irq_pulse(pci_fn_msix_line(&t->fn, take(in, 1) % NVECTORS));
		pci_fn_set_intx(&t->fn, take(in, 1) & 1);
		break;
	case 6:
		config(f, t, take(in, 2) & 0xfff, 1u << take(in, 1) % 3, take(in, 4));
		break;
	default:
		fake_write(f, ECAM + take(in, 3) % (2 << 20), 1u << take(in, 1) % 4, take(in, 8));
		out(f, 0xcf8 + take(in, 1) % 8, 1u << take(in, 1) % 3, take(in, 4));
		break;
	}
}

/* What decodes lies in a window, is where the guest put it, and is on the bus once. */
static void check_toy(const struct fake_host *f, const struct toy *t)
{
	check(t->doorbell == t->fn.bar[2].mapped);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *b = &t->fn.bar[i];
		uint64_t base = 0;
		bool wanted = pci_fn_bar_wanted(&t->fn, i, &base);
		unsigned hint = 0;

		if (!b->mapped)
			continue;
		check(wanted && base == b->region.base);
		check(bus_find(&f->mmio, base, 4, &hint) == &b->region);
	}
	check(load_le(t->fn.config, 4) == 0x10411af4);
	check(!pci_fn_msix_enabled(&t->fn) ==
		!(load_le(t->fn.config + t->fn.msix_cap + MSIX_CAP_CONTROL, 2) &
			MSIX_CONTROL_ENABLE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct fake_host f;
	struct pci_root *root;
	struct toy toys[TOYS];

	check(fake_host_init(&f, 0, true) == 0);
	check(pci_root_new(&f.host, "pci0", &layout, &root) == 0);
	for (unsigned i = 0; i < TOYS; i++)
		toy_init(&toys[i], &f.host, root);
	while (in.n) {
		unsigned remaps = f.events[DEV_EVENT_REMAP];

		step(&f, toys, &in);
		if (f.events[DEV_EVENT_REMAP] != remaps)
			pci_root_remap(root);
		for (unsigned i = 0; i < TOYS; i++)
			check_toy(&f, &toys[i]);
	}
	for (unsigned i = 0; i < TOYS; i++) {
		pci_fn_fini(&toys[i].fn);
		device_fini(&toys[i].device);
	}
	device_free(pci_root_device(root));
	fake_host_fini(&f);
	return 0;
}
