/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the disk once, where there is one, and resets; for ever. For tests of what a VMM keeps from
 * one boot to the next. Not a case of the manifest. */
#include "case.h"
#include "driver.h"

static void run(void)
{
	static uint64_t sector[512 / 8] __attribute__((aligned(512)));
	static struct vdev v[MAX_VDEVS];
	static struct drv d;

	if (vdev_find(VIRTIO_BLK, v)) {
		CHECK(!drv_open(&d, &v[0], 0, 8), "%s does not start", v[0].name);
		CHECK(blk_request(&d, BLK_IN, 0, sector, sizeof(sector)) == BLK_S_OK, "no read");
	}
	power_reset();
	case_fail("still running after the reset");
}

const struct guest_case this_case = {"reset-loop", run, false};
