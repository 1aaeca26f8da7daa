/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include "devices/virtio/virtq.h"
#include "vmm/base/num.h"

#define SIZE   8
#define RING   0x1000
#define DRIVER 0x2000
#define DEVICE 0x3000
#define DATA   0x8000
#define TABLE  0x10000

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define AVAIL	 (1 << VRING_PACKED_DESC_F_AVAIL)
#define USED	 (1 << VRING_PACKED_DESC_F_USED)

static struct guest_mem mem;
static struct virtq q;
static struct virtq_chain c;

static void *at(uint64_t gpa, uint64_t len)
{
	void *p = guest_mem_ptr(&mem, gpa, len);

	cr_assert(p);
	return p;
}

static struct virtq_setup setup(uint64_t features)
{
	return (struct virtq_setup){.size = SIZE,
		.desc = RING,
		.avail = DRIVER,
		.used = DEVICE,
		.features = features | VIRTIO_BIT_RING_PACKED};
}

static void start(uint64_t features)
{
	struct virtq_setup s = setup(features);

	cr_assert_eq(virtq_init(&q, &mem, &s), 0);
}

static void make(void)
{
	struct mem_range ram = {0, 4 * MIB};

	cr_assert_eq(guest_mem_init(&mem, &ram, 1, NULL, NULL), 0);
	start(VIRTIO_BIT_INDIRECT_DESC);
}

static void unmake(void)
{
	guest_mem_fini(&mem);
}

TestSuite(virtq_packed, .init = make, .fini = unmake, .timeout = 30);

static volatile struct vring_packed_desc *slot(unsigned i)
{
	return at(RING + 16 * i, 16);
}

static void desc_in(
	uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t id)
{
	struct vring_packed_desc d = {addr, len, id, flags};

	memcpy(at(table + 16 * i, 16), &d, 16);
}

/* Available in the first lap, or with AVAIL and USED swapped in the second. */
static void desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t id)
{
	desc_in(RING, i, addr, len, flags | AVAIL, id);
}

static void desc_lap2(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t id)
{
	desc_in(RING, i, addr, len, flags | USED, id);
}

static void driver_event(uint16_t slot_and_wrap, uint16_t flags)
{
	*(uint16_t *)at(DRIVER, 2) = slot_and_wrap;
	*(uint16_t *)at(DRIVER + 2, 2) = flags;
}

static uint32_t device_event(void)
{
	return *(uint32_t *)at(DEVICE, 4);
}

static bool serve(uint32_t written)
{
	cr_assert_eq(virtq_pop(&q, &c), 1);
	virtq_push(&q, &c, written);
	return virtq_publish(&q);
}

/* One round of the ring, a descriptor a chain. */
static void first_lap(void)
{
	for (unsigned i = 0; i < SIZE; i++) {
		desc(i, DATA, 16, 0, i);
		serve(0);
	}
}

static void is_broken(void)
{
	cr_expect_lt(virtq_pop(&q, &c), 0);
	cr_expect(q.broken);
	cr_expect_lt(virtq_pop(&q, &c), 0, "stays broken");
}

Test(virtq_packed, empty)
{
	cr_expect_eq(virtq_pop(&q, &c), 0);
	cr_expect_not(virtq_publish(&q));
	slot(0)->flags = USED; /* available in the lap after */
	cr_expect_eq(virtq_pop(&q, &c), 0);
	slot(0)->flags = AVAIL | USED;
	cr_expect_eq(virtq_pop(&q, &c), 0);
}

/* §2.8.6: the id of the last descriptor counts, the completion is one descriptor. */
Test(virtq_packed, chain_of_readable_and_writable_buffers)
{
	desc(0, DATA, 16, NEXT, 77);
	desc(1, DATA + 0x100, 32, NEXT | WRITE, 78);
	desc(2, DATA + 0x200, 1, WRITE, 5);
	desc(3, DATA, 4, 0, 6);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_expect_eq(c.head, 5);
	cr_expect_eq(c.nout, 1);
	cr_expect_eq(c.nin, 2);
	cr_expect_eq(c.out_len, 16u);
	cr_expect_eq(c.in_len, 33u);
	virtq_push(&q, &c, 33);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_expect_eq(c.head, 6);
	virtq_push(&q, &c, 0);
	cr_expect_eq(slot(0)->flags, NEXT | AVAIL, "not published");
	cr_expect(virtq_publish(&q));
	cr_expect_eq(slot(0)->flags, WRITE | AVAIL | USED);
	cr_expect_eq(slot(0)->id, 5);
	cr_expect_eq(slot(0)->len, 33u);
	cr_expect_eq(slot(1)->flags, NEXT | WRITE | AVAIL, "skipped");
	cr_expect_eq(slot(3)->flags, AVAIL | USED, "nothing written, no WRITE");
	cr_expect_eq(slot(3)->id, 6);
	cr_expect_not(virtq_publish(&q), "nothing new");
}

/* The chain that completes first is used first, and skips its own number of slots. */
Test(virtq_packed, out_of_order)
{
	struct virtq_chain a, b;

	desc(0, DATA, 16, NEXT, 0);
	desc(1, DATA, 16, NEXT, 0);
	desc(2, DATA, 16, 0, 0);
	desc(3, DATA, 16, 0, 1);
	cr_assert_eq(virtq_pop(&q, &a), 1);
	cr_assert_eq(virtq_pop(&q, &b), 1);
	virtq_push(&q, &b, 0);
	virtq_push(&q, &a, 0);
	virtq_publish(&q);
	cr_expect_eq(slot(0)->id, 1);
	cr_expect_eq(slot(1)->id, 0);
	cr_expect_eq(slot(1)->flags, AVAIL | USED);
	desc(4, DATA, 16, 0, 7);
	serve(0);
	cr_expect_eq(slot(4)->id, 7);
}

Test(virtq_packed, laps)
{
	first_lap();
	cr_expect_eq(virtq_pop(&q, &c), 0, "the first lap's slots are used ones");
	desc_lap2(0, DATA, 16, WRITE, 3);
	serve(4);
	cr_expect_eq(slot(0)->flags, WRITE, "AVAIL and USED 0 in the second lap");
	cr_expect_eq(virtq_pop(&q, &c), 0);
}

/* A chain may cross the end of the ring; its last slots are the next lap's. */
Test(virtq_packed, chain_across_the_end)
{
	struct virtq_pos pos = {
		.avail = SIZE - 1, .used = SIZE - 1, .avail_wrap = true, .used_wrap = true};
	struct virtq_setup s = setup(0);

	s.pos = &pos;
	cr_assert_eq(virtq_init(&q, &mem, &s), 0);
	desc(SIZE - 1, DATA, 16, NEXT, 2);
	desc_lap2(0, DATA, 16, NEXT, 2);
	desc_lap2(1, DATA, 16, 0, 2);
	serve(0);
	cr_expect_eq(slot(SIZE - 1)->flags, AVAIL | USED);
	virtq_pos_get(&q, &pos);
	cr_expect(pos.avail == 2 && pos.used == 2 && !pos.avail_wrap && !pos.used_wrap);
	cr_assert_eq(virtq_init(&q, &mem, &s), 0, "goes on there");
	desc_lap2(2, DATA, 16, 0, 0);
	serve(0);
	cr_expect_eq(slot(2)->flags, 0);
}

Test(virtq_packed, one_chain_fills_the_ring)
{
	for (unsigned lap = 0; lap < 3; lap++) {
		for (unsigned i = 0; i < SIZE; i++)
			(lap & 1 ? desc_lap2 : desc)(i, DATA, 1, i < SIZE - 1 ? NEXT : 0, 1);
		cr_assert_eq(virtq_pop(&q, &c), 1);
		cr_expect_eq(virtq_pop(&q, &c), 0, "none of the next lap");
		cr_expect_eq(c.nout, 0);
		virtq_push_parts(&q, 1, NULL, 0, 0);
		cr_expect(virtq_publish(&q));
	}
}

Test(virtq_packed, unpop_gives_the_chains_again)
{
	desc(0, DATA, 16, 0, 4);
	desc(1, DATA, 16, NEXT, 5);
	desc(2, DATA, 16, 0, 5);
	serve(0);
	desc(3, DATA, 16, 0, 6);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	virtq_unpop(&q, 2);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_expect_eq(c.head, 5);
	cr_expect_eq(c.nout, 2);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_expect_eq(c.head, 6);
}

Test(virtq_packed, interrupts_by_flag)
{
	desc(0, DATA, 16, 0, 0);
	desc(1, DATA, 16, 0, 0);
	desc(2, DATA, 16, 0, 0);
	driver_event(0, VRING_PACKED_EVENT_FLAG_DISABLE);
	cr_expect_not(serve(0));
	driver_event(0, VRING_PACKED_EVENT_FLAG_ENABLE);
	cr_expect(serve(0));
	driver_event(0, VRING_PACKED_EVENT_FLAG_DESC); /* not negotiated: rather one too many */
	cr_expect(serve(0));
}

Test(virtq_packed, event_decides)
{
	start(VIRTIO_BIT_EVENT_IDX);
	driver_event(1 | 1 << 15, VRING_PACKED_EVENT_FLAG_DESC);
	for (unsigned i = 0; i < SIZE; i++) {
		desc(i, DATA, 16, 0, 0);
		cr_expect_eq(serve(0), i == 1, "slot %u of the first lap", i);
	}
	driver_event(2, VRING_PACKED_EVENT_FLAG_DESC);
	for (unsigned i = 0; i < SIZE; i++) {
		desc_lap2(i, DATA, 16, 0, 0);
		cr_expect_eq(serve(0), i == 2, "slot %u of the second lap", i);
	}
}

/* The slot asked for lies inside a chain, inside a batch, and beyond the end of the ring. */
Test(virtq_packed, event_inside_a_batch)
{
	start(VIRTIO_BIT_EVENT_IDX);
	first_lap();
	start(VIRTIO_BIT_EVENT_IDX);
	for (unsigned i = 0; i < 6; i++) {
		desc(i, DATA, 16, i & 1 ? 0 : NEXT, i / 2);
		if (!(i & 1))
			continue;
		cr_assert_eq(virtq_pop(&q, &c), 1);
		virtq_push(&q, &c, 0);
	}
	driver_event(3 | 1 << 15, VRING_PACKED_EVENT_FLAG_DESC);
	cr_expect(virtq_publish(&q));
	desc(6, DATA, 16, NEXT, 0);
	desc(7, DATA, 16, NEXT, 0);
	desc_lap2(0, DATA, 16, 0, 0);
	driver_event(0, VRING_PACKED_EVENT_FLAG_DESC);
	cr_expect(serve(0), "slot 0 of the next lap");
	desc_lap2(1, DATA, 16, 0, 0);
	cr_expect_not(serve(0));
}

Test(virtq_packed, kick_switch_by_flag)
{
	virtq_disable_kick(&q);
	cr_expect_eq(device_event(), 1u << 16);
	cr_expect_not(virtq_enable_kick(&q));
	cr_expect_eq(device_event(), 0u);
	desc(0, DATA, 16, 0, 0);
	cr_expect(virtq_enable_kick(&q), "something arrived meanwhile");
}

Test(virtq_packed, kick_switch_by_event)
{
	start(VIRTIO_BIT_EVENT_IDX);
	desc(0, DATA, 16, 0, 0);
	serve(0);
	cr_expect_not(virtq_enable_kick(&q));
	cr_expect_eq(device_event(), 2u << 16 | 1u << 15 | 1);
	virtq_disable_kick(&q);
	cr_expect_eq(device_event(), 2u << 16 | 1u << 15 | 1, "lies behind soon enough");
	desc(1, DATA, 16, 0, 0);
	cr_expect(virtq_enable_kick(&q));
}

/* §2.8.7: in a table only WRITE counts, there is no chain and no id. */
Test(virtq_packed, indirect_table)
{
	desc(0, TABLE, 48, INDIRECT | WRITE, 3);
	desc_in(TABLE, 0, DATA, 4, AVAIL | INDIRECT, 99);
	desc_in(TABLE, 1, DATA + 64, 8, WRITE, 98);
	desc_in(TABLE, 2, DATA + 128, 16, WRITE | NEXT, 97);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_expect_eq(c.head, 3);
	cr_expect_eq(c.nout, 1);
	cr_expect_eq(c.nin, 2);
	cr_expect_eq(c.in_len, 24u);
	virtq_push(&q, &c, 24);
	virtq_publish(&q);
	desc(1, DATA, 4, 0, 3);
	cr_expect_eq(virtq_pop(&q, &c), 1, "one slot");
}

Test(virtq_packed, push_marks_what_the_device_may_have_written)
{
	uint64_t page = mem.page_size, bits;

	cr_assert_eq(guest_mem_log_start(&mem), 0);
	desc(0, DATA, 16, NEXT, 1);
	desc(1, 0x40000, 16, WRITE, 1);
	serve(1);
	virtq_enable_kick(&q);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t gpa = ((uint64_t[]){0x40000, RING, DEVICE})[i];

		bits = mem.region[0].dirty[gpa / page / 64] >> (gpa / page % 64);
		cr_expect(bits & 1, "%#lx", gpa);
	}
	if (page == 4096) { /* what was only read stays clean */
		bits = mem.region[0].dirty[DATA / page / 64] >> (DATA / page % 64);
		cr_expect_not(bits & 1);
		bits = mem.region[0].dirty[DRIVER / page / 64] >> (DRIVER / page % 64);
		cr_expect_not(bits & 1);
	}
}

/* What a hostile driver may try. */

Test(virtq_packed, bad_areas_are_refused)
{
	struct virtq_setup s;

#define REFUSED(field, value, code)                                                                \
	s = setup(0);                                                                              \
	s.field = value;                                                                           \
	cr_expect_eq(virtq_init(&q, &mem, &s), code, #field " = " #value)
	REFUSED(size, 0, -EINVAL);
	REFUSED(size, 1025, -EINVAL);
	REFUSED(desc, RING + 8, -EINVAL);
	REFUSED(avail, DRIVER + 2, -EINVAL);
	REFUSED(used, DEVICE + 2, -EINVAL);
	REFUSED(desc, 0xfffffffffffffff0, -EFAULT);
	REFUSED(avail, 4 * MIB, -EFAULT);
	REFUSED(used, 0xfffffffffffffffc, -EFAULT);
	REFUSED(pos, (&(struct virtq_pos){.avail = SIZE}), -EINVAL);
	REFUSED(pos, (&(struct virtq_pos){.used = 0xffff}), -EINVAL);
	REFUSED(size, 3, 0);
#undef REFUSED
}

Test(virtq_packed, id_out_of_range)
{
	desc(0, DATA, 16, 0, SIZE);
	is_broken();
}

Test(virtq_packed, id_in_flight)
{
	desc(0, DATA, 16, 0, 3);
	desc(1, DATA, 16, 0, 3);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	is_broken();
	virtq_push(&q, &c, 0);
	cr_expect(virtq_publish(&q), "what was popped still comes back");
}

Test(virtq_packed, chain_without_end)
{
	for (unsigned i = 0; i < SIZE; i++)
		desc(i, DATA, 16, NEXT, 0);
	is_broken();
}

/* The driver overwrites slots whose completion it has not seen. */
Test(virtq_packed, more_than_is_free)
{
	desc(0, DATA, 16, NEXT, 0);
	desc(1, DATA, 16, 0, 0);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	for (unsigned i = 2; i < SIZE; i++)
		desc(i, DATA, 16, NEXT, 1);
	desc_lap2(0, DATA, 16, 0, 1);
	is_broken();
}

Test(virtq_packed, wrap_games)
{
	for (unsigned i = 0; i < SIZE; i++) {
		desc(i, DATA, 16, 0, i);
		cr_assert_eq(virtq_pop(&q, &c), 1);
	}
	desc(0, DATA, 16, 0, 0);
	cr_expect_eq(virtq_pop(&q, &c), 0, "the lap before");
	desc_lap2(0, DATA, 16, 0, 0);
	is_broken();
}

Test(virtq_packed, buffer_outside_memory)
{
	desc(0, 4 * MIB - 8, 16, 0, 0);
	is_broken();
}

Test(virtq_packed, buffer_wraps_the_address_space)
{
	desc(0, UINT64_MAX - 4, 16, 0, 0);
	is_broken();
}

Test(virtq_packed, empty_buffer)
{
	desc(0, DATA, 0, 0, 0);
	is_broken();
}

Test(virtq_packed, readable_after_writable)
{
	desc(0, DATA, 16, NEXT | WRITE, 0);
	desc(1, DATA, 16, 0, 0);
	is_broken();
}

Test(virtq_packed, indirect_not_negotiated)
{
	start(0);
	desc_in(TABLE, 0, DATA, 4, 0, 0);
	desc(0, TABLE, 16, INDIRECT, 0);
	is_broken();
}

Test(virtq_packed, indirect_with_next)
{
	desc_in(TABLE, 0, DATA, 4, 0, 0);
	desc(0, TABLE, 16, INDIRECT | NEXT, 0);
	desc(1, DATA, 16, 0, 0);
	is_broken();
}

Test(virtq_packed, indirect_after_a_plain_descriptor)
{
	desc_in(TABLE, 0, DATA, 4, 0, 0);
	desc(0, DATA, 16, NEXT, 0);
	desc(1, TABLE, 16, INDIRECT, 0);
	is_broken();
}

Test(virtq_packed, indirect_table_of_odd_length)
{
	desc_in(TABLE, 0, DATA, 4, 0, 0);
	desc(0, TABLE, 24, INDIRECT, 0);
	is_broken();
}

Test(virtq_packed, indirect_table_of_no_length)
{
	desc(0, TABLE, 0, INDIRECT, 0);
	is_broken();
}

Test(virtq_packed, indirect_table_outside_memory)
{
	desc(0, 4 * MIB - 16, 32, INDIRECT, 0);
	is_broken();
}

Test(virtq_packed, table_of_65535)
{
	for (unsigned i = 0; i < 65535; i++)
		desc_in(TABLE, i, DATA, 1, 0, 0);
	desc(0, TABLE, 65535 * 16, INDIRECT, 0);
	is_broken();
}
