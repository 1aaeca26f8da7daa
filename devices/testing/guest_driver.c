/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/testing/guest_driver.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "vmm/base/num.h"

#define HEAP_START 0x10000

static uint64_t rd(struct guest_driver *g, uint64_t addr, unsigned size)
{
	return fake_read(g->f, addr, size);
}

static void wr(struct guest_driver *g, uint64_t addr, unsigned size, uint64_t v)
{
	fake_write(g->f, addr, size, v);
}

/* MMIO, virtio 1.2 §4.2.2. */

static int mmio_probe(struct guest_driver *g)
{
	return rd(g, g->base, 4) == 0x74726976 && rd(g, g->base + 4, 4) == 2 ? 0 : -1;
}

static uint8_t mmio_status(struct guest_driver *g)
{
	return rd(g, g->base + 0x70, 4);
}

static void mmio_set_status(struct guest_driver *g, uint8_t s)
{
	wr(g, g->base + 0x70, 4, s);
}

static uint64_t mmio_features(struct guest_driver *g)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 2; i++) {
		wr(g, g->base + 0x14, 4, i);
		v |= rd(g, g->base + 0x10, 4) << (32 * i);
	}
	return v;
}

static void mmio_set_features(struct guest_driver *g, uint64_t v)
{
	for (unsigned i = 0; i < 2; i++) {
		wr(g, g->base + 0x24, 4, i);
		wr(g, g->base + 0x20, 4, v >> (32 * i) & UINT32_MAX);
	}
}

static uint16_t mmio_select(struct guest_driver *g, unsigned i)
{
	wr(g, g->base + 0x30, 4, i);
	return rd(g, g->base + 0x34, 4);
}

static void mmio_address(struct guest_driver *g, unsigned reg, uint64_t v)
{
	wr(g, g->base + reg, 4, v & UINT32_MAX);
	wr(g, g->base + reg + 4, 4, v >> 32);
}

static void mmio_queue_setup(struct guest_driver *g, unsigned i, uint16_t size, uint64_t desc,
	uint64_t avail, uint64_t used)
{
	mmio_select(g, i);
	wr(g, g->base + 0x38, 4, size);
	mmio_address(g, 0x80, desc);
	mmio_address(g, 0x90, avail);
	mmio_address(g, 0xa0, used);
	wr(g, g->base + 0x44, 4, 1);
}

static void mmio_kick(struct guest_driver *g, unsigned i)
{
	wr(g, g->base + 0x50, 4, i);
}

static uint32_t mmio_config(struct guest_driver *g, uint32_t off, unsigned size)
{
	return rd(g, g->base + 0x100 + off, size);
}

static bool changed(unsigned *seen, unsigned now)
{
	bool yes = *seen != now;

	*seen = now;
	return yes;
}

static bool mmio_interrupted(struct guest_driver *g, unsigned i)
{
	uint32_t status;

	if (!changed(&g->seen_irqs[0], atomic_load(&g->f->edges[g->pin])))
		return false;
	status = rd(g, g->base + 0x60, 4);
	wr(g, g->base + 0x64, 4, status);
	return status & 1;
}

const struct guest_transport guest_mmio = {
	.name = "mmio",
	.probe = mmio_probe,
	.status = mmio_status,
	.set_status = mmio_set_status,
	.features = mmio_features,
	.set_features = mmio_set_features,
	.select = mmio_select,
	.queue_setup = mmio_queue_setup,
	.kick = mmio_kick,
	.config = mmio_config,
	.interrupted = mmio_interrupted,
};

/* PCI, virtio 1.2 §4.1: walks the capabilities, places the BAR, enables decoding. */

static void pci_found_cap(struct guest_driver *g, uint64_t cap)
{
	uint64_t at = g->bar + rd(g, cap + 8, 4);

	switch (rd(g, cap + 3, 1)) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		g->common = at;
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		g->notify = at;
		break;
	case VIRTIO_PCI_CAP_ISR_CFG:
		g->isr = at;
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		g->config = at;
		break;
	}
}

static int pci_probe(struct guest_driver *g)
{
	uint64_t cap;

	if (rd(g, g->base, 2) != 0x1af4)
		return -1;
	g->bar = rd(g, g->base + 0x14, 4) << 32 | (rd(g, g->base + 0x10, 4) & ~0xfu);
	for (cap = rd(g, g->base + 0x34, 1); cap; cap = rd(g, g->base + cap + 1, 1))
		if (rd(g, g->base + cap, 1) == 0x09)
			pci_found_cap(g, g->base + cap);
	wr(g, g->base + 4, 2, 0x6); /* memory, bus master */
	pci_root_remap(g->root);
	return g->common && g->notify && g->isr ? 0 : -1;
}

static uint8_t pci_status(struct guest_driver *g)
{
	return rd(g, g->common + VIRTIO_PCI_COMMON_STATUS, 1);
}

static void pci_set_status(struct guest_driver *g, uint8_t s)
{
	wr(g, g->common + VIRTIO_PCI_COMMON_STATUS, 1, s);
}

static uint64_t pci_features(struct guest_driver *g)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 2; i++) {
		wr(g, g->common + VIRTIO_PCI_COMMON_DFSELECT, 4, i);
		v |= rd(g, g->common + VIRTIO_PCI_COMMON_DF, 4) << (32 * i);
	}
	return v;
}

static void pci_set_features(struct guest_driver *g, uint64_t v)
{
	for (unsigned i = 0; i < 2; i++) {
		wr(g, g->common + VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		wr(g, g->common + VIRTIO_PCI_COMMON_GF, 4, v >> (32 * i) & UINT32_MAX);
	}
}

static uint16_t pci_select(struct guest_driver *g, unsigned i)
{
	wr(g, g->common + VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
	return rd(g, g->common + VIRTIO_PCI_COMMON_Q_SIZE, 2);
}

static void pci_address(struct guest_driver *g, unsigned reg, uint64_t v)
{
	wr(g, g->common + reg, 4, v & UINT32_MAX);
	wr(g, g->common + reg + 4, 4, v >> 32);
}

static void pci_queue_setup(struct guest_driver *g, unsigned i, uint16_t size, uint64_t desc,
	uint64_t avail, uint64_t used)
{
	pci_select(g, i);
	wr(g, g->common + VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
	wr(g, g->common + VIRTIO_PCI_COMMON_Q_MSIX, 2, i + 1);
	pci_address(g, VIRTIO_PCI_COMMON_Q_DESCLO, desc);
	pci_address(g, VIRTIO_PCI_COMMON_Q_AVAILLO, avail);
	pci_address(g, VIRTIO_PCI_COMMON_Q_USEDLO, used);
	wr(g, g->common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static void pci_kick(struct guest_driver *g, unsigned i)
{
	wr(g, g->notify + 4 * i, 2, i);
}

static uint32_t pci_config(struct guest_driver *g, uint32_t off, unsigned size)
{
	return rd(g, g->config + off, size);
}

static int msix_probe(struct guest_driver *g)
{
	uint64_t cap, table;
	int r = pci_probe(g);

	for (cap = rd(g, g->base + 0x34, 1); cap; cap = rd(g, g->base + cap + 1, 1))
		if (rd(g, g->base + cap, 1) == 0x11)
			break;
	if (r < 0 || !cap)
		return -1;
	table = g->bar + (rd(g, g->base + cap + 4, 4) & ~7u);
	for (unsigned i = 0; i <= GUEST_QUEUES; i++) {
		wr(g, table + 16 * i, 4, 0xfee00000);
		wr(g, table + 16 * i + 4, 4, 0);
		wr(g, table + 16 * i + 8, 4, g->msi_data + i);
		wr(g, table + 16 * i + 12, 4, 0);
	}
	wr(g, g->base + cap + 2, 2, 0x8000);
	return 0;
}

static bool msix_interrupted(struct guest_driver *g, unsigned i)
{
	return changed(
		&g->seen_irqs[i + 1], atomic_load(&g->f->msis[(g->msi_data + i + 1) % FAKE_MSIS]));
}

static bool intx_interrupted(struct guest_driver *g, unsigned i)
{
	if (!changed(&g->seen_irqs[0], atomic_load(&g->f->edges[g->pin])))
		return false;
	return rd(g, g->isr, 1) & 1;
}

const struct guest_transport guest_pci_msix = {
	.name = "pci-msix",
	.probe = msix_probe,
	.status = pci_status,
	.set_status = pci_set_status,
	.features = pci_features,
	.set_features = pci_set_features,
	.select = pci_select,
	.queue_setup = pci_queue_setup,
	.kick = pci_kick,
	.config = pci_config,
	.interrupted = msix_interrupted,
};

const struct guest_transport guest_pci_intx = {
	.name = "pci-intx",
	.probe = pci_probe,
	.status = pci_status,
	.set_status = pci_set_status,
	.features = pci_features,
	.set_features = pci_set_features,
	.select = pci_select,
	.queue_setup = pci_queue_setup,
	.kick = pci_kick,
	.config = pci_config,
	.interrupted = intx_interrupted,
};

/* Common to all. */

static bool stopping(void *arg)
{
	return atomic_load(&((struct guest_driver *)arg)->stop_pump);
}

static void *pump_main(void *arg)
{
	struct guest_driver *g = arg;

	while (!stopping(g))
		fake_pump_until(g->f, stopping, g);
	return NULL;
}

void guest_driver_init(struct guest_driver *g, struct fake_host *f, const struct guest_transport *t,
	uint64_t base, uint32_t pin)
{
	const char *rings = getenv("GUEST_RINGS");

	memset(g, 0, sizeof(*g));
	g->f = f;
	g->t = t;
	g->base = base;
	g->pin = pin;
	g->msi_data = 8;
	g->heap = HEAP_START;
	if (rings && !strcmp(rings, "split"))
		g->never = VIRTIO_BIT_RING_PACKED;
	pthread_create(&g->pump, NULL, pump_main, g);
}

void guest_driver_fini(struct guest_driver *g)
{
	if (atomic_exchange(&g->stop_pump, true))
		return;
	pthread_join(g->pump, NULL);
}

void guest_sleep_little(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

bool guest_wait_used(struct guest_driver *g, unsigned i, uint32_t *ret_id, uint32_t *ret_len)
{
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;

	while (!guest_take_used(g, i, ret_id, ret_len)) {
		if (ev_now_ns() > end)
			return false;
		guest_sleep_little();
	}
	return true;
}

bool guest_reset(struct guest_driver *g)
{
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;

	g->t->set_status(g, 0);
	while (g->t->status(g)) {
		if (ev_now_ns() > end)
			return false;
		guest_sleep_little();
	}
	memset(g->q, 0, sizeof(g->q));
	return true;
}

uint8_t guest_negotiate(struct guest_driver *g, uint64_t want)
{
	if (!guest_reset(g))
		return 0;
	g->t->set_status(g, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	g->t->set_status(g, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	g->negotiated = g->t->features(g) & want & ~g->never;
	g->t->set_features(g, g->negotiated);
	g->t->set_status(g,
		VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	return g->t->status(g);
}

void guest_driver_ok(struct guest_driver *g)
{
	g->t->set_status(g, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				    VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

bool guest_wait_status(struct guest_driver *g, uint8_t bit)
{
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;

	while (!(g->t->status(g) & bit)) {
		if (ev_now_ns() > end)
			return false;
		guest_sleep_little();
	}
	return true;
}

bool guest_wait_interrupt(struct guest_driver *g, unsigned i)
{
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;

	while (!g->t->interrupted(g, i)) {
		if (ev_now_ns() > end)
			return false;
		guest_sleep_little();
	}
	return true;
}

void guest_note(struct guest_driver *g, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(g->text + g->ntext, sizeof(g->text) - g->ntext, fmt, ap);
	va_end(ap);
	g->ntext = MIN(g->ntext + n, sizeof(g->text) - 1);
}
