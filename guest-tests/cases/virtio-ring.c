/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split rings with every device that is found: wrapping, indirect descriptors (§2.7.5.3), event
 * index (§2.7.10) and interrupt suppression. Whether the device wanted to interrupt is seen in
 * its status register, so no interrupt controller takes part.
 */
#include "case.h"
#include "driver.h"
#include "wait.h"

/* Waits for the interrupt that should come; a while for the one that should not. */
static bool interrupts(struct drv *d, bool should)
{
	CHECK(!drv_ping(d), "%s does not answer", d->dev.name);
	/* the element is published before the status bit is set */
	return WAIT_POLL(vdev_isr(&d->dev) & 1, should ? 10000 : 20);
}

static void wrap(const struct vdev *dev, uint64_t features, const char *what)
{
	struct drv d;

	CHECK(!drv_open(&d, dev, features, 4), "%s does not start", dev->name);
	if (features & ~d.dev.features) {
		note("%s: %s not offered\n", dev->name, what);
		return;
	}
	for (unsigned i = 0; i < 18; i++)
		CHECK(!drv_ping(&d), "%s (%s): request %u has no answer", dev->name, what, i);
	vdev_reset(&d.dev);
}

static void suppression(const struct vdev *dev)
{
	struct drv d;

	CHECK(!drv_open(&d, dev, 0, 8), "%s does not start", dev->name);
	CHECK(interrupts(&d, true), "%s: no interrupt", dev->name);
	WRITE_ONCE(d.q.avail->flags, AVAIL_NO_INTERRUPT);
	CHECK(!interrupts(&d, false), "%s: an interrupt although the driver wants none", dev->name);
	WRITE_ONCE(d.q.avail->flags, 0);
	CHECK(interrupts(&d, true), "%s: no interrupt any more", dev->name);
	vdev_reset(&d.dev);
}

static void event_index(const struct vdev *dev)
{
	struct drv d;

	CHECK(!drv_open(&d, dev, F_EVENT_IDX, 8), "%s does not start", dev->name);
	if (!(d.dev.features & F_EVENT_IDX))
		return;
	interrupts(&d, true);	  /* a device may send the first one unasked */
	*vq_used_event(&d.q) = 3; /* after the fourth */
	CHECK(!interrupts(&d, false) && !interrupts(&d, false), "%s: interrupt before used_event",
		dev->name);
	CHECK(interrupts(&d, true), "%s: no interrupt at used_event", dev->name);
	CHECK(!interrupts(&d, false), "%s: interrupt after used_event", dev->name);
	CHECK(WAIT_POLL(*vq_avail_event(&d.q) == d.q.next_avail, 10000),
		"%s: avail_event is %u with %u requests done", dev->name, *vq_avail_event(&d.q),
		d.q.next_avail);
	vdev_reset(&d.dev);
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(0, v), tested = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!drv_knows(&v[i]))
			continue;
		wrap(&v[i], 0, "direct");
		wrap(&v[i], F_INDIRECT, "indirect");
		wrap(&v[i], F_EVENT_IDX, "event index");
		wrap(&v[i], F_INDIRECT | F_EVENT_IDX, "indirect and event index");
		suppression(&v[i]);
		event_index(&v[i]);
		tested++;
	}
	if (!tested)
		case_skip("no virtio device");
	note("%u devices\n", tested);
}

const struct guest_case this_case = {"virtio-ring", run, .no_irqs = true};
