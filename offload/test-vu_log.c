/* SPDX-License-Identifier: Apache-2.0 */
/* The dirty log: each page that the device wrote is in it, whatever the ring, and those that it did
 * not are not; switched while rings run. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "offload/test_front.h"
#include "vmm/base/num.h"

#define SPLIT (~(VIRTIO_BIT_RING_PACKED | VIRTIO_BIT_EVENT_IDX | VU_F_LOG_ALL))
#define PAGES (FRONT_RAM / 4096)
/* Each has a page of its own; what is below is the driver's rings. */
#define HEADER 0x20000
#define STATUS 0x21000

static struct front t;
static uint8_t *bits; /* the log, as the front-end sees it */

static void disk(void)
{
	front_init(&t, false);
}

static void bye(void)
{
	front_fini(&t);
	if (bits)
		munmap(bits, 4096);
	bits = NULL;
}

TestSuite(vu_log, .init = disk, .fini = bye, .timeout = 60);

/* Hands over `size` bytes of a log at `offset` of a page. False: refused, the connection is over.
 */
static bool give_log(uint64_t size, uint64_t offset)
{
	struct vu_log l = {size, offset};
	int fd = front_memfd(4096, true);
	struct vu_msg m;

	if (bits)
		munmap(bits, 4096);
	bits = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq((void *)bits, MAP_FAILED);
	front_send(&t, VU_SET_LOG_BASE, 0, &l, sizeof(l), &fd, 1);
	close(fd);
	return front_receive(&t, &m) && m.request == VU_SET_LOG_BASE;
}

static bool logged(unsigned page)
{
	return __atomic_load_n(&bits[page / 8], __ATOMIC_RELAXED) >> page % 8 & 1;
}

/* The ring's own writes are marked after the driver can see them. */
static bool becomes_logged(unsigned page)
{
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;

	while (!logged(page) && ev_now_ns() < end)
		guest_sleep_little();
	return logged(page);
}

static unsigned logged_pages(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PAGES; i++)
		n += logged(i);
	return n;
}

static void log_all(bool on)
{
	uint64_t f = t.g.negotiated & ~VU_F_LOG_ALL;

	cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES, on ? f | VU_F_LOG_ALL : f), 0u);
}

static void read_into(uint64_t data, uint32_t len, bool indirect)
{
	struct guest_driver *g = &t.g;
	uint64_t hdr = HEADER, status = STATUS;
	struct guest_buf b[] = {{hdr, 16, false}, {data, len, true}, {status, 1, true}};

	memset(guest_ptr(g, hdr, 16), 0, 16); /* VIRTIO_BLK_T_IN of sector 0 */
	memset(guest_ptr(g, data, len), 0x11, len);
	*(uint8_t *)guest_ptr(g, status, 1) = 0xff;
	if (indirect)
		guest_add_indirect(g, 0, b, 3);
	else
		guest_add(g, 0, b, 3);
	g->t->kick(g, 0);
	cr_assert(guest_wait_used(g, 0, NULL, NULL));
	cr_expect_eq(*(uint8_t *)guest_ptr(g, status, 1), 0);
}

/* Each page whose bytes changed while `n` reads were served is in the log. */
static void all_that_changed(bool indirect)
{
	static uint8_t before[FRONT_RAM];
	uint8_t *ram = guest_ptr(&t.g, 0, FRONT_RAM);

	for (unsigned i = 0; i < 20; i++) {
		uint64_t data = 0x40000 + i * 0x3000;
		unsigned changed = 0;

		memset(bits, 0, PAGES / 8);
		memset(ram + data, 0x11, 512 * 9);
		ram[STATUS] = 0xff;
		memcpy(before, ram, FRONT_RAM);
		read_into(data, 512 * 9, indirect);
		/* what the driver wrote is not to be found there, but for pages that both write */
		for (unsigned p = 0; p < PAGES; p++) {
			bool differs = memcmp(ram + p * 4096, before + p * 4096, 4096);
			bool drivers = p <= HEADER / 4096;

			if (differs && !drivers) {
				cr_expect(logged(p), "page %#x was written", p);
				changed++;
			}
		}
		cr_expect_eq(changed, 3u);
		cr_expect_leq(logged_pages(), 6u, "the data's two, the status', the ring's");
		cr_expect_not(logged(HEADER / 4096), "what the device read only");
	}
}

static void start(uint64_t features)
{
	front_start(&t, features & ~VU_F_LOG_ALL);
	cr_assert(t.agreed & VU_PF(LOG_SHMFD));
	cr_expect(give_log(PAGES / 8, 0));
	log_all(true);
}

Test(vu_log, split)
{
	start(SPLIT);
	all_that_changed(false);
	cr_expect(becomes_logged(t.g.q[0].used / 4096), "the used ring");
}

Test(vu_log, indirect)
{
	start(SPLIT);
	all_that_changed(true);
}

Test(vu_log, packed)
{
	start(~VIRTIO_BIT_EVENT_IDX);
	cr_assert(t.g.q[0].packed);
	all_that_changed(false);
	cr_expect(becomes_logged(t.g.q[0].desc / 4096), "the ring");
	all_that_changed(true);
}

/* VHOST_VRING_F_LOG with an address of its own, here past all memory, is marked there as well. */
Test(vu_log, used_ring_elsewhere)
{
	struct guest_queue *q = &t.g.q[0];
	struct vu_vring_addr a;

	start(SPLIT);
	a = (struct vu_vring_addr){0, VU_VRING_LOG, FRONT_UVA + q->desc, FRONT_UVA + q->used,
		FRONT_UVA + q->avail, q->used};
	cr_expect_eq(front_ask(&t, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0u);
	read_into(0x40000, 512, false);
	cr_expect(becomes_logged(q->used / 4096));
	a.log = 4096 * (PAGES - 1);
	cr_expect_eq(front_ask(&t, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0u);
	read_into(0x40000, 512, false);
	cr_expect(becomes_logged(PAGES - 1));
	a.log = UINT64_MAX - 16; /* wraps, and lies outside */
	cr_expect_eq(front_ask(&t, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0u);
	read_into(0x40000, 512, false);
	a.flags = 0;
	cr_expect_eq(front_ask(&t, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0u);
	read_into(0x40000, 512, false);
	a.flags = 2;
	cr_expect_eq(front_ask(&t, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1u);
}

Test(vu_log, switched_while_running)
{
	start(SPLIT);
	for (int i = 0; i < 10; i++) {
		memset(bits, 0, PAGES / 8);
		log_all(i & 1);
		read_into(0x40000, 512, false);
		front_get_u64(&t, VU_GET_FEATURES);
		cr_expect_eq(logged(0x40), i & 1);
	}
	/* another log under a running ring */
	cr_expect(give_log(PAGES / 8, 1024));
	read_into(0x50000, 512, false);
	cr_expect_eq(bits[1024 + 0x50 / 8] >> 0x50 % 8 & 1, 1);
	cr_expect_not(logged(0x50));
	cr_expect_eq(front_ask_u64(&t, VU_SET_FEATURES, VIRTIO_BIT_VERSION_1), 1u,
		"only that bit may change");
	cr_expect_eq(front_ask(&t, VU_RESET_DEVICE, NULL, 0, NULL, 0), 0u);
}

/* One that is shorter than the memory is not written past its end. */
Test(vu_log, short_log)
{
	start(SPLIT);
	cr_expect(give_log(0x40 / 8 + 1, 4096 - 0x40 / 8 - 1));
	read_into(0x40000, 512, false);
	read_into(FRONT_RAM - 0x1000, 512, false);
	cr_expect_eq(bits[4095] & 1, 1);
}

Test(vu_log, refused)
{
	static const struct vu_log bad[] = {{0, 0}, {4097, 0}, {1, 4096}, {4096, 1},
		{UINT64_MAX, 0}, {1, UINT64_MAX}, {UINT64_MAX - 4095, 4096}, {1ull << 40, 0}};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		front_greet(&t, SPLIT);
		cr_expect_not(give_log(bad[i].size, bad[i].offset), "%u", i);
		front_hang_up(&t);
	}
	front_greet(&t, SPLIT);
	cr_expect(give_log(64, 0));
	cr_expect_eq(front_ask(&t, VU_SET_LOG_FD, NULL, 0, &t.memfd, 1), 0u);
}
