/* SPDX-License-Identifier: Apache-2.0 */
/* The root, a function and MSI-X as a driver meets them: through ECAM and the two ports. */
#include <criterion/criterion.h>
#include "devices/pci/pci_regs.h"
#include "devices/testing/fake_host.h"
#include "vmm/base/num.h"

#define ECAM	  UINT64_C(0xe0000000)
#define MMIO32	  UINT64_C(0xc0000000)
#define MMIO64	  UINT64_C(0x4000000000)
#define PBA_OFF	  0x800
#define NVECTORS  4
#define BAR0_SIZE 0x1000
#define BAR2_SIZE 0x4000

static const struct pci_layout layout = {
	.segment = 1,
	.ecam = {ECAM, 1 << 20},
	.mmio32 = {MMIO32, 16 * MIB},
	.mmio64 = {MMIO64, GIB},
	.conf1 = true,
	.intx_pin = {16, 17, 18, 19},
};

/* A device with a 32-bit BAR 0 of one register and a 64-bit BAR 2 that holds the MSI-X table. */
struct toy {
	struct device device;
	struct pci_fn fn;
	uint64_t reg;
	unsigned irq_modes, maps, unmaps;
	uint64_t mapped_at;
};

static struct toy *of_fn(struct pci_fn *f)
{
	return container_of(f, struct toy, fn);
}

static void toy_mapped(struct pci_fn *f, unsigned bar, uint64_t base, bool mapped)
{
	struct toy *t = of_fn(f);

	if (bar != 0)
		return;
	t->maps += mapped;
	t->unmaps += !mapped;
	t->mapped_at = mapped ? base : 0;
}

static void toy_irq_mode(struct pci_fn *f)
{
	of_fn(f)->irq_modes++;
}

static const struct pci_fn_ops toy_ops = {.bar_mapped = toy_mapped, .irq_mode = toy_irq_mode};

static uint64_t reg_read(void *dev, uint64_t off, unsigned size)
{
	return off ? 0 : ((struct toy *)dev)->reg;
}

static void reg_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	((struct toy *)dev)->reg = value;
}

static uint64_t table_read(void *dev, uint64_t off, unsigned size)
{
	struct toy *t = dev;
	bool pba = off >= PBA_OFF;

	return msix_read(&t->fn, pba ? off - PBA_OFF : off, size, pba);
}

static void table_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct toy *t = dev;

	if (off < PBA_OFF)
		msix_write(&t->fn, off, size, value);
}

static const struct io_ops reg_io = {reg_read, reg_write};
static const struct io_ops table_io = {table_read, table_write};
static const struct device_ops toy_device_ops = {.type = "toy"};

static int toy_init(struct toy *t, struct dev_host *h, const char *id)
{
	memset(t, 0, sizeof(*t));
	device_init(&t->device, &toy_device_ops, h, id);
	pci_fn_init(&t->fn, &toy_ops, &t->device, 0x1af4, 0x1042, 0x01800001, 0x1af4, 0x0042);
	t->fn.bar[0] = (struct pci_bar){
		.size = BAR0_SIZE,
		.region = {.ops = &reg_io, .dev = t, .lock = &t->device.lock, .name = t->device.id},
	};
	t->fn.bar[2] = (struct pci_bar){
		.size = BAR2_SIZE,
		.is64 = true,
		.prefetch = true,
		.region = {.ops = &table_io,
			.dev = t,
			.lock = &t->device.lock,
			.name = t->device.id},
	};
	return pci_fn_add_msix(&t->fn, NVECTORS, 2, 0, PBA_OFF);
}

static void toy_fini(struct toy *t)
{
	pci_fn_fini(&t->fn);
	device_fini(&t->device);
}

struct pc {
	struct fake_host f;
	struct pci_root *root;
	struct toy a, b;
};

static void pc_init(struct pc *p)
{
	memset(p, 0, sizeof(*p));
	cr_assert_eq(fake_host_init(&p->f, 0, true), 0);
	cr_assert_eq(pci_root_new(&p->f.host, "pci0", &layout, &p->root), 0);
	cr_assert_eq(toy_init(&p->a, &p->f.host, "a"), 0);
	cr_assert_eq(toy_init(&p->b, &p->f.host, "b"), 0);
	cr_assert_eq(pci_root_add(p->root, &p->a.fn, -1), 0);
	cr_assert_eq(pci_root_add(p->root, &p->b.fn, 5), 0);
}

static void pc_fini(struct pc *p)
{
	toy_fini(&p->b);
	toy_fini(&p->a);
	device_free(pci_root_device(p->root));
	fake_host_fini(&p->f);
}

static uint64_t cfg(const struct toy *t, unsigned off)
{
	return ECAM + ((uint64_t)t->fn.bdf.devfn << 12) + off;
}

static uint64_t rd(struct pc *p, const struct toy *t, unsigned off, unsigned size)
{
	return fake_read(&p->f, cfg(t, off), size);
}

static void wr(struct pc *p, const struct toy *t, unsigned off, unsigned size, uint64_t value)
{
	fake_write(&p->f, cfg(t, off), size, value);
}

static void out(struct pc *p, uint64_t port, unsigned size, uint64_t value)
{
	unsigned hint = 0;

	bus_write(&p->f.pio, port, size, value, &hint);
}

static uint64_t in(struct pc *p, uint64_t port, unsigned size)
{
	unsigned hint = 0;
	uint64_t v;

	bus_read(&p->f.pio, port, size, &v, &hint);
	return v;
}

static void command(struct pc *p, struct toy *t, uint16_t value)
{
	wr(p, t, PCI_CFG_COMMAND, 2, value);
	pci_root_remap(p->root);
}

static uint64_t bar2(struct pc *p, const struct toy *t)
{
	return (rd(p, t, 0x18, 4) | rd(p, t, 0x1c, 4) << 32) & ~UINT64_C(0xf);
}

Test(pci, absent_functions_read_all_ones)
{
	struct pc p;

	pc_init(&p);
	cr_assert_eq(fake_read(&p.f, ECAM + (9 << 15), 4), 0xffffffff);
	cr_assert_eq(fake_read(&p.f, ECAM + (1 << 12), 4), 0xffffffff, "function 1 of the bridge");
	fake_write(&p.f, ECAM + (9 << 15), 4, 0);
	out(&p, 0xcf8, 4, 0x80000000 | 9 << 11);
	cr_assert_eq(in(&p, 0xcfc, 4), 0xffffffff);
	out(&p, 0xcf8, 4, 0x80010000);
	cr_assert_eq(in(&p, 0xcfc, 4), 0xffffffff, "bus 1");
	out(&p, 0xcf8, 4, 0);
	cr_assert_eq(in(&p, 0xcfc, 4), 0xffffffff, "not enabled");
	pc_fini(&p);
}

Test(pci, both_ways_reach_the_bridge)
{
	struct pc p;

	pc_init(&p);
	cr_assert_eq(fake_read(&p.f, ECAM, 4), 0x00081b36);
	cr_assert_eq(fake_read(&p.f, ECAM, 8) >> 32, fake_read(&p.f, ECAM + 4, 4));
	out(&p, 0xcf8, 4, 0x80000008);
	cr_assert_eq(in(&p, 0xcf8, 4), 0x80000008);
	cr_assert_eq(in(&p, 0xcfc, 4), 0x06000000);
	cr_assert_eq(in(&p, 0xcff, 1), 0x06);
	cr_assert_eq(in(&p, 0xcfe, 2), 0x0600);
	pc_fini(&p);
}

Test(pci, only_a_dword_sets_the_conf1_address)
{
	struct pc p;

	pc_init(&p);
	out(&p, 0xcf8, 4, 0x80000000);
	out(&p, 0xcfb, 1, 1);
	out(&p, 0xcf8, 2, 0x1234);
	cr_assert_eq(in(&p, 0xcf8, 4), 0x80000000);
	out(&p, 0xcf9, 1, 0x2);
	cr_assert_eq(p.f.events[DEV_EVENT_RESET], 0);
	out(&p, 0xcf9, 1, 0x6);
	cr_assert_eq(p.f.events[DEV_EVENT_RESET], 1);
	pc_fini(&p);
}

Test(pci, accesses_stay_inside_a_dword)
{
	struct pc p;

	pc_init(&p);
	cr_assert_eq(rd(&p, &p.a, 0x02, 4), 0xffffffff);
	cr_assert_eq(rd(&p, &p.a, 0x03, 2), 0xffff);
	cr_assert_eq(rd(&p, &p.a, 0x02, 2), 0x1042);
	cr_assert_eq(rd(&p, &p.a, 0xffc, 4), 0);
	pc_fini(&p);
}

Test(pci, read_only_bytes_stay)
{
	struct pc p;

	pc_init(&p);
	wr(&p, &p.a, 0, 4, 0);
	wr(&p, &p.a, 0x3d, 1, 7);
	wr(&p, &p.a, 0x3c, 1, 42);
	cr_assert_eq(rd(&p, &p.a, 0, 4), 0x10421af4);
	cr_assert_eq(rd(&p, &p.a, 0x3c, 2), 0x012a);
	pc_fini(&p);
}

Test(pci, sizing_with_decode_off_costs_no_event)
{
	struct pc p;
	uint64_t was;

	pc_init(&p);
	was = rd(&p, &p.a, 0x10, 4);
	cr_assert(was >= MMIO32 && was < MMIO32 + 16 * MIB);
	wr(&p, &p.a, 0x10, 4, 0xffffffff);
	cr_assert_eq(rd(&p, &p.a, 0x10, 4), 0xfffff000);
	wr(&p, &p.a, 0x10, 4, was);
	wr(&p, &p.a, 0x18, 4, 0xffffffff);
	wr(&p, &p.a, 0x1c, 4, 0xffffffff);
	cr_assert_eq(rd(&p, &p.a, 0x18, 4), 0xffffc00c);
	cr_assert_eq(rd(&p, &p.a, 0x1c, 4), 0xffffffff);
	cr_assert_eq(rd(&p, &p.a, 0x14, 4), 0);
	wr(&p, &p.a, 0x14, 4, 0xffffffff);
	cr_assert_eq(rd(&p, &p.a, 0x14, 4), 0, "an absent BAR stays zero");
	cr_assert_eq(p.f.events[DEV_EVENT_REMAP], 0);
	pc_fini(&p);
}

Test(pci, decode_maps_and_unmaps)
{
	struct pc p;
	uint64_t at;

	pc_init(&p);
	at = rd(&p, &p.a, 0x10, 4);
	cr_assert_eq(fake_read(&p.f, at, 4), 0xffffffff, "decode is off at first");
	wr(&p, &p.a, PCI_CFG_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_MASTER);
	cr_assert_eq(p.f.events[DEV_EVENT_REMAP], 1);
	cr_assert_eq(fake_read(&p.f, at, 4), 0xffffffff, "nothing moves before control");
	pci_root_remap(p.root);
	fake_write(&p.f, at, 4, 0x1234);
	cr_assert_eq(fake_read(&p.f, at, 4), 0x1234);
	cr_assert_eq(p.a.mapped_at, at);
	wr(&p, &p.a, PCI_CFG_COMMAND, 2, PCI_CMD_MEM);
	cr_assert_eq(p.f.events[DEV_EVENT_REMAP], 1, "bus mastering is no decode change");
	command(&p, &p.a, 0);
	cr_assert_eq(p.f.events[DEV_EVENT_REMAP], 2);
	cr_assert_eq(fake_read(&p.f, at, 4), 0xffffffff);
	cr_assert_eq(p.a.unmaps, 1);
	pc_fini(&p);
}

Test(pci, bars_trade_places)
{
	struct pc p;
	uint64_t a, b;

	pc_init(&p);
	command(&p, &p.a, PCI_CMD_MEM);
	command(&p, &p.b, PCI_CMD_MEM);
	p.a.reg = 0xa;
	p.b.reg = 0xb;
	a = rd(&p, &p.a, 0x10, 4);
	b = rd(&p, &p.b, 0x10, 4);
	cr_assert_neq(a, b);
	wr(&p, &p.a, 0x10, 4, b);
	wr(&p, &p.b, 0x10, 4, a);
	pci_root_remap(p.root);
	cr_assert_eq(fake_read(&p.f, b, 4), 0xa);
	cr_assert_eq(fake_read(&p.f, a, 4), 0xb);
	pc_fini(&p);
}

Test(pci, a_bar_outside_the_windows_is_not_decoded)
{
	struct pc p;
	uint64_t a;

	pc_init(&p);
	a = rd(&p, &p.a, 0x10, 4);
	command(&p, &p.a, PCI_CMD_MEM);
	wr(&p, &p.a, 0x10, 4, 0x1000);
	pci_root_remap(p.root);
	cr_assert_eq(p.a.mapped_at, 0);
	wr(&p, &p.a, 0x10, 4, ECAM);
	pci_root_remap(p.root);
	cr_assert_eq(p.a.mapped_at, 0);
	wr(&p, &p.a, 0x1c, 4, 0xffffffff);
	wr(&p, &p.a, 0x18, 4, 0xffffffff);
	pci_root_remap(p.root);
	wr(&p, &p.a, 0x10, 4, a);
	pci_root_remap(p.root);
	cr_assert_eq(p.a.mapped_at, a);
	pc_fini(&p);
}

Test(pci, overlapping_bars_leave_one_mapped)
{
	struct pc p;
	uint64_t a;

	pc_init(&p);
	command(&p, &p.a, PCI_CMD_MEM);
	command(&p, &p.b, PCI_CMD_MEM);
	a = rd(&p, &p.a, 0x10, 4);
	p.a.reg = 0xa;
	wr(&p, &p.b, 0x10, 4, a);
	pci_root_remap(p.root);
	pci_root_remap(p.root);
	cr_assert_eq(fake_read(&p.f, a, 4), 0xa);
	cr_assert(!p.b.fn.bar[0].mapped);
	command(&p, &p.a, 0);
	cr_assert(p.b.fn.bar[0].mapped, "room again");
	pc_fini(&p);
}

Test(pci, placement_is_aligned_and_disjoint)
{
	struct pc p;
	struct toy more[20];

	pc_init(&p);
	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(toy_init(&more[i], &p.f.host, "more"), 0);
		cr_assert_eq(pci_root_add(p.root, &more[i].fn, -1), 0);
		command(&p, &more[i], PCI_CMD_MEM);
		cr_assert(more[i].fn.bar[0].mapped && more[i].fn.bar[2].mapped);
		cr_assert_eq(more[i].mapped_at % BAR0_SIZE, 0);
		cr_assert_eq(bar2(&p, &more[i]) % BAR2_SIZE, 0);
		cr_assert_geq(bar2(&p, &more[i]), MMIO64);
		cr_assert_neq(more[i].fn.bdf.devfn, p.b.fn.bdf.devfn);
	}
	for (unsigned i = 0; i < 20; i++)
		toy_fini(&more[i]);
	pc_fini(&p);
}

Test(pci, slots_and_windows_run_out)
{
	struct pc p;
	struct toy t;

	pc_init(&p);
	cr_assert_eq(toy_init(&t, &p.f.host, "t"), 0);
	cr_assert_eq(pci_root_add(p.root, &t.fn, 5), -EEXIST);
	cr_assert_eq(pci_root_add(p.root, &t.fn, 32), -EINVAL);
	t.fn.bar[0].size = 64 * MIB;
	cr_assert_eq(pci_root_add(p.root, &t.fn, -1), -ENOSPC);
	t.fn.bar[0].size = 0x1800;
	cr_assert_eq(pci_root_add(p.root, &t.fn, -1), -EINVAL);
	toy_fini(&t);
	pc_fini(&p);
}

Test(pci, intx_is_swizzled_shared_and_disabled)
{
	struct pc p;

	pc_init(&p); /* slots 1 and 5: both on the second pin */
	pci_fn_set_intx(&p.a.fn, true);
	pci_fn_set_intx(&p.b.fn, true);
	cr_assert(p.f.wire[17]);
	cr_assert(rd(&p, &p.a, PCI_CFG_STATUS, 2) & PCI_STATUS_INTX);
	cr_assert(rd(&p, &p.a, PCI_CFG_COMMAND, 4) & PCI_STATUS_INTX << 16);
	pci_fn_set_intx(&p.a.fn, false);
	cr_assert(p.f.wire[17], "the other still asserts");
	wr(&p, &p.b, PCI_CFG_COMMAND, 2, PCI_CMD_INTX_DISABLE);
	cr_assert(!p.f.wire[17]);
	cr_assert_eq(p.b.irq_modes, 1);
	cr_assert(rd(&p, &p.b, PCI_CFG_STATUS, 1) & PCI_STATUS_INTX);
	wr(&p, &p.b, PCI_CFG_COMMAND, 2, 0);
	cr_assert(p.f.wire[17]);
	pc_fini(&p);
}

static unsigned control_off(const struct toy *t)
{
	return t->fn.msix_cap + MSIX_CAP_CONTROL;
}

static uint64_t vector(struct pc *p, struct toy *t, unsigned i)
{
	return bar2(p, t) + i * MSIX_ENTRY_SIZE;
}

static void set_vector(struct pc *p, struct toy *t, unsigned i, uint32_t data)
{
	uint64_t e = vector(p, t, i);

	fake_write(&p->f, e, 4, 0xfee00000);
	fake_write(&p->f, e + 4, 4, 0);
	fake_write(&p->f, e + 8, 4, data);
	fake_write(&p->f, e + 12, 4, 0);
}

static uint64_t pba(struct pc *p, struct toy *t, unsigned size)
{
	return fake_read(&p->f, bar2(p, t) + PBA_OFF, size);
}

static void raise_vector(struct pc *p, struct toy *t, unsigned i)
{
	irq_pulse(pci_fn_msix_line(&t->fn, i));
	fake_pump(&p->f);
}

Test(msix, capability)
{
	struct pc p;
	unsigned cap;

	pc_init(&p);
	cap = rd(&p, &p.a, PCI_CFG_CAP_PTR, 1);
	cr_assert_eq(cap, 0x40);
	cr_assert(rd(&p, &p.a, PCI_CFG_STATUS, 2) & PCI_STATUS_CAPS);
	cr_assert_eq(rd(&p, &p.a, cap, 4), (NVECTORS - 1) << 16 | PCI_CAP_MSIX);
	cr_assert_eq(rd(&p, &p.a, cap + 4, 4), 2);
	cr_assert_eq(rd(&p, &p.a, cap + 8, 4), PBA_OFF | 2);
	cr_assert_null(pci_fn_msix_line(&p.a.fn, NVECTORS));
	pc_fini(&p);
}

Test(msix, table_is_masked_at_first_and_reads_back)
{
	struct pc p;
	uint64_t e;

	pc_init(&p);
	command(&p, &p.a, PCI_CMD_MEM);
	e = vector(&p, &p.a, 3);
	cr_assert_eq(fake_read(&p.f, e + 12, 4), 1);
	fake_write(&p.f, e, 8, UINT64_C(0x12345678fee00003));
	fake_write(&p.f, e + 8, 8, UINT64_C(0xffffffff00000055));
	cr_assert_eq(fake_read(&p.f, e, 8), UINT64_C(0x12345678fee00000));
	cr_assert_eq(fake_read(&p.f, e + 8, 8), UINT64_C(0x100000055));
	cr_assert_eq(fake_read(&p.f, e + 4, 2), 0x5678);
	fake_write(&p.f, e + 8, 2, 0);
	cr_assert_eq(fake_read(&p.f, e + 8, 4), 0x55, "a word write is dropped");
	cr_assert_eq(fake_read(&p.f, e + MSIX_ENTRY_SIZE, 4), 0, "past the table");
	pc_fini(&p);
}

Test(msix, a_vector_sends_its_message)
{
	struct pc p;

	pc_init(&p);
	command(&p, &p.a, PCI_CMD_MEM);
	set_vector(&p, &p.a, 1, 33);
	raise_vector(&p, &p.a, 1);
	cr_assert_eq(p.f.msis[33], 0, "MSI-X is off");
	wr(&p, &p.a, control_off(&p.a), 2, MSIX_CONTROL_ENABLE);
	cr_assert(pci_fn_msix_enabled(&p.a.fn));
	cr_assert_eq(p.a.irq_modes, 1);
	fake_pump(&p.f);
	cr_assert_eq(p.f.msis[33], 1, "what became pending comes at once");
	raise_vector(&p, &p.a, 1);
	cr_assert_eq(p.f.msis[33], 2);
	set_vector(&p, &p.a, 1, 34);
	raise_vector(&p, &p.a, 1);
	cr_assert_eq(p.f.msis[34], 1);
	cr_assert_eq(p.f.msis[33], 2);
	pc_fini(&p);
}

Test(msix, masks_hold_messages_back)
{
	struct pc p;

	pc_init(&p);
	command(&p, &p.a, PCI_CMD_MEM);
	wr(&p, &p.a, control_off(&p.a), 2, MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL);
	for (unsigned i = 0; i < NVECTORS; i++)
		set_vector(&p, &p.a, i, 40 + i);
	raise_vector(&p, &p.a, 2);
	cr_assert_eq(p.f.msis[42], 0);
	cr_assert_eq(pba(&p, &p.a, 4), 1 << 2);
	cr_assert_eq(pba(&p, &p.a, 8), 1 << 2);
	fake_write(&p.f, vector(&p, &p.a, 2) + 12, 4, 1);
	wr(&p, &p.a, control_off(&p.a), 2, MSIX_CONTROL_ENABLE);
	fake_pump(&p.f);
	cr_assert_eq(p.f.msis[42], 0, "its own mask");
	raise_vector(&p, &p.a, 0);
	cr_assert_eq(p.f.msis[40], 1);
	fake_write(&p.f, vector(&p, &p.a, 2) + 12, 4, 0);
	fake_pump(&p.f);
	cr_assert_eq(p.f.msis[42], 1);
	cr_assert_eq(pba(&p, &p.a, 4), 0);
	pc_fini(&p);
}

Test(msix, none_without_msi)
{
	struct fake_host f;
	struct toy t;

	cr_assert_eq(fake_host_init(&f, 0, false), 0);
	cr_assert_eq(toy_init(&t, &f.host, "t"), -EOPNOTSUPP);
	cr_assert_null(pci_fn_msix_line(&t.fn, 0));
	cr_assert_eq(msix_read(&t.fn, 0, 4, false), 0);
	msix_write(&t.fn, 0, 4, 1);
	toy_fini(&t);
	fake_host_fini(&f);
}

static void save(struct toy *t, struct visit_buf *b)
{
	struct visitor *v;

	memset(b, 0, sizeof(*b));
	cr_assert_eq(visitor_new_save(b, &v), 0);
	cr_assert_eq(pci_fn_visit(&t->fn, v), 0);
	visitor_free(v);
}

static int load(struct toy *t, const struct visit_buf *b)
{
	struct visitor *v;
	int r;

	cr_assert_eq(visitor_new_load(b->data, b->len, &v), 0);
	r = pci_fn_visit(&t->fn, v);
	visitor_free(v);
	return r;
}

Test(pci, state_travels)
{
	struct pc p, q;
	struct visit_buf b;

	pc_init(&p);
	pc_init(&q);
	command(&p, &p.a, PCI_CMD_MEM | PCI_CMD_MASTER);
	set_vector(&p, &p.a, 0, 50);
	wr(&p, &p.a, control_off(&p.a), 2, MSIX_CONTROL_ENABLE);
	pci_fn_set_intx(&p.a.fn, true);
	save(&p.a, &b);
	cr_assert_eq(load(&q.a, &b), 0);
	pci_root_remap(q.root);
	cr_assert_eq(q.a.mapped_at, p.a.mapped_at);
	cr_assert(pci_fn_msix_enabled(&q.a.fn));
	cr_assert(q.f.wire[17]);
	raise_vector(&q, &q.a, 0);
	cr_assert_eq(q.f.msis[50], 1);
	q.b.fn.config[PCI_CFG_DEVICE] = 0x41;
	cr_assert_eq(load(&q.b, &b), -EINVAL, "another device's state");
	visit_buf_fini(&b);
	pc_fini(&q);
	pc_fini(&p);
}

Test(pci, reset_is_power_on)
{
	struct pc p;
	uint64_t at;

	pc_init(&p);
	at = bar2(&p, &p.a);
	command(&p, &p.a, PCI_CMD_MEM);
	set_vector(&p, &p.a, 0, 50);
	wr(&p, &p.a, control_off(&p.a), 2, MSIX_CONTROL_ENABLE);
	wr(&p, &p.a, 0x18, 4, 0);
	pci_fn_set_intx(&p.a.fn, true);
	pci_fn_reset(&p.a.fn);
	pci_root_remap(p.root);
	cr_assert_eq(bar2(&p, &p.a), at);
	cr_assert(!p.a.fn.bar[0].mapped && !p.a.fn.bar[2].mapped);
	cr_assert(!p.f.wire[17]);
	cr_assert(!pci_fn_msix_enabled(&p.a.fn));
	command(&p, &p.a, PCI_CMD_MEM);
	cr_assert_eq(fake_read(&p.f, vector(&p, &p.a, 0) + 12, 4), 1);
	pc_fini(&p);
}
