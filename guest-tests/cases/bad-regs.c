/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Garbage in the registers of virtio devices: every offset of the common or MMIO block, the
 * notification area and the device's configuration, in every width, in every state; then queues
 * of impossible sizes, features nobody offered, notifications for queues that do not exist. After
 * a reset the device must work.
 */
#include "case.h"
#include "driver.h"
#include "io.h"

static uint32_t random_state = 0x2545f491;

static uint32_t garbage(void)
{
	static const uint32_t favourites[] = {0, 1, 0xffff, 0x8000, 0xffffffff, 0x7fffffff, 3};

	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	if (random_state & 0x100)
		return favourites[(random_state >> 9) % ARRAY_SIZE(favourites)];
	return random_state;
}

static void scribble(uint64_t at, unsigned length, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t a = at + garbage() % length;

		switch (garbage() >> 8 & 3) {
		case 0:
			mmio_write8(a, (uint8_t)garbage());
			break;
		case 1:
			mmio_write16(a & ~1ull, (uint16_t)garbage());
			break;
		case 2:
			mmio_write32(a & ~3ull, garbage());
			break;
		default:
			mmio_read32(a & ~3ull);
		}
	}
}

static void scribble_everywhere(const struct vdev *d, unsigned rounds)
{
	if (d->pci) {
		scribble(d->common, 0x40, rounds);
		scribble(d->notify, 0x40, rounds / 4);
		scribble(d->isr, 4, rounds / 8);
	} else {
		scribble(d->base, 0x100, rounds);
	}
	if (d->config)
		scribble(d->config, 0x40, rounds / 4);
}

static void must_work(const struct vdev *dev, const char *after)
{
	struct drv d;

	CHECK(!drv_open(&d, dev, 0, 8), "%s does not start after %s", dev->name, after);
	CHECK(!drv_ping(&d), "%s does not answer after %s", dev->name, after);
	vdev_reset(&d.dev);
}

static void features_not_offered(const struct vdev *dev)
{
	struct vdev d = *dev;
	uint64_t select = d.pci ? d.common + 8 : d.base + 0x24;
	uint64_t value = d.pci ? d.common + 12 : d.base + 0x20;

	CHECK(!vdev_reset(&d), "%s does not reset", dev->name);
	vdev_set_status(&d, STATUS_ACK | STATUS_DRIVER);
	for (uint32_t i = 0; i < 4; i++) {
		mmio_write32(select, i);
		mmio_write32(value, ~0u);
	}
	vdev_set_status(&d, STATUS_ACK | STATUS_DRIVER | STATUS_FEATURES_OK);
	/* §3.1.1: the device must not accept a subset that it does not support */
	CHECK(!(vdev_status(&d) & STATUS_FEATURES_OK), "%s accepts features it does not offer",
		dev->name);
	mmio_write32(select, ~0u);
	mmio_write32(value, ~0u);
}

static void impossible_queues(const struct vdev *dev)
{
	static const unsigned sizes[] = {0, 3, 0x8000, 0xffff, 7};
	struct vdev d = *dev;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		CHECK(!vdev_negotiate(&d, 0), "%s does not negotiate", dev->name);
		vdev_queue_enable(&d, 0, sizes[i], 0x1000, 0x2001, 0x3003);
		vdev_queue_enable(&d, 0x1234, 8, 0x1000, 0x2000, 0x3000);
		vdev_driver_ok(&d);
		vdev_notify(&d, 0);
		vdev_notify(&d, 0x1234);
	}
	CHECK(vdev_queue_max(&d, 0x1234) == 0, "%s has a queue 0x1234", dev->name);
}

static void test(const struct vdev *dev)
{
	struct drv d;

	vdev_set_status(dev, 0);
	scribble_everywhere(dev, 64);
	must_work(dev, "garbage before the start");
	CHECK(!drv_open(&d, dev, 0, 8), "%s does not start", dev->name);
	scribble_everywhere(&d.dev, 128);
	must_work(dev, "garbage while it ran");
	features_not_offered(dev);
	must_work(dev, "features nobody offered");
	impossible_queues(dev);
	must_work(dev, "impossible queues");
	/* driven without any negotiation */
	d.dev = *dev;
	vdev_reset(&d.dev);
	vdev_set_status(&d.dev, STATUS_DRIVER_OK);
	vdev_notify(&d.dev, 0);
	vdev_set_status(&d.dev, 0xff);
	vdev_notify(&d.dev, 0);
	must_work(dev, "a start without negotiation");
	note("%s survived\n", dev->name);
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(0, v), tested = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!drv_knows(&v[i]))
			continue;
		test(&v[i]);
		tested++;
	}
	if (!tested)
		case_skip("no virtio device");
}

const struct guest_case this_case = {"bad-regs", run, .no_irqs = true};
