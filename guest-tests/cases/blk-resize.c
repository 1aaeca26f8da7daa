/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waits until the first disk has another size than at the start, and reads its last sector
 * (§5.2.5): for tests that change a disk from outside. Not a case of the manifest.
 */
#include "case.h"
#include "driver.h"

static uint8_t sector[512] __attribute__((aligned(4096)));

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	uint64_t end = deadline_ms(30000), was, is;
	struct drv d;

	if (!vdev_find(VIRTIO_BLK, v))
		case_skip("no virtio-blk device");
	CHECK(!drv_open(&d, &v[0], 0, 16), "%s does not start", v[0].name);
	was = is = vdev_config64(&d.dev, 0);
	say("%s: %lu sectors\n", v[0].name, was);
	while (is == was) {
		CHECK(!deadline_passed(end), "still %lu sectors", was);
		cpu_relax();
		is = vdev_config64(&d.dev, 0);
	}
	say("%s: %lu sectors now\n", v[0].name, is);
	CHECK(blk_request(&d, BLK_IN, is - 1, sector, sizeof(sector)) == BLK_S_OK,
		"its last sector cannot be read");
	CHECK(blk_request(&d, BLK_IN, is, sector, sizeof(sector)) == BLK_S_IOERR,
		"a read behind it gave no IOERR");
}

const struct guest_case this_case = {"blk-resize", run, .no_irqs = true};
