/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Garbage in PCI configuration space: every register of every virtio function is written with
 * odd values in every width, BARs are moved onto nothing, decoding goes on and off. Afterwards the
 * saved registers are put back and the device must work.
 */
#include "case.h"
#include "driver.h"

static const uint32_t values[] = {0, 0xffffffff, 0xaaaaaaaa, 0x80000001, 0x0000ffff};

static void scribble(uint32_t bdf, unsigned from, unsigned to)
{
	for (unsigned at = from; at < to; at += 4) {
		unsigned k = at / 4;

		pci_write(bdf, at, 4, values[k % ARRAY_SIZE(values)]);
		pci_write(bdf, at + k % 4, 1, values[(k + 1) % ARRAY_SIZE(values)]);
		pci_write(bdf, at + (k & 1) * 2, 2, values[(k + 2) % ARRAY_SIZE(values)]);
		pci_read(bdf, at, 4);
	}
}

static void move_bars(const struct pci_fn *f)
{
	static const uint32_t places[] = {0, 0xfffff000, 0x00001000, 0xfee00000};

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		for (unsigned b = 0; b < 6; b++)
			pci_write(f->bdf, PCI_BAR0 + 4 * b, 4, places[i]);
		pci_write(f->bdf, PCI_COMMAND, 2, CMD_MEMORY | CMD_MASTER);
		pci_write(f->bdf, PCI_COMMAND, 2, 0);
	}
}

static void test(const struct vdev *dev)
{
	const struct pci_fn *f = dev->fn;
	uint32_t saved[64];
	struct drv d;

	for (unsigned i = 0; i < 64; i++)
		saved[i] = pci_read(f->bdf, 4 * i, 4);
	pci_write(f->bdf, PCI_COMMAND, 2, 0);
	scribble(f->bdf, 0, 0x100);
	scribble(f->bdf, 0xff0, 0x1000); /* the end of extended space */
	pci_write(f->bdf, PCI_COMMAND, 2, 0);
	/* BARs that lie on RAM are not tried: what should win there is not defined */
	move_bars(f);
	for (unsigned i = 64; i-- > 2;)
		if (i != PCI_STATUS / 4)
			pci_write(f->bdf, 4 * i, 4, saved[i]);
	pci_write(f->bdf, PCI_COMMAND, 2, CMD_MEMORY | CMD_MASTER);

	CHECK(pci_read(f->bdf, 0, 4) == saved[0], "%s: identity is 0x%x", dev->name,
		pci_read(f->bdf, 0, 4));
	for (unsigned i = 2; i < 16; i++)
		CHECK(pci_read(f->bdf, 4 * i, 4) == saved[i], "%s: register 0x%x is 0x%x, was 0x%x",
			dev->name, 4 * i, pci_read(f->bdf, 4 * i, 4), saved[i]);
	CHECK(!drv_open(&d, dev, 0, 8) && !drv_ping(&d), "%s does not work any more", dev->name);
	vdev_reset(&d.dev);
	note("%s survived\n", dev->name);
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(0, v), tested = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!v[i].pci || !drv_knows(&v[i]))
			continue;
		test(&v[i]);
		tested++;
	}
	if (!tested)
		case_skip("no virtio-pci device");
}

const struct guest_case this_case = {"pci-config", run, .no_irqs = true};
