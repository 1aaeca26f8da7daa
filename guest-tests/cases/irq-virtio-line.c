/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio devices that interrupt by line: virtio-mmio's, and INTx of PCI where the tables tell its
 * wiring. The status register says why, and reading or acknowledging it drops the line.
 */
#include "alarm.h"
#include "case.h"
#include "wait.h"

static void test(const struct vdev *dev)
{
	static struct alarm a;
	static struct drv d;

	CHECK(!drv_prepare(&d, dev, 0, 8), "%s does not start", dev->name);
	CHECK(!alarm_by_line(&a, &d), "%s: line %u has no controller", dev->name, dev->irq.num);
	vdev_driver_ok(&d.dev);
	for (unsigned i = 1; i <= 3; i++) {
		CHECK(!drv_ping(&d), "%s does not answer", dev->name);
		CHECK(WAIT_IRQ(READ_ONCE(a.count) == i, 10000),
			"%s: %u interrupts after %u requests", dev->name, a.count, i);
	}
	CHECK(a.isr == 1, "%s: interrupt status 0x%x, not 1", dev->name, a.isr);
	CHECK(!WAIT_IRQ(READ_ONCE(a.count) != 3, 3), "%s: the line stays up", dev->name);
	vdev_reset(&d.dev);
	irq_detach(&dev->irq);
	note("%s: line %u, %s\n", dev->name, dev->irq.num, dev->irq.level ? "level" : "edge");
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(0, v), tested = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!v[i].irq.present || !drv_knows(&v[i]))
			continue;
		test(&v[i]);
		tested++;
	}
	if (!tested)
		case_skip("no virtio device with a known interrupt line");
}

const struct guest_case this_case = {"irq-virtio-line", run, false};
