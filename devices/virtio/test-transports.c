/* SPDX-License-Identifier: Apache-2.0 */
/* One driver script, run over each transport, must see the same device: the transcripts are equal.
 */
#include <criterion/criterion.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "devices/backend/block.h"
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

static const struct guest_transport *const transports[] = {
	&guest_mmio, &guest_pci_msix, &guest_pci_intx};

TestSuite(transports, .timeout = 60);

static struct block *new_disk(char path[])
{
	struct block_opts o = {.path = path, .fd = -1, .flag = "--disk", .id = "_disk0"};
	struct block *b;
	int fd = mkstemp(path);

	cr_assert(fd >= 0 && ftruncate(fd, 1 * MIB) == 0);
	close(fd);
	cr_assert_eq(block_open(&o, &b, NULL), 0);
	return b;
}

/* Fills text with what the script saw. */
static void run_script(const struct guest_transport *t, uint64_t never, char text[8192])
{
	char path[] = "/tmp/polyvisor-transports-XXXXXX";
	struct virtio_blk_opts o = {.serial = "serial"};
	struct block *b = new_disk(path);
	struct virtio_dev *dev;
	struct guest_rig r;

	guest_rig_init(&r, 4 * MIB);
	cr_assert_eq(virtio_blk_new(&r.f.host, "_disk0", b, &o, &dev), 0);
	guest_rig_attach(&r, t, dev);
	r.g.never = never;
	guest_disk_script(&r.g);
	memcpy(text, r.g.text, 8192);
	guest_rig_fini(&r);
	block_free(b);
	unlink(path);
}

Test(transports, equal_transcripts)
{
	static char first[8192], other[8192];

	run_script(transports[0], 0, first);
	if (getenv("TRANSCRIPT"))
		fputs(first, stderr);
	cr_expect_gt(strlen(first), 1000u);
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++) {
		run_script(transports[i], 0, other);
		cr_expect_str_eq(other, first, "%s, packed", transports[i]->name);
		run_script(transports[i], VIRTIO_BIT_RING_PACKED, other);
		cr_expect_str_eq(other, first, "%s, split", transports[i]->name);
	}
}

static void with_disk(const struct guest_transport *t, void (*body)(struct guest_rig *r))
{
	char path[] = "/tmp/polyvisor-transports-XXXXXX";
	struct virtio_blk_opts o = {0};
	struct block *b = new_disk(path);
	struct virtio_dev *dev;
	struct guest_rig r;

	guest_rig_init(&r, 4 * MIB);
	cr_assert_eq(virtio_blk_new(&r.f.host, "_disk0", b, &o, &dev), 0);
	guest_rig_attach(&r, t, dev);
	body(&r);
	guest_rig_fini(&r);
	block_free(b);
	unlink(path);
}

static uint64_t capability(struct guest_driver *g, unsigned cfg_type)
{
	uint64_t cap = fake_read(g->f, g->base + 0x34, 1);

	while (cap && !(fake_read(g->f, g->base + cap, 1) == 9 &&
			      fake_read(g->f, g->base + cap + 3, 1) == cfg_type))
		cap = fake_read(g->f, g->base + cap + 1, 1);
	cr_assert(cap);
	return g->base + cap;
}

/* §4.1.4.9: the BAR without mapping it. */
static void access_by_config_space(struct guest_rig *r)
{
	struct guest_driver *g = &r->g;
	uint64_t cap = capability(g, 5);

	fake_write(&r->f, g->base + 4, 2, 0); /* decode off */
	pci_root_remap(r->root);
	fake_write(&r->f, cap + 4, 1, 0);    /* BAR */
	fake_write(&r->f, cap + 8, 4, 0x12); /* num_queues */
	fake_write(&r->f, cap + 12, 4, 2);
	cr_expect_eq(fake_read(&r->f, cap + 16, 4) & 0xffff, 1u);
	fake_write(&r->f, cap + 8, 4, 0x14); /* status */
	fake_write(&r->f, cap + 12, 4, 1);
	fake_write(&r->f, cap + 16, 4, 1);
	cr_expect_eq(fake_read(&r->f, cap + 16, 4) & 0xff, 1u);
	/* windows that reach outside, or are not aligned */
	fake_write(&r->f, cap + 8, 4, 0xfffffffc);
	fake_write(&r->f, cap + 12, 4, 4);
	fake_write(&r->f, cap + 16, 4, 0xffffffff);
	fake_read(&r->f, cap + 16, 4);
	fake_write(&r->f, cap + 8, 4, 0x13);
	fake_read(&r->f, cap + 16, 4);
	fake_write(&r->f, cap + 12, 4, 3);
	fake_read(&r->f, cap + 16, 4);
	fake_write(&r->f, cap + 4, 1, 5);
	fake_read(&r->f, cap + 16, 4);
}

Test(transports, pci_cfg_capability)
{
	with_disk(&guest_pci_msix, access_by_config_space);
}

static void start_disk(struct guest_driver *g)
{
	cr_assert_eq(guest_negotiate(g, ~VIRTIO_BIT_EVENT_IDX) & 8, 8);
	guest_queue_init(g, 0, 16);
	guest_driver_ok(g);
}

/* Turning MSI-X off while the queue runs moves its interrupt to INTx, and loses no request. */
static void change_interrupt_mode(struct guest_rig *r)
{
	struct guest_driver *g = &r->g;
	uint64_t cap = fake_read(&r->f, g->base + 0x34, 1);

	while (fake_read(&r->f, g->base + cap, 1) != 0x11)
		cap = fake_read(&r->f, g->base + cap + 1, 1);
	start_disk(g);
	guest_note_request(g, VIRTIO_BLK_T_IN, 0, 512);
	fake_write(&r->f, g->base + cap + 2, 2, 0);
	g->t = &guest_pci_intx;
	g->seen_irqs[0] = atomic_load(&r->f.edges[g->pin]);
	for (int i = 0; i < 3; i++)
		guest_note_request(g, VIRTIO_BLK_T_IN, 0, 512);
	cr_expect_null(strstr(g->text, "used 0"), "%s", g->text);
	cr_expect(strstr(g->text, "interrupt 1"));
	cr_expect_not(r->f.wire[g->pin], "read ISR lets go of the line");
}

Test(transports, interrupt_mode_changes_while_running)
{
	with_disk(&guest_pci_msix, change_interrupt_mode);
}

static void disable_bar(struct guest_rig *r)
{
	struct guest_driver *g = &r->g;

	start_disk(g);
	guest_note_request(g, VIRTIO_BLK_T_IN, 0, 512);
	fake_write(&r->f, g->base + 0x14, 4, 0x50); /* move the BAR above the window's start */
	fake_write(&r->f, g->base + 4, 2, 0);
	pci_root_remap(r->root);
	cr_expect_eq(fake_read(&r->f, g->common + 0x14, 1), 0xffu, "not decoded");
}

Test(transports, bar_disabled_while_running)
{
	with_disk(&guest_pci_msix, disable_bar);
}

/* Odd widths and places do nothing and do not crash. */
static void scan_registers(struct guest_rig *r)
{
	uint64_t at = r->g.t == &guest_mmio ? r->g.base : r->g.common;
	uint64_t len = r->g.t == &guest_mmio ? 0x200 : 0x8000;

	for (uint64_t off = 0; off < len; off += off < 0x200 ? 1 : 37)
		for (unsigned size = 1; size <= 8; size *= 2)
			if (off + size <= len) {
				fake_read(&r->f, at + off, size);
				fake_write(&r->f, at + off, size, 0x0123456789abcdef);
			}
	cr_expect(guest_reset(&r->g));
}

Test(transports, any_width_anywhere)
{
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++)
		with_disk(transports[i], scan_registers);
}

static void load_and_compare(struct guest_rig *r)
{
	struct visit_buf buf = {0};
	struct visitor *v;

	start_disk(&r->g);
	guest_note_request(&r->g, VIRTIO_BLK_T_IN, 0, 512);
	cr_assert_eq(visitor_new_save(&buf, &v), 0);
	cr_expect_eq(r->device->ops->visit(r->device, v), 0);
	visitor_free(v);
	cr_assert_eq(visitor_new_compare(buf.data, buf.len, &v), 0);
	cr_expect_eq(r->device->ops->visit(r->device, v), 0, "%s", visit_error_path(v));
	visitor_free(v);
	cr_expect(guest_reset(&r->g));
	cr_assert_eq(visitor_new_compare(buf.data, buf.len, &v), 0);
	cr_expect_eq(r->device->ops->visit(r->device, v), -ENOTUNIQ);
	visitor_free(v);
	visit_buf_fini(&buf);
}

Test(transports, state_is_visited)
{
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++)
		with_disk(transports[i], load_and_compare);
}
