/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings that a broken or hostile driver writes, one fault at a time, to every device that is
 * found. Where nothing sensible can be done with a fault the device must ask to be reset; with the
 * rest it may also answer with an error, or stand still. It must not take the VMM down, and after a
 * reset it must work.
 */
#include "case.h"
#include "driver.h"
#include "io.h"
#include "mem.h"
#include "wait.h"

static uint8_t buffer[64] __attribute__((aligned(64)));
static struct vq_desc *table; /* for the indirect faults */

static void set(struct vq_desc *d, uint64_t address, uint32_t length, uint16_t flags, uint16_t next)
{
	*d = (struct vq_desc){address, length, flags, next};
}

static void self_loop(struct vq *q)
{
	set(&q->desc[0], phys(buffer), 16, DESC_NEXT, 0);
	vq_offer(q, 0);
}

static void long_loop(struct vq *q)
{
	for (unsigned i = 0; i < q->size; i++)
		set(&q->desc[i], phys(buffer), 16, DESC_NEXT | DESC_WRITE,
			(uint16_t)((i + 1) % q->size));
	vq_offer(q, 0);
}

static void next_outside(struct vq *q)
{
	set(&q->desc[0], phys(buffer), 16, DESC_NEXT, 0xfff0);
	vq_offer(q, 0);
}

static void head_outside(struct vq *q)
{
	vq_offer(q, 0xffff);
}

static void no_memory(struct vq *q)
{
	set(&q->desc[0], 1ull << 50, 16, DESC_NEXT, 1);
	set(&q->desc[1], machine.ram_end + (1ull << 34), 16, DESC_WRITE, 0);
	vq_offer(q, 0);
}

static void address_wraps(struct vq *q)
{
	set(&q->desc[0], ~0ull - 8, 64, DESC_WRITE, 0);
	vq_offer(q, 0);
}

static void length_huge(struct vq *q)
{
	set(&q->desc[0], phys(buffer), 0xffffffff, 0, 0);
	vq_offer(q, 0);
}

static void length_huge_writable(struct vq *q)
{
	set(&q->desc[0], phys(buffer), 16, DESC_NEXT, 1);
	set(&q->desc[1], machine.ram_end - 4096, 0xfffff000, DESC_WRITE, 0);
	vq_offer(q, 0);
}

static void length_zero(struct vq *q)
{
	set(&q->desc[0], phys(buffer), 0, 0, 0);
	vq_offer(q, 0);
}

static void all_read_only(struct vq *q)
{
	set(&q->desc[0], phys(buffer), 64, 0, 0);
	vq_offer(q, 0);
}

static void all_writable(struct vq *q)
{
	set(&q->desc[0], phys(buffer), 1, DESC_WRITE, 0);
	vq_offer(q, 0);
}

static void read_after_write(struct vq *q)
{
	set(&q->desc[0], phys(buffer), 16, DESC_WRITE | DESC_NEXT, 1);
	set(&q->desc[1], phys(buffer), 16, 0, 0);
	vq_offer(q, 0);
}

static void index_jumps(struct vq *q)
{
	q->next_avail = 0x4000;
	vq_offer(q, 0);
}

static void index_back(struct vq *q)
{
	q->next_avail = 0xfff0;
	vq_offer(q, 0);
}

static void indirect_loop(struct vq *q)
{
	set(&table[0], phys(buffer), 16, DESC_NEXT, 1);
	set(&table[1], phys(buffer), 16, DESC_NEXT, 0);
	set(&q->desc[0], phys(table), 32, DESC_INDIRECT, 0);
	vq_offer(q, 0);
}

static void indirect_nested(struct vq *q)
{
	set(&table[0], phys(table), 16, DESC_INDIRECT, 0);
	set(&q->desc[0], phys(table), 16, DESC_INDIRECT, 0);
	vq_offer(q, 0);
}

static void indirect_odd(struct vq *q)
{
	set(&q->desc[0], phys(table), 17, DESC_INDIRECT, 0);
	vq_offer(q, 0);
}

static void indirect_empty(struct vq *q)
{
	set(&q->desc[0], phys(table), 0, DESC_INDIRECT, 0);
	vq_offer(q, 0);
}

static void indirect_huge(struct vq *q)
{
	set(&q->desc[0], machine.ram_base, 0xfffffff0, DESC_INDIRECT, 0);
	vq_offer(q, 0);
}

static void indirect_nowhere(struct vq *q)
{
	set(&q->desc[0], 1ull << 52, 32, DESC_INDIRECT | DESC_NEXT, 1);
	vq_offer(q, 0);
}

/* Packed rings: slot i, available in the first lap. The device may look at any time, so all but
 * the flags is written before them, and the first slot of a chain last (§2.8.6). */
static void slot_of_id(
	struct vq *q, unsigned i, uint64_t address, uint32_t length, uint16_t id, uint16_t flags)
{
	struct vq_packed_desc *d = &q->packed.ring[i];

	d->address = address;
	d->length = length;
	d->id = id;
	if (q->packed.ndesc[0] < i + 1)
		q->packed.ndesc[0] = (uint16_t)(i + 1);
	__atomic_store_n(&d->flags, (uint16_t)(flags | DESC_AVAIL), __ATOMIC_RELEASE);
}

static void slot(struct vq *q, unsigned i, uint64_t address, uint32_t length, uint16_t flags)
{
	slot_of_id(q, i, address, length, 0, flags);
}

static void packed_endless(struct vq *q)
{
	for (unsigned i = q->size; i-- > 0;)
		slot(q, i, phys(buffer), 16, DESC_NEXT);
}

static void packed_id_outside(struct vq *q)
{
	slot_of_id(q, 0, phys(buffer), 16, (uint16_t)q->size, DESC_WRITE);
}

static void packed_id_huge(struct vq *q)
{
	slot_of_id(q, 0, phys(buffer), 16, 0xffff, DESC_WRITE);
}

static void packed_no_memory(struct vq *q)
{
	slot(q, 1, machine.ram_end + (1ull << 34), 16, DESC_WRITE);
	slot(q, 0, 1ull << 50, 16, DESC_NEXT);
}

static void packed_address_wraps(struct vq *q)
{
	slot(q, 0, ~0ull - 8, 64, DESC_WRITE);
}

static void packed_length_huge(struct vq *q)
{
	slot(q, 0, phys(buffer), 0xffffffff, 0);
}

static void packed_length_zero(struct vq *q)
{
	slot(q, 0, phys(buffer), 0, 0);
}

static void packed_read_after_write(struct vq *q)
{
	slot(q, 1, phys(buffer), 16, 0);
	slot(q, 0, phys(buffer), 16, DESC_WRITE | DESC_NEXT);
}

static void packed_next_lap(struct vq *q)
{
	for (unsigned i = 0; i < q->size; i++)
		q->packed.ring[i] = (struct vq_packed_desc){phys(buffer), 16, 0, DESC_USED};
	q->packed.ndesc[0] = (uint16_t)q->size;
}

static void packed_indirect_next(struct vq *q)
{
	table[0] = (struct vq_desc){phys(buffer), 16, 0, 0};
	slot(q, 1, phys(buffer), 16, DESC_WRITE);
	slot(q, 0, phys(table), 16, DESC_INDIRECT | DESC_NEXT);
}

static void packed_indirect_odd(struct vq *q)
{
	slot(q, 0, phys(table), 17, DESC_INDIRECT);
}

static void packed_indirect_huge(struct vq *q)
{
	slot(q, 0, machine.ram_base, 0xfffffff0, DESC_INDIRECT);
}

static void packed_indirect_nowhere(struct vq *q)
{
	slot(q, 0, 1ull << 52, 32, DESC_INDIRECT);
}

static const struct fault {
	const char *name;
	void (*make)(struct vq *);
	bool must_ask; /* nothing sensible can be done with it: NEEDS_RESET is the answer (§2.1.1)
			*/
} faults[] = {
	{"a descriptor that follows itself", self_loop, true},
	{"a loop through the whole table", long_loop, true},
	{"next outside the table", next_outside, true},
	{"a head outside the table", head_outside, true},
	{"addresses without memory", no_memory, true},
	{"an address that wraps", address_wraps, true},
	{"a length past the end of memory", length_huge, true},
	{"a writable length past the end of memory", length_huge_writable, true},
	{"a length of zero", length_zero, false},
	{"only readable buffers", all_read_only, false},
	{"only writable buffers", all_writable, false},
	{"readable after writable", read_after_write, false},
	{"an index far ahead", index_jumps, true},
	{"an index that goes back", index_back, true},
	{"a loop in an indirect table", indirect_loop, true},
	{"indirect in indirect", indirect_nested, true},
	{"an indirect table of 17 bytes", indirect_odd, true},
	{"an indirect table of no bytes", indirect_empty, false},
	{"an indirect table of 4 GiB", indirect_huge, true},
	{"an indirect table without memory", indirect_nowhere, true},
};
static const struct fault packed_faults[] = {
	{"a chain without end", packed_endless, true},
	{"an id of the ring's size", packed_id_outside, true},
	{"an id of 65535", packed_id_huge, true},
	{"addresses without memory", packed_no_memory, true},
	{"an address that wraps", packed_address_wraps, true},
	{"a length past the end of memory", packed_length_huge, true},
	{"a length of zero", packed_length_zero, false},
	{"readable after writable", packed_read_after_write, false},
	{"descriptors of the next lap", packed_next_lap, false},
	{"an indirect descriptor in a chain", packed_indirect_next, true},
	{"an indirect table of 17 bytes", packed_indirect_odd, true},
	{"an indirect table of 4 GiB", packed_indirect_huge, true},
	{"an indirect table without memory", packed_indirect_nowhere, true},
};

/* True if the device asked for a reset; false if it gave the chain back or stood still. */
static bool provoke(const struct vdev *dev, uint64_t kind, const struct fault *f)
{
	struct drv d;
	bool asked;

	CHECK(!drv_open(&d, dev, kind | F_INDIRECT, 8), "%s does not start before '%s'", dev->name,
		f->name);
	f->make(&d.q);
	mb();
	vdev_notify(&d.dev, d.q.index);
	WAIT_POLL((vdev_status(&d.dev) & STATUS_NEEDS_RESET) || vq_take(&d.q, NULL, NULL),
		f->must_ask ? 10000 : 20);
	asked = vdev_status(&d.dev) & STATUS_NEEDS_RESET;
	CHECK(!vdev_reset(&d.dev), "%s cannot be reset after '%s'", dev->name, f->name);
	return asked;
}

/* Ring addresses that are no memory: §4.1.4.3 leaves it open when the device notices. */
static void rings_nowhere(const struct vdev *dev)
{
	struct drv d;

	CHECK(!drv_prepare(&d, dev, 0, 8), "%s does not start", dev->name);
	CHECK(!vdev_negotiate(&d.dev, 0), "%s does not start", dev->name);
	vdev_queue_enable(&d.dev, d.q.index, 8, 1ull << 51, ~0ull - 15, machine.ram_end - 2);
	vdev_driver_ok(&d.dev);
	vdev_notify(&d.dev, d.q.index);
	WAIT_POLL(vdev_status(&d.dev) & STATUS_NEEDS_RESET, 20);
	CHECK(!vdev_reset(&d.dev), "%s cannot be reset after rings without memory", dev->name);
}

static void test_all(const struct vdev *dev, uint64_t kind, const struct fault *f, unsigned n)
{
	unsigned asked = 0;
	struct drv d;

	for (unsigned i = 0; i < n; i++) {
		bool a = provoke(dev, kind, &f[i]);

		asked += a;
		CHECK(a || !f[i].must_ask, "%s asks for no reset after %s", dev->name, f[i].name);
		CHECK(!drv_open(&d, dev, kind | F_INDIRECT, 8) && !drv_ping(&d),
			"%s does not work after %s and a reset", dev->name, f[i].name);
	}
	vdev_reset(&d.dev);
	note("%s: %u of %u %s faults made it ask for a reset\n", dev->name, asked, n,
		kind & F_PACKED ? "packed" : "split");
}

static void test(const struct vdev *dev)
{
	struct drv d;

	test_all(dev, 0, faults, ARRAY_SIZE(faults));
	if (vdev_offered(dev) & F_PACKED)
		test_all(dev, F_PACKED, packed_faults, ARRAY_SIZE(packed_faults));
	rings_nowhere(dev);
	CHECK(!drv_open(&d, dev, 0, 8) && !drv_ping(&d), "%s does not work after rings nowhere",
		dev->name);
	vdev_reset(&d.dev);
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(0, v), tested = 0;

	table = mem_alloc(PAGE_SIZE, PAGE_SIZE);
	for (unsigned i = 0; i < n; i++) {
		if (!drv_knows(&v[i]))
			continue;
		test(&v[i]);
		tested++;
	}
	if (!tested)
		case_skip("no virtio device");
}

const struct guest_case this_case = {"bad-ring", run, .no_irqs = true};
