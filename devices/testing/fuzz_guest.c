/* SPDX-License-Identifier: Apache-2.0 */
/* Steps are what drivers do (negotiate, set a queue up, offer buffers, kick), in any order, and
 * rarely a wild register access or a wild ring. After each input the device must still obey a reset
 * and then serve a request: a hang or a lost wake-up shows there. */
#include "devices/testing/fuzz_guest.h"

#include <stdlib.h>
#include <string.h>
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

#define RING  8
#define STEPS 40

struct input {
	const uint8_t *p;
	size_t n;
};

static struct guest_rig rig;
static uint64_t heap_mark;

static uint32_t take(struct input *in, unsigned bytes)
{
	uint32_t v = 0;

	bytes = MIN((size_t)bytes, in->n);
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->n -= bytes;
	return v;
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void make(const struct guest_transport *t)
{
	struct virtio_dev *dev;

	guest_rig_init(&rig, 4 * MIB);
	check(virtio_rng_new(&rig.f.host, "_rng", -1, &dev) == 0);
	guest_rig_attach(&rig, t, dev);
	heap_mark = rig.g.heap;
}

static void run_queue(struct guest_driver *g)
{
	guest_queue_init(g, 0, RING);
	guest_driver_ok(g);
}

static void offer(struct guest_driver *g, struct input *in)
{
	struct guest_buf b[3];
	unsigned n = 1 + take(in, 1) % 3;

	if (!g->q[0].size)
		return;
	for (unsigned i = 0; i < n; i++)
		b[i] = (struct guest_buf){0x100000 + take(in, 2), 1 + (take(in, 2) & 0x1fff), true};
	if (take(in, 1) & 1)
		guest_add(g, 0, b, n);
	else
		guest_add_indirect(g, 0, b, n);
	g->t->kick(g, 0);
}

static void wild_ring(struct guest_driver *g, struct input *in)
{
	if (!g->q[0].size)
		return;
	guest_set_desc(g, 0, take(in, 1) % RING, take(in, 4), take(in, 4), take(in, 2) & 0x8087,
		take(in, 1) % (RING + 1));
	if (take(in, 1) & 1)
		guest_make_avail(g, 0, take(in, 1));
	else
		guest_set_avail_idx(g, 0, take(in, 2));
	g->t->kick(g, 0);
}

static void wild_register(struct guest_driver *g, struct input *in)
{
	unsigned size = 1u << take(in, 1) % 4;
	bool pci = g->t != &guest_mmio;
	uint64_t base = !pci ? g->base : take(in, 1) & 1 ? g->bar : g->base;
	uint64_t off = take(in, 2) % (!pci ? 0x200 : base == g->bar ? 0x8000 : 0x100);

	off -= off % size;
	if (take(in, 1) & 1)
		fake_write(g->f, base + off, size, take(in, 4));
	else
		fake_read(g->f, base + off, size);
	if (g->root && take(in, 1) & 1)
		pci_root_remap(g->root);
}

/* Puts back what wild accesses to configuration space may have moved. */
static void restore_bar(struct guest_driver *g)
{
	if (g->t == &guest_mmio)
		return;
	fake_write(g->f, g->base + 4, 2, 0);
	fake_write(g->f, g->base + 0x10, 4, g->bar & UINT32_MAX);
	fake_write(g->f, g->base + 0x14, 4, g->bar >> 32);
	fake_write(g->f, g->base + 4, 2, 6);
	pci_root_remap(g->root);
}

/* The world stops, perhaps while a queue is on its way to something; a person asks meanwhile. */
static void pause_and_ask(struct input *in)
{
	char buf[64];

	if (take(in, 1) & 1)
		guest_rig_pause(&rig);
	else
		rig.device->ops->pause(rig.device);
	check(guest_rig_counter(&rig, "bytes") != UINT64_MAX);
	check(*guest_rig_achieved(&rig, "queue_size", buf));
	guest_rig_resume(&rig);
}

static uint64_t some_features(struct input *in)
{
	uint8_t less = take(in, 1);

	return UINT64_MAX & ~(less & 1 ? VIRTIO_BIT_EVENT_IDX : 0) &
	       ~(less & 2 ? VIRTIO_BIT_RING_PACKED : 0);
}

static void step(struct guest_driver *g, struct input *in)
{
	switch (take(in, 1) % 12) {
	case 0:
		restore_bar(g);
		guest_negotiate(g, some_features(in));
		break;
	case 1:
	case 2:
		run_queue(g);
		break;
	case 3:
		wild_ring(g, in);
		break;
	case 4:
	case 5:
		wild_register(g, in);
		break;
	case 6:
		g->t->set_status(g, take(in, 1));
		break;
	case 7:
		g->t->interrupted(g, 0);
		break;
	case 8:
		pause_and_ask(in);
		break;
	default:
		offer(g, in);
	}
}

/* The guest restores what it may have moved, resets, and has a request served. */
static void still_works(struct guest_driver *g)
{
	uint32_t len = 0;

	restore_bar(g);
	g->heap = heap_mark;
	check(guest_negotiate(g, UINT64_MAX) == 11);
	guest_queue_init(g, 0, RING);
	memset(guest_ptr(g, heap_mark, 4096), 0, 4096);
	guest_driver_ok(g);
	struct guest_buf b = {0x100000, 16, true};
	guest_add(g, 0, &b, 1);
	g->t->kick(g, 0);
	check(guest_wait_used(g, 0, NULL, &len) && len == 16);
	check(guest_reset(g));
}

void fuzz_guest(const struct guest_transport *t, const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	if (!rig.device)
		make(t);
	rig.g.heap = heap_mark;
	guest_negotiate(&rig.g, UINT64_MAX);
	for (int i = 0; i < STEPS && in.n; i++)
		step(&rig.g, &in);
	still_works(&rig.g);
}
