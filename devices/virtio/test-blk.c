/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "devices/backend/block.h"
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

#define DISK_BYTES (1 * MIB)

struct disk {
	struct guest_rig rig;
	struct guest_driver *g;
	char path[64];
	struct block *block;
	uint64_t hdr, status, data;
};

TestSuite(blk, .timeout = 60);

static void disk_start(struct disk *d, bool readonly, uint64_t features)
{
	struct block_opts o = {
		.path = d->path, .fd = -1, .readonly = readonly, .flag = "--disk", .id = "_disk0"};
	struct virtio_blk_opts v = {.serial = "serial-number-20byte"};
	struct virtio_dev *dev;
	struct err e = {0};
	int fd;

	*d = (struct disk){.path = "/tmp/polyvisor-blk-XXXXXX"};
	fd = mkstemp(d->path);
	cr_assert(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	close(fd);
	guest_rig_init(&d->rig, 8 * MIB);
	cr_assert_eq(block_open(&o, &d->block, &e), 0, "%s", e.text);
	cr_assert_eq(virtio_blk_new(&d->rig.f.host, "_disk0", d->block, &v, &dev), 0);
	guest_rig_attach(&d->rig, &guest_pci_msix, dev);
	d->g = &d->rig.g;
	cr_assert_eq(guest_negotiate(d->g, features) & 8, 8);
	guest_queue_init(d->g, 0, GUEST_RING);
	guest_driver_ok(d->g);
	d->hdr = guest_alloc(d->g, 64, 16);
	d->status = guest_alloc(d->g, 1, 1);
	d->data = guest_alloc(d->g, 64 * KIB, 4096);
}

static void disk_stop(struct disk *d)
{
	guest_rig_fini(&d->rig);
	block_free(d->block);
	unlink(d->path);
}

/* Adds a request; `len` bytes of data after the header (out) or before the status. */
static void add(struct disk *d, uint32_t type, uint64_t sector, uint64_t gpa, uint32_t len, bool in)
{
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};
	struct guest_buf b[3] = {{d->hdr, sizeof(h), false}, {gpa, len, in}, {d->status, 1, true}};

	if (!len)
		b[1] = b[2];
	memcpy(guest_ptr(d->g, d->hdr, sizeof(h)), &h, sizeof(h));
	*(uint8_t *)guest_ptr(d->g, d->status, 1) = 0xff;
	guest_add(d->g, 0, b, len ? 3 : 2);
}

static int do_request(struct disk *d, uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	add(d, type, sector, d->data, len, in);
	d->g->t->kick(d->g, 0);
	cr_assert(guest_wait_used(d->g, 0, NULL, NULL));
	return *(uint8_t *)guest_ptr(d->g, d->status, 1);
}

static uint8_t *data(struct disk *d)
{
	return guest_ptr(d->g, d->data, 64 * KIB);
}

Test(blk, writes_and_reads_back)
{
	struct disk d;

	disk_start(&d, false, UINT64_MAX);
	memset(data(&d), 0x5a, 4096);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_OUT, 8, 4096, false), VIRTIO_BLK_S_OK);
	memset(data(&d), 0, 4096);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_IN, 8, 4096, true), VIRTIO_BLK_S_OK);
	cr_expect_eq(data(&d)[0], 0x5a);
	cr_expect_eq(data(&d)[4095], 0x5a);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	disk_stop(&d);
}

Test(blk, config_space)
{
	struct disk d;
	const struct guest_transport *t = &guest_pci_msix;

	disk_start(&d, false, UINT64_MAX);
	cr_expect_eq(t->config(d.g, 0, 4), DISK_BYTES / 512);
	cr_expect_eq(t->config(d.g, offsetof(struct virtio_blk_config, seg_max), 4), 254u);
	cr_expect_eq(t->config(d.g, offsetof(struct virtio_blk_config, blk_size), 4), 512u);
	cr_expect_eq(t->config(d.g, sizeof(struct virtio_blk_config), 4), 0u, "outside");
	disk_stop(&d);
}

Test(blk, serial_number_has_no_terminator)
{
	struct disk d;

	disk_start(&d, false, UINT64_MAX);
	memset(data(&d), 0xee, 32);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	cr_expect_eq(memcmp(data(&d), "serial-number-20byte\xee", 21), 0);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_GET_ID, 0, 4, true), VIRTIO_BLK_S_OK);
	disk_stop(&d);
}

Test(blk, refusals)
{
	struct disk d;
	uint64_t end = DISK_BYTES / 512;

	disk_start(&d, false, UINT64_MAX);
	cr_expect_eq(do_request(&d, 77, 0, 512, true), VIRTIO_BLK_S_UNSUPP);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_IN, end, 512, true), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_IN, end - 1, 1024, true), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_IN, end - 1, 512, true), VIRTIO_BLK_S_OK);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_IN, 0, 100, true), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_OUT, end, 512, false), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_OUT, UINT64_MAX, 512, false), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(
		do_request(&d, VIRTIO_BLK_T_OUT, UINT64_MAX / 512, 512, false), VIRTIO_BLK_S_IOERR);
	disk_stop(&d);
}

Test(blk, readonly)
{
	struct disk d;

	disk_start(&d, true, UINT64_MAX);
	cr_expect(d.g->negotiated & 1ull << VIRTIO_BLK_F_RO);
	cr_expect_not(d.g->negotiated & 1ull << VIRTIO_BLK_F_DISCARD);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	disk_stop(&d);
}

static int do_range(struct disk *d, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes r = {sector, n, flags};

	memcpy(data(d), &r, sizeof(r));
	return do_request(d, type, 0, sizeof(r), false);
}

Test(blk, discard_and_write_zeroes)
{
	struct disk d;
	uint8_t *p;

	disk_start(&d, false, UINT64_MAX);
	p = data(&d);
	for (int round = 0; round < 3; round++) {
		memset(p, 0x77, 64 * KIB);
		cr_assert_eq(do_request(&d, VIRTIO_BLK_T_OUT, 0, 64 * KIB, false), 0);
		if (round < 2)
			cr_expect_eq(do_range(&d, VIRTIO_BLK_T_WRITE_ZEROES, 8, 16, round), 0);
		else
			cr_expect_eq(do_range(&d, VIRTIO_BLK_T_DISCARD, 8, 16, 0), 0);
		cr_assert_eq(do_request(&d, VIRTIO_BLK_T_IN, 0, 64 * KIB, true), 0);
		cr_expect_eq(p[8 * 512 - 1], 0x77);
		cr_expect_eq(p[8 * 512], 0);
		cr_expect_eq(p[24 * 512 - 1], 0);
		cr_expect_eq(p[24 * 512], 0x77);
	}
	cr_expect_eq(do_range(&d, VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	cr_expect_eq(do_range(&d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	cr_expect_eq(do_range(&d, VIRTIO_BLK_T_DISCARD, 2040, 9, 0), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(do_range(&d, VIRTIO_BLK_T_DISCARD, UINT64_MAX, 8, 0), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(do_range(&d, VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	disk_stop(&d);
}

/* §2.7.4.1: no assumption about how a message is split over buffers. */
Test(blk, odd_framing)
{
	struct disk d;
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_OUT, .sector = 4};
	uint8_t *p;
	uint32_t len;

	disk_start(&d, false, UINT64_MAX);
	p = data(&d);
	memcpy(p, &h, 16);
	memset(p + 16, 0x3c, 512);
	struct guest_buf w[] = {{d.data, 7, false}, {d.data + 7, 100, false},
		{d.data + 107, 421, false}, {d.status, 1, true}};
	guest_add(d.g, 0, w, 4);
	d.g->t->kick(d.g, 0);
	cr_assert(guest_wait_used(d.g, 0, NULL, &len));
	cr_expect_eq(len, 1u);
	cr_expect_eq(*(uint8_t *)guest_ptr(d.g, d.status, 1), 0);

	/* reads with the status in the data's buffer, indirect */
	h.type = VIRTIO_BLK_T_IN;
	memcpy(p, &h, 16);
	p[4096 + 512] = 0xff;
	struct guest_buf r[] = {{d.data, 16, false}, {d.data + 4096, 513, true}};
	guest_add_indirect(d.g, 0, r, 2);
	d.g->t->kick(d.g, 0);
	cr_assert(guest_wait_used(d.g, 0, NULL, &len));
	cr_expect_eq(len, 513u);
	cr_expect_eq(p[4096], 0x3c);
	cr_expect_eq(p[4096 + 511], 0x3c);
	cr_expect_eq(p[4096 + 512], 0);
	disk_stop(&d);
}

Test(blk, chains_that_say_nothing)
{
	struct disk d;
	uint32_t len;

	disk_start(&d, false, UINT64_MAX);
	struct guest_buf no_status = {d.data, 16, false}, no_header = {d.status, 1, true};
	guest_add(d.g, 0, &no_status, 1);
	guest_add(d.g, 0, &no_header, 1);
	d.g->t->kick(d.g, 0);
	cr_assert(guest_wait_used(d.g, 0, NULL, &len));
	cr_expect_eq(len, 0u);
	cr_assert(guest_wait_used(d.g, 0, NULL, &len));
	cr_expect_eq(*(uint8_t *)guest_ptr(d.g, d.status, 1), VIRTIO_BLK_S_IOERR);
	disk_stop(&d);
}

/* Without FLUSH negotiated a write is durable when it is answered. */
Test(blk, write_through)
{
	struct disk d;

	disk_start(&d, false, ~(1ull << VIRTIO_BLK_F_FLUSH));
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_OK);
	cr_expect_eq(do_range(&d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_OK);
	disk_stop(&d);
}

Test(blk, many_rounds_of_a_full_ring)
{
	struct disk d;
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN};

	disk_start(&d, false, UINT64_MAX);
	memcpy(guest_ptr(d.g, d.hdr, 16), &h, 16);
	struct guest_buf b[] = {{d.hdr, 16, false}, {d.data, 4096, true}, {d.status, 1, true}};
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 20; i++)
			guest_add(d.g, 0, b, 3);
		d.g->t->kick(d.g, 0);
		for (int i = 0; i < 20; i++)
			cr_assert(guest_wait_used(d.g, 0, NULL, NULL));
	}
	disk_stop(&d);
}

/* The same buffers made available more often than there are requests. */
Test(blk, more_in_flight_than_the_ring_holds)
{
	struct disk d;
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_FLUSH};
	struct guest_buf b[2];
	uint16_t head;

	disk_start(&d, false, UINT64_MAX);
	memcpy(guest_ptr(d.g, d.hdr, 16), &h, 16);
	b[0] = (struct guest_buf){d.hdr, 16, false};
	b[1] = (struct guest_buf){d.status, 1, true};
	head = guest_add(d.g, 0, b, 2);
	for (int i = 0; i < 400; i++) {
		if (d.g->q[0].packed) /* an id that is in flight breaks the ring */
			guest_add_indirect(d.g, 0, b, 2);
		else
			guest_make_avail(d.g, 0, head);
		if (i % 16 == 0)
			d.g->t->kick(d.g, 0);
		if (i >= 32)
			cr_assert(guest_wait_used(d.g, 0, NULL, NULL));
	}
	disk_stop(&d);
}

Test(blk, reset_while_requests_run_then_again)
{
	struct disk d;

	disk_start(&d, false, UINT64_MAX);
	for (int i = 0; i < 20; i++) {
		add(&d, VIRTIO_BLK_T_IN, 0, d.data, 4096, true);
		d.g->t->kick(d.g, 0);
		cr_assert(guest_reset(d.g));
		cr_assert_eq(guest_negotiate(d.g, UINT64_MAX) & 8, 8);
		guest_queue_init(d.g, 0, GUEST_RING);
		guest_driver_ok(d.g);
	}
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	disk_stop(&d);
}

Test(blk, broken_ring_asks_for_reset)
{
	struct disk d;

	disk_start(&d, false, UINT64_MAX);
	guest_break_ring(d.g, 0);
	d.g->t->kick(d.g, 0);
	cr_expect(guest_wait_status(d.g, 64));
	cr_expect(guest_reset(d.g));
	disk_stop(&d);
}

Test(blk, interrupts)
{
	struct disk d;

	disk_start(&d, false, UINT64_MAX & ~VIRTIO_BIT_EVENT_IDX);
	cr_expect_eq(do_request(&d, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	cr_expect(guest_wait_interrupt(d.g, 0));
	disk_stop(&d);
}

static uint64_t counter(struct disk *d, const char *name)
{
	return guest_rig_counter(&d->rig, name);
}

Test(blk, counts)
{
	struct disk d;
	char buf[64];

	disk_start(&d, false, UINT64_MAX);
	cr_expect_eq(counter(&d, "read_ops"), 0u);
	cr_expect_eq(counter(&d, "read_latency_avg"), 0u);
	do_request(&d, VIRTIO_BLK_T_OUT, 8, 4096, false);
	do_request(&d, VIRTIO_BLK_T_IN, 8, 512, true);
	do_request(&d, VIRTIO_BLK_T_IN, 8, 1024, true);
	do_request(&d, VIRTIO_BLK_T_FLUSH, 0, 0, false);
	do_request(&d, VIRTIO_BLK_T_GET_ID, 0, 20, true);
	cr_expect_eq(counter(&d, "errors"), 0u);
	do_request(&d, VIRTIO_BLK_T_IN, 1 << 20, 512, true);
	do_request(&d, 99, 0, 512, true);
	cr_expect_eq(counter(&d, "read_bytes"), 1536u);
	cr_expect_eq(counter(&d, "read_ops"), 2u);
	cr_expect_eq(counter(&d, "write_bytes"), 4096u);
	cr_expect_eq(counter(&d, "write_ops"), 1u);
	cr_expect_eq(counter(&d, "flush_ops"), 1u);
	cr_expect_eq(counter(&d, "errors"), 2u);
	cr_expect_leq(counter(&d, "read_latency_min"), counter(&d, "read_latency_avg"));
	cr_expect_leq(counter(&d, "read_latency_avg"), counter(&d, "read_latency_max"));
	cr_expect_eq(counter(&d, "write_latency_min"), counter(&d, "write_latency_max"));
	cr_expect_eq(counter(&d, "kick_exits"), 0u, "doorbells");
	cr_expect_str_eq(guest_rig_achieved(&d.rig, "driver", buf), "yes");
	cr_expect_str_eq(guest_rig_achieved(&d.rig, "queue_size", buf), "64");
	cr_expect_str_eq(guest_rig_achieved(&d.rig, "event_idx", buf), "on");
	cr_expect_str_eq(guest_rig_achieved(&d.rig, "direct", buf), "off");
	guest_rig_achieved(&d.rig, "engine", buf);
	cr_expect(!strcmp(buf, "io_uring") || !strcmp(buf, "preadv"), "%s", buf);
	guest_reset(d.g);
	cr_expect_str_eq(guest_rig_achieved(&d.rig, "driver", buf), "none yet");
	cr_expect_str_eq(guest_rig_achieved(&d.rig, "queue_size", buf), "none yet");
	cr_expect_str_eq(guest_rig_achieved(&d.rig, "event_idx", buf), "none yet");
	cr_expect_eq(counter(&d, "read_ops"), 2u, "since boot");
	disk_stop(&d);
}

/* Fewer places than there are values. */
Test(blk, counts_as_many_as_fit)
{
	struct dev_achieved a[3];
	struct dev_counter c[2];
	struct disk d;

	disk_start(&d, false, UINT64_MAX);
	for (unsigned max = 0; max <= 2; max++)
		cr_expect_eq(d.rig.device->ops->counters(d.rig.device, c, max), max);
	for (unsigned max = 0; max <= 3; max++)
		cr_expect_eq(d.rig.device->ops->achieved(d.rig.device, a, max), max);
	disk_stop(&d);
}
