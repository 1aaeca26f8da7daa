/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset: the machine starts again, and the disk keeps what was written before. The first boot
 * writes a mark into sector 16 and resets; the second finds it, takes it away, and passes. Without
 * a disk there is nothing to tell the two apart by.
 */
#include "case.h"
#include "driver.h"

#define SECTOR 512u
#define MARK   0x746f6f6264726968ull

static void run(void)
{
	static uint64_t sector[SECTOR / 8] __attribute__((aligned(512)));
	static struct vdev v[MAX_VDEVS];
	static struct drv d;
	const char *reason;

	if (!vdev_find(VIRTIO_BLK, v))
		case_skip("no disk to count boots with");
	CHECK(!drv_open(&d, &v[0], BLK_F_FLUSH, 8), "%s does not start", v[0].name);
	if (blk_check_writable(&d, &reason))
		case_skip("%s", reason);
	CHECK(blk_request(&d, BLK_IN, 16, sector, SECTOR) == BLK_S_OK, "no read");
	if (sector[0] == MARK) {
		sector[0] = 0;
		CHECK(blk_request(&d, BLK_OUT, 16, sector, SECTOR) == BLK_S_OK, "no write");
		note("this is the second boot\n");
		return;
	}
	sector[0] = MARK;
	CHECK(blk_request(&d, BLK_OUT, 16, sector, SECTOR) == BLK_S_OK, "no write");
	if (d.dev.features & BLK_F_FLUSH)
		CHECK(blk_request(&d, BLK_FLUSH, 0, NULL, 0) == BLK_S_OK, "no flush");
	note("this is the first boot\n");
	power_reset();
	case_fail("still running after the reset");
}

const struct guest_case this_case = {"reset", run, .no_irqs = true};
