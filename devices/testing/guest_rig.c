/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"

#define MMIO_BASE 0xd0000000
#define MMIO_PIN  5
#define SLOT	  3

static const struct pci_layout layout = {
	.last_bus = 0,
	.ecam = {0xe0000000, 0x100000},
	.mmio32 = {0xc0000000, 0x1000000},
	.mmio64 = {0x4000000000, 0x10000000},
	.intx_pin = {16, 17, 18, 19},
};

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s: %d\n", what, r);
	abort();
}

void guest_rig_init(struct guest_rig *r, uint64_t ram_bytes)
{
	*r = (struct guest_rig){0};
	must(fake_host_init(&r->f, ram_bytes, true), "host");
}

void guest_rig_attach(struct guest_rig *r, const struct guest_transport *t, struct virtio_dev *dev)
{
	struct dev_host *h = &r->f.host;

	if (t == &guest_mmio) {
		must(virtio_mmio_new(h, dev, MMIO_BASE, MMIO_PIN, &r->device), "virtio-mmio");
		guest_driver_init(&r->g, &r->f, t, MMIO_BASE, MMIO_PIN);
	} else {
		must(pci_root_new(h, "pci0", &layout, &r->root), "PCI root");
		must(virtio_pci_new(h, dev, r->root, SLOT, &r->device), "virtio-pci");
		guest_driver_init(&r->g, &r->f, t, layout.ecam.base + (SLOT << 15),
			layout.intx_pin[SLOT % 4]);
		r->g.root = r->root;
	}
	must(t->probe(&r->g), "probe");
}

void guest_rig_fini(struct guest_rig *r)
{
	guest_driver_fini(&r->g);
	device_free(r->device);
	if (r->root)
		device_free(pci_root_device(r->root));
	fake_host_fini(&r->f);
}

void guest_rig_pause(struct guest_rig *r)
{
	uint64_t end = ev_now_ns() + 5000000000ull;

	r->device->ops->pause(r->device);
	while (!r->device->ops->paused(r->device)) {
		must(ev_now_ns() < end ? 0 : -ETIMEDOUT, "pause");
		usleep(50);
	}
}

void guest_rig_resume(struct guest_rig *r)
{
	r->device->ops->resume(r->device);
}

uint64_t guest_rig_counter(struct guest_rig *r, const char *name)
{
	struct dev_counter c[32];
	unsigned n = r->device->ops->counters(r->device, c, 32);

	for (unsigned i = 0; i < n; i++)
		if (!strcmp(c[i].name, name))
			return c[i].value;
	return UINT64_MAX;
}

const char *guest_rig_achieved(struct guest_rig *r, const char *what, char buf[64])
{
	struct dev_achieved a[16];
	unsigned n = r->device->ops->achieved(r->device, a, 16);

	*buf = 0;
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(a[i].what, what))
			memcpy(buf, a[i].text, 64);
	return buf;
}
