/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/virtq.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include "vmm/base/num.h"

#define SIZE  8
#define DESC  0x1000
#define AVAIL 0x2000
#define USED  0x3000
#define DATA  0x8000
#define TABLE 0x10000

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
	return (struct virtq_setup){
		.size = SIZE, .desc = DESC, .avail = AVAIL, .used = USED, .features = features};
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
	/* All valid: what a test spoils is what breaks the ring. */
	for (unsigned i = 0; i < SIZE; i++) {
		struct vring_desc d = {DATA, 16, 0, 0};

		memcpy(at(DESC + 16 * i, 16), &d, 16);
		memcpy(at(TABLE + 16 * i, 16), &d, 16);
	}
}

static void unmake(void)
{
	guest_mem_fini(&mem);
}

TestSuite(virtq, .init = make, .fini = unmake, .timeout = 30);

static void desc_in(
	uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc d = {addr, len, flags, next};

	memcpy(at(table + 16 * i, 16), &d, 16);
}

static void desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	desc_in(DESC, i, addr, len, flags, next);
}

static uint16_t *avail_idx(void)
{
	return at(AVAIL + 2, 2);
}

static void offer(uint16_t head)
{
	*(uint16_t *)at(AVAIL + 4 + 2 * (*avail_idx() % SIZE), 2) = head;
	++*avail_idx();
}

static uint16_t used_idx(void)
{
	return *(uint16_t *)at(USED + 2, 2);
}

static uint16_t *avail_flags(void)
{
	return at(AVAIL, 2);
}

static uint16_t *used_event(void)
{
	return at(AVAIL + 4 + 2 * SIZE, 2);
}

static uint16_t avail_event(void)
{
	return *(uint16_t *)at(USED + 4 + 8 * SIZE, 2);
}

static void is_broken(void)
{
	cr_expect_lt(virtq_pop(&q, &c), 0);
	cr_expect(q.broken);
	cr_expect_lt(virtq_pop(&q, &c), 0, "stays broken");
}

Test(virtq, empty)
{
	cr_expect_eq(virtq_pop(&q, &c), 0);
	cr_expect_not(virtq_publish(&q));
}

Test(virtq, chain_of_readable_and_writable_buffers)
{
	desc(3, DATA, 16, VRING_DESC_F_NEXT, 5);
	desc(5, DATA + 0x100, 32, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 7);
	desc(7, DATA + 0x200, 1, VRING_DESC_F_WRITE, 0);
	offer(3);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_expect_eq(c.head, 3);
	cr_expect_eq(c.nout, 1);
	cr_expect_eq(c.nin, 2);
	cr_expect_eq(c.out_len, 16u);
	cr_expect_eq(c.in_len, 33u);
	cr_expect_eq(c.iov[2].iov_base, at(DATA + 0x200, 1));
	cr_expect_eq(virtq_pop(&q, &c), 0);
}

Test(virtq, push_is_seen_after_publish)
{
	struct vring_used_elem *e = at(USED + 4, 8);

	desc(0, DATA, 16, VRING_DESC_F_WRITE, 0);
	offer(0);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	virtq_push(&q, &c, 5);
	cr_expect_eq(used_idx(), 0);
	cr_expect(virtq_publish(&q));
	cr_expect_eq(used_idx(), 1);
	cr_expect_eq(e->id, 0u);
	cr_expect_eq(e->len, 5u);
	cr_expect_not(virtq_publish(&q), "nothing new");
}

Test(virtq, no_interrupt_when_flagged)
{
	desc(0, DATA, 16, 0, 0);
	offer(0);
	*avail_flags() = VRING_AVAIL_F_NO_INTERRUPT;
	cr_assert_eq(virtq_pop(&q, &c), 1);
	virtq_push(&q, &c, 0);
	cr_expect_not(virtq_publish(&q));
	cr_expect_eq(used_idx(), 1);
}

Test(virtq, used_event_decides)
{
	start(VIRTIO_BIT_EVENT_IDX);
	desc(0, DATA, 16, 0, 0);
	*used_event() = 1; /* after the second */
	for (int i = 0; i < 3; i++) {
		offer(0);
		cr_assert_eq(virtq_pop(&q, &c), 1);
		virtq_push(&q, &c, 0);
		cr_expect_eq(virtq_publish(&q), i == 1, "publication %d", i);
	}
}

Test(virtq, used_event_inside_a_batch)
{
	start(VIRTIO_BIT_EVENT_IDX);
	desc(0, DATA, 16, 0, 0);
	*used_event() = 1;
	for (int i = 0; i < 4; i++) {
		offer(0);
		cr_assert_eq(virtq_pop(&q, &c), 1);
		virtq_push(&q, &c, 0);
	}
	cr_expect(virtq_publish(&q));
}

Test(virtq, kick_switch_by_flag)
{
	virtq_disable_kick(&q);
	cr_expect_eq(*(uint16_t *)at(USED, 2), VRING_USED_F_NO_NOTIFY);
	cr_expect_not(virtq_enable_kick(&q));
	cr_expect_eq(*(uint16_t *)at(USED, 2), 0);
	offer(0);
	cr_expect(virtq_enable_kick(&q), "something arrived meanwhile");
}

Test(virtq, kick_switch_by_event)
{
	start(VIRTIO_BIT_EVENT_IDX);
	desc(0, DATA, 16, 0, 0);
	offer(0);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_expect_not(virtq_enable_kick(&q));
	cr_expect_eq(avail_event(), 1);
}

Test(virtq, unpop_gives_the_chain_again)
{
	desc(2, DATA, 16, 0, 0);
	offer(2);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	virtq_unpop(&q, 1);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_expect_eq(c.head, 2);
}

Test(virtq, indices_run_past_65535)
{
	struct virtq_pos pos = {.avail = 65534, .used = 65534};
	struct virtq_setup s = setup(0);

	s.pos = &pos;
	*avail_idx() = 65534;
	cr_assert_eq(virtq_init(&q, &mem, &s), 0);
	desc(0, DATA, 16, 0, 0);
	for (int i = 0; i < 4; i++) {
		offer(0);
		cr_assert_eq(virtq_pop(&q, &c), 1);
		virtq_push(&q, &c, 0);
		cr_expect(virtq_publish(&q));
	}
	cr_expect_eq(used_idx(), 2);
	virtq_pos_get(&q, &pos);
	cr_expect_eq(pos.avail, 2);
	cr_expect_eq(pos.used, 2);
}

Test(virtq, indirect_table_after_a_plain_descriptor)
{
	desc(0, DATA, 4, VRING_DESC_F_NEXT, 1);
	desc(1, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	desc_in(TABLE, 0, DATA + 64, 8, VRING_DESC_F_NEXT, 1);
	desc_in(TABLE, 1, DATA + 128, 16, VRING_DESC_F_WRITE, 0);
	offer(0);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_expect_eq(c.nout, 2);
	cr_expect_eq(c.out_len, 12u);
	cr_expect_eq(c.in_len, 16u);
}

Test(virtq, copies_across_buffers)
{
	char buf[12] = "";

	desc(0, DATA, 4, VRING_DESC_F_NEXT, 1);
	desc(1, DATA + 64, 4, VRING_DESC_F_NEXT, 2);
	desc(2, DATA + 128, 3, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 3);
	desc(3, DATA + 192, 3, VRING_DESC_F_WRITE, 0);
	memcpy(at(DATA, 4), "abcd", 4);
	memcpy(at(DATA + 64, 4), "efgh", 4);
	offer(0);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	cr_expect_eq(virtq_chain_read(&c, 2, buf, sizeof(buf)), 6u);
	cr_expect_str_eq(buf, "cdefgh");
	cr_expect_eq(virtq_chain_write(&c, 1, "vwxyz", 5), 5u);
	cr_expect_eq(memcmp(at(DATA + 129, 2), "vw", 2), 0);
	cr_expect_eq(memcmp(at(DATA + 192, 3), "xyz", 3), 0);
	cr_expect_eq(virtq_chain_write(&c, 6, "!", 1), 0u);
}

Test(virtq, push_marks_what_the_device_may_have_written)
{
	cr_assert_eq(guest_mem_log_start(&mem), 0);
	desc(0, DATA, 16, VRING_DESC_F_NEXT, 1);
	desc(1, 0x40000, 16, VRING_DESC_F_WRITE, 0);
	offer(0);
	cr_assert_eq(virtq_pop(&q, &c), 1);
	virtq_push(&q, &c, 1);
	virtq_publish(&q);
	uint64_t page = mem.page_size;
	uint64_t bits = mem.region[0].dirty[0x40000 / page / 64] >> (0x40000 / page % 64);
	cr_expect(bits & 1);
	bits = mem.region[0].dirty[USED / page / 64] >> (USED / page % 64);
	cr_expect(bits & 1);
	if (page == 4096) { /* what was only read stays clean */
		bits = mem.region[0].dirty[DATA / page / 64] >> (DATA / page % 64);
		cr_expect_not(bits & 1);
	}
}

/* What a hostile driver may try. */

Test(virtq, bad_areas_are_refused)
{
	struct virtq_setup s;

#define REFUSED(field, value, code)                                                                \
	s = setup(0);                                                                              \
	s.field = value;                                                                           \
	cr_expect_eq(virtq_init(&q, &mem, &s), code, #field " = " #value)
	REFUSED(size, 0, -EINVAL);
	REFUSED(size, 3, -EINVAL);
	REFUSED(size, 2048, -EINVAL);
	REFUSED(desc, DESC + 8, -EINVAL);
	REFUSED(avail, AVAIL + 1, -EINVAL);
	REFUSED(used, USED + 2, -EINVAL);
	REFUSED(desc, 0xfffffffffffffff0, -EFAULT);
	REFUSED(avail, 0xfffffffffffffffe, -EFAULT);
	REFUSED(used, 4 * MIB - 8, -EFAULT);
#undef REFUSED
}

Test(virtq, head_out_of_range)
{
	offer(SIZE);
	is_broken();
}

Test(virtq, index_jump)
{
	*avail_idx() = SIZE + 1;
	is_broken();
}

Test(virtq, next_out_of_range)
{
	desc(0, DATA, 16, VRING_DESC_F_NEXT, SIZE);
	offer(0);
	is_broken();
}

Test(virtq, loop)
{
	desc(0, DATA, 16, VRING_DESC_F_NEXT, 1);
	desc(1, DATA, 16, VRING_DESC_F_NEXT, 0);
	offer(0);
	is_broken();
}

Test(virtq, buffer_outside_memory)
{
	desc(0, 4 * MIB - 8, 16, 0, 0);
	offer(0);
	is_broken();
}

Test(virtq, buffer_wraps_the_address_space)
{
	desc(0, UINT64_MAX - 4, 16, 0, 0);
	offer(0);
	is_broken();
}

Test(virtq, empty_buffer)
{
	desc(0, DATA, 0, 0, 0);
	offer(0);
	is_broken();
}

Test(virtq, readable_after_writable)
{
	desc(0, DATA, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	desc(1, DATA, 16, 0, 0);
	offer(0);
	is_broken();
}

Test(virtq, indirect_not_negotiated)
{
	start(0);
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	is_broken();
}

Test(virtq, indirect_with_next)
{
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	offer(0);
	is_broken();
}

Test(virtq, indirect_in_indirect)
{
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	desc_in(TABLE, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	is_broken();
}

Test(virtq, indirect_table_of_odd_length)
{
	desc(0, TABLE, 24, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	is_broken();
}

Test(virtq, indirect_table_outside_memory)
{
	desc(0, 4 * MIB - 16, 32, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	is_broken();
}

Test(virtq, chain_of_65535)
{
	for (unsigned i = 0; i < 65535; i++)
		desc_in(TABLE, i, DATA, 1, i < 65534 ? VRING_DESC_F_NEXT : 0, i + 1);
	desc(0, TABLE, 65535 * 16, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	is_broken();
}

Test(virtq, total_length_overflows)
{
	/* 16 buffers of 256 MiB need no memory behind them in a sparse map, but ours has 4 MiB: use
	 * a region that claims more. */
	mem.region[0].size = 1ull << 30;
	for (unsigned i = 0; i < 16; i++)
		desc_in(TABLE, i, 0, 1u << 28, i < 15 ? VRING_DESC_F_NEXT : 0, i + 1);
	desc(0, TABLE, 16 * 16, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	is_broken();
	mem.region[0].size = 4 * MIB;
}
