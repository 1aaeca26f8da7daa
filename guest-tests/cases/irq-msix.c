/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X: a completed request interrupts; a masked vector stays pending and fires when it is
 * unmasked; with the vector taken away nothing comes.
 */
#include "alarm.h"
#include "case.h"
#include "wait.h"

static void test(const struct vdev *dev)
{
	static struct alarm a;
	static struct drv d;

	CHECK(!drv_prepare(&d, dev, 0, 8), "%s does not start", dev->name);
	CHECK(!alarm_by_message(&a, &d), "%s takes no MSI-X vector", dev->name);
	vdev_driver_ok(&d.dev);
	for (unsigned i = 1; i <= 3; i++) {
		CHECK(!drv_ping(&d), "%s does not answer", dev->name);
		CHECK(WAIT_IRQ(READ_ONCE(a.count) == i, 10000),
			"%s: %u interrupts after %u requests", dev->name, a.count, i);
	}

	msix_mask(dev->fn, 0, true);
	CHECK(!drv_ping(&d), "%s does not answer while masked", dev->name);
	CHECK(!WAIT_IRQ(READ_ONCE(a.count) != 3, 5), "%s: a masked vector interrupted", dev->name);
	CHECK(WAIT_POLL(msix_pending(dev->fn, 0), 10000), "%s: a masked vector is not pending",
		dev->name);
	msix_mask(dev->fn, 0, false);
	CHECK(WAIT_IRQ(READ_ONCE(a.count) == 4, 10000), "%s: nothing after unmasking", dev->name);
	CHECK(!msix_pending(dev->fn, 0), "%s: still pending after delivery", dev->name);

	drv_ping_add(&d);
	vq_kick(&d.q);
	cpu_wait(); /* asleep until the message wakes it */
	CHECK(WAIT_IRQ(READ_ONCE(a.count) == 5, 10000), "%s: did not wake the CPU", dev->name);
	vdev_reset(&d.dev);
	msix_enable(dev->fn, false);
	note("%s: %u vectors, %u interrupts\n", dev->name, msix_size(dev->fn), a.count);
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(0, v), tested = 0;

	if (!msi_available())
		case_skip("the interrupt controller takes no messages");
	for (unsigned i = 0; i < n; i++) {
		if (!v[i].pci || !msix_size(v[i].fn) || !drv_knows(&v[i]))
			continue;
		test(&v[i]);
		tested++;
	}
	if (!tested)
		case_skip("no virtio-pci device with MSI-X");
}

const struct guest_case this_case = {"irq-msix", run, false};
