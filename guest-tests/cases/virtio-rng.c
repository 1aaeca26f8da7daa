/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-rng (§5.4): fills buffers, and not twice with the same. */
#include "case.h"
#include "driver.h"

static void test(const struct vdev *dev)
{
	static uint64_t a[8], b[8];
	struct drv d;
	int64_t n;

	CHECK(!drv_open(&d, dev, 0, 4), "%s does not start", dev->name);
	for (unsigned round = 0; round < 6; round++) { /* past the end of the ring */
		memset(b, 0, sizeof(b));
		n = vq_do(&d.q, (struct vq_buf[]){{b, sizeof(b), true}}, 1);
		CHECK(n > 0 && n <= (int64_t)sizeof(b), "%s wrote %ld bytes", dev->name, n);
		CHECK(b[0] || n < 8, "%s wrote zeroes", dev->name);
		CHECK(memcmp(a, b, (size_t)n), "%s repeats itself", dev->name);
		memcpy(a, b, sizeof(a));
	}
	/* two buffers in one chain */
	n = vq_do(&d.q, (struct vq_buf[]){{a, 8, true}, {b, 8, true}}, 2);
	CHECK(n > 0 && n <= 16, "%s wrote %ld bytes into a chain", dev->name, n);
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(VIRTIO_RNG, v);

	if (!n)
		case_skip("no virtio-rng device");
	for (unsigned i = 0; i < n; i++)
		test(&v[i]);
}

const struct guest_case this_case = {"virtio-rng", run, .no_irqs = true};
