/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-console (§5.3): port 0 takes text, and answers what the host may have typed. */
#include "case.h"
#include "driver.h"

static void test(const struct vdev *dev)
{
	static char text[64] = "virtio-console says hello\r\n";
	static char typed[64];
	struct vq_buf out = {text, (uint32_t)strlen(text), false};
	struct vq_buf in = {typed, sizeof(typed), true};
	struct vq rx;
	struct drv d;
	uint32_t length;

	CHECK(!drv_prepare(&d, dev, 0, 4), "%s does not start", dev->name);
	CHECK(!vq_open(&rx, &d.dev, 0, 4), "%s has no receive queue", dev->name);
	vdev_driver_ok(&d.dev);
	vq_add(&rx, &in, 1);
	vq_kick(&rx);
	for (unsigned i = 0; i < 6; i++)
		CHECK(vq_do(&d.q, &out, 1) == 0, "%s did not take the text", dev->name);
	if (vq_take(&rx, NULL, &length))
		CHECK(length <= sizeof(typed), "%s delivered %u bytes", dev->name, length);
	note("%s: %u bytes written 6 times\n", dev->name, out.length);
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(VIRTIO_CONSOLE, v);

	if (!n)
		case_skip("no virtio-console device");
	for (unsigned i = 0; i < n; i++)
		test(&v[i]);
}

const struct guest_case this_case = {"virtio-console", run, .no_irqs = true};
