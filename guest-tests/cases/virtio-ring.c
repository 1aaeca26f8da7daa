/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings, split and packed, with every device that is found: wrapping, indirect descriptors
 * (§2.7.5.3, §2.8.7), event index (§2.7.10, §2.8.10) and interrupt suppression. Whether the device
 * wanted to interrupt is seen in its status register, so no interrupt controller takes part.
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

static void wrap(const struct vdev *dev, uint64_t features, unsigned size, const char *what)
{
	struct drv d;

	CHECK(!drv_open(&d, dev, features, size), "%s does not start", dev->name);
	if (features & ~d.dev.features) {
		note("%s: %s not offered\n", dev->name, what);
		return;
	}
	for (unsigned i = 0; i < 18; i++)
		CHECK(!drv_ping(&d), "%s (%s): request %u has no answer", dev->name, what, i);
	vdev_reset(&d.dev);
}

static void suppression(const struct vdev *dev, uint64_t kind)
{
	struct drv d;

	CHECK(!drv_open(&d, dev, kind, 8), "%s does not start", dev->name);
	CHECK(interrupts(&d, true), "%s: no interrupt", dev->name);
	vq_want_interrupts(&d.q, false);
	CHECK(!interrupts(&d, false), "%s: an interrupt although the driver wants none", dev->name);
	vq_want_interrupts(&d.q, true);
	CHECK(interrupts(&d, true), "%s: no interrupt any more", dev->name);
	vdev_reset(&d.dev);
}

static void event_index(const struct vdev *dev, uint64_t kind)
{
	struct drv d;

	CHECK(!drv_open(&d, dev, kind | F_EVENT_IDX, 4), "%s does not start", dev->name);
	if (!(d.dev.features & F_EVENT_IDX))
		return;
	interrupts(&d, true); /* a device may send the first one unasked */
	for (unsigned lap = 0; lap < 3; lap++) {
		vq_interrupt_after(&d.q, 3);
		CHECK(!interrupts(&d, false) && !interrupts(&d, false),
			"%s: interrupt before the place asked for", dev->name);
		CHECK(interrupts(&d, true), "%s: no interrupt there", dev->name);
		CHECK(!interrupts(&d, false), "%s: interrupt after it", dev->name);
		CHECK(WAIT_POLL(vq_asks_for_next(&d.q), 10000),
			"%s: asks for no notification with %u requests done", dev->name,
			d.q.next_avail);
	}
	vdev_reset(&d.dev);
}

/* Event places are counted in slots there: indirect, so that a request is one. */
static void packed(const struct vdev *dev)
{
	wrap(dev, F_PACKED, 4, "packed");
	wrap(dev, F_PACKED, 5, "packed, of an odd size");
	wrap(dev, F_PACKED | F_INDIRECT, 4, "packed, indirect");
	wrap(dev, F_PACKED | F_EVENT_IDX, 7, "packed, event index");
	wrap(dev, F_PACKED | F_INDIRECT | F_EVENT_IDX, 3, "packed, indirect and event index");
	suppression(dev, F_PACKED);
	event_index(dev, F_PACKED | F_INDIRECT);
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(0, v), tested = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!drv_knows(&v[i]))
			continue;
		wrap(&v[i], 0, 4, "direct");
		wrap(&v[i], F_INDIRECT, 4, "indirect");
		wrap(&v[i], F_EVENT_IDX, 4, "event index");
		wrap(&v[i], F_INDIRECT | F_EVENT_IDX, 4, "indirect and event index");
		suppression(&v[i], 0);
		event_index(&v[i], 0);
		if (vdev_offered(&v[i]) & F_PACKED)
			packed(&v[i]);
		else
			note("%s: packed rings not offered\n", v[i].name);
		tested++;
	}
	if (!tested)
		case_skip("no virtio device");
	note("%u devices\n", tested);
}

const struct guest_case this_case = {"virtio-ring", run, .no_irqs = true};
