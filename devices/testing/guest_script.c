/* SPDX-License-Identifier: Apache-2.0 */
/* What a driver does to a disk of 1 MiB, right and wrong, and what it saw, as a transcript: the
 * same behind each transport and with either kind of ring. */
#include <linux/virtio_blk.h>
#include <string.h>
#include "devices/testing/guest_driver.h"

static void note_identity(struct guest_driver *g)
{
	guest_note(g, "features %#llx\n", (unsigned long long)g->t->features(g));
	for (unsigned i = 0; i < 3; i++)
		guest_note(g, "queue %u holds %u\n", i, g->t->select(g, i));
	for (unsigned off = 0; off < 72; off += 4)
		guest_note(g, "config %u: %#x\n", off, g->t->config(g, off, 4));
	for (unsigned off = 8; off < 16; off++)
		guest_note(g, "config byte %u: %#x\n", off, g->t->config(g, off, 1));
}

static void note_refused_features(struct guest_driver *g)
{
	guest_note(g, "no version 1: %#x\n", guest_negotiate(g, 0));
	guest_reset(g);
	g->t->set_status(g, 1);
	g->t->set_status(g, 3);
	g->t->set_features(g, UINT64_MAX);
	g->t->set_status(g, 11);
	guest_note(g, "features never offered: %#x\n", g->t->status(g));
	g->t->set_status(g, 15);
	guest_note(g, "DRIVER_OK without FEATURES_OK: %#x\n", g->t->status(g));
}

void guest_note_request(struct guest_driver *g, uint32_t type, uint64_t sector, uint32_t len)
{
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};
	uint64_t hdr = guest_alloc(g, 16, 16), data = guest_alloc(g, len, 16);
	uint64_t status = guest_alloc(g, 1, 1);
	struct guest_buf b[] = {
		{hdr, 16, false}, {data, len, type != VIRTIO_BLK_T_OUT}, {status, 1, true}};
	uint32_t id = 0, used = 0;

	memcpy(guest_ptr(g, hdr, 16), &h, 16);
	memset(guest_ptr(g, data, len), 0x11, len);
	guest_add(g, 0, b, 3);
	g->t->kick(g, 0);
	guest_note(g, "request %u at %llu: used %d", type, (unsigned long long)sector,
		guest_wait_used(g, 0, &id, &used));
	guest_note(g, " id %u len %u status %u first byte %#x interrupt %d\n", id, used,
		*(uint8_t *)guest_ptr(g, status, 1), *(uint8_t *)guest_ptr(g, data, 1),
		guest_wait_interrupt(g, 0));
}

static void note_requests(struct guest_driver *g)
{
	guest_note(g, "negotiated: %#x\n", guest_negotiate(g, ~VIRTIO_BIT_EVENT_IDX));
	guest_queue_init(g, 0, 16);
	guest_driver_ok(g);
	guest_note(g, "running: %#x\n", g->t->status(g));
	guest_note_request(g, VIRTIO_BLK_T_IN, 0, 512);
	guest_note_request(g, VIRTIO_BLK_T_OUT, 0, 512);
	guest_note_request(g, VIRTIO_BLK_T_IN, 0, 512);
	guest_note_request(g, VIRTIO_BLK_T_IN, 1 << 20, 512);
	guest_note_request(g, VIRTIO_BLK_T_GET_ID, 0, 20);
	guest_note_request(g, 99, 0, 512);
}

static void note_setup_while_enabled(struct guest_driver *g)
{
	g->t->queue_setup(g, 0, 4, 0, 0, 0); /* ignored: the queue is enabled */
	guest_note_request(g, VIRTIO_BLK_T_IN, 0, 512);
}

static void note_broken(struct guest_driver *g)
{
	guest_break_ring(g, 0);
	g->t->kick(g, 0);
	guest_note(g, "needs reset: %d", guest_wait_status(g, 64));
	guest_note(g, " status %#x\n", g->t->status(g));
	guest_note(g, "reset: %d", guest_reset(g));
	guest_note(g, " status %#x\n", g->t->status(g));
}

static void note_bad_queue(struct guest_driver *g)
{
	guest_negotiate(g, UINT64_MAX);
	g->t->queue_setup(g, 0, 3, 0x10000, 0x20000, 0x30000);
	g->t->select(g, 0);
	guest_driver_ok(g);
	guest_note(g, "size of no power of two: %#x\n", g->t->status(g));
	guest_negotiate(g, UINT64_MAX);
	g->t->queue_setup(g, 0, 16, 0x10000, 0x20000, 0x30001);
	guest_driver_ok(g);
	guest_note(g, "used ring not aligned: %#x\n", g->t->status(g));
	guest_negotiate(g, UINT64_MAX);
	g->t->queue_setup(g, 0, 16, 0x10000, 0x20000, UINT64_MAX - 3);
	guest_driver_ok(g);
	guest_note(g, "used ring outside memory: %#x\n", g->t->status(g));
}

void guest_disk_script(struct guest_driver *g)
{
	note_identity(g);
	note_refused_features(g);
	note_requests(g);
	note_setup_while_enabled(g);
	note_broken(g);
	note_bad_queue(g);
	note_requests(g);
}
