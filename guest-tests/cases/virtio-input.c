/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-input (§5.8), which is the power button of machines without ACPI: what it says of itself,
 * one key, and no event before somebody presses it.
 */
#include "case.h"
#include "driver.h"

enum { ID_NAME = 1, ID_DEVIDS = 3, PROP_BITS = 0x10, EV_BITS = 0x11 };
enum { EV_KEY = 1, EV_REL = 2, KEY_POWER = 116 };
enum { SELECT = 0, SUBSEL = 1, SIZE = 2, DATA = 8 };

static unsigned choose(const struct vdev *d, uint8_t select, uint8_t subsel)
{
	vdev_set_config8(d, SELECT, select);
	vdev_set_config8(d, SUBSEL, subsel);
	return vdev_config(d, SIZE, 1);
}

static bool has_key(const struct vdev *d, unsigned key)
{
	return vdev_config(d, DATA + key / 8, 1) >> key % 8 & 1;
}

static void says_what_it_is(const struct vdev *d)
{
	static char name[129];
	unsigned n = choose(d, ID_NAME, 0);

	CHECK(n > 0 && n < sizeof(name), "%s has a name of %u bytes", d->name, n);
	for (unsigned i = 0; i < n; i++)
		name[i] = (char)vdev_config(d, DATA + i, 1);
	note("%s is called \"%s\"\n", d->name, name);
	CHECK(choose(d, ID_DEVIDS, 0) == 8, "%s has no ids", d->name);
	CHECK(choose(d, ID_NAME, 1) == 0, "%s has a second name", d->name);
}

static void has_one_key(const struct vdev *d)
{
	unsigned n = choose(d, EV_BITS, EV_KEY), keys = 0;

	CHECK(n > KEY_POWER / 8 && n <= 128, "%s has a key bitmap of %u bytes", d->name, n);
	for (unsigned key = 0; key < 8 * n; key++)
		keys += has_key(d, key);
	CHECK(has_key(d, KEY_POWER) && keys == 1, "%s has %u keys", d->name, keys);
	CHECK(choose(d, EV_BITS, EV_REL) == 0, "%s is a mouse, too", d->name);
	CHECK(choose(d, PROP_BITS, 0) == 0, "%s has properties", d->name);
	CHECK(choose(d, 0, 0) == 0 && choose(d, 0xff, 0xff) == 0, "%s has more", d->name);
}

static void is_quiet(const struct vdev *dev)
{
	static uint8_t event[8];
	uint32_t length;
	struct vq events;
	struct drv d;

	CHECK(!drv_prepare(&d, dev, 0, 8), "%s does not start", dev->name);
	CHECK(!vq_open(&events, &d.dev, 0, 8), "%s has no event queue", dev->name);
	vdev_driver_ok(&d.dev);
	vq_add(&events, (struct vq_buf[]){{event, sizeof(event), true}}, 1);
	vq_kick(&events);
	CHECK(!drv_ping(&d), "%s does not take a light", dev->name);
	CHECK(vq_wait(&events, &length, 20) < 0, "%s sent an event of %u bytes", dev->name, length);
	vdev_reset(&d.dev);
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(VIRTIO_INPUT, v);

	if (!n)
		case_skip("no virtio-input device");
	for (unsigned i = 0; i < n; i++) {
		says_what_it_is(&v[i]);
		has_one_key(&v[i]);
		is_quiet(&v[i]);
	}
}

const struct guest_case this_case = {"virtio-input", run, .no_irqs = true};
