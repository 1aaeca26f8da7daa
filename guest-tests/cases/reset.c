/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset, with all CPUs running: the machine starts again, memory is as a program finds it at its
 * start, and the disk keeps what was written before. Each boot counts itself in sector 16: the
 * first resets by the firmware's way, the second by the other one where the chip has two, the last
 * takes the mark away and passes. Without a disk there is nothing to tell the boots apart by.
 */
#include "case.h"
#include "driver.h"

#define SECTOR	  512u
#define MARK	  0x746f6f6264726900ull
#define LAST_BOOT 3

static uint64_t sector[SECTOR / 8] __attribute__((aligned(512)));
static unsigned seen; /* in .bss: zero at each start */

static void count_boot(struct drv *d, uint64_t boot)
{
	sector[0] = boot == LAST_BOOT ? 0 : MARK + boot;
	CHECK(blk_request(d, BLK_OUT, 16, sector, SECTOR) == BLK_S_OK, "no write");
	if (d->dev.features & BLK_F_FLUSH)
		CHECK(blk_request(d, BLK_FLUSH, 0, NULL, 0) == BLK_S_OK, "no flush");
}

static void spin(void *arg)
{
	(void)arg;
	for (;;)
		cpu_relax();
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	static struct drv d;
	const char *reason;
	uint64_t boot = 1;

	CHECK(seen++ == 0, "memory was not cleared");
	if (!vdev_find(VIRTIO_BLK, v))
		case_skip("no disk to count boots with");
	CHECK(!drv_open(&d, &v[0], BLK_F_FLUSH, 8), "%s does not start", v[0].name);
	if (blk_check_writable(&d, &reason))
		case_skip("%s", reason);
	CHECK(blk_request(&d, BLK_IN, 16, sector, SECTOR) == BLK_S_OK, "no read");
	if (sector[0] > MARK && sector[0] < MARK + LAST_BOOT)
		boot = sector[0] - MARK + 1;
	note("boot %lu of %u, %u CPUs\n", boot, LAST_BOOT, machine.cpu_count);
	count_boot(&d, boot);
	if (boot == LAST_BOOT)
		return;
	for (unsigned i = 1; i < machine.cpu_count; i++)
		CHECK(!cpu_start(i, spin, NULL), "CPU %u did not start", i);
	CHECK(boot != 2 || !power_reset_otherwise(), "still running after the i8042's reset");
	power_reset();
	case_fail("still running after the reset");
}

const struct guest_case this_case = {"reset", run, false};
