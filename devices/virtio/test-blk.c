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
