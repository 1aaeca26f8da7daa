/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user as the third transport: the script that virtio-mmio and virtio-pci answer alike is
 * answered alike by the same device in another thread, behind messages. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "offload/test_rig.h"
#include "offload/vu_proxy.h"
#include "vmm/base/num.h"

TestSuite(transcript, .timeout = 120);

static void run_script(struct guest_rig *r, const struct guest_transport *t, struct virtio_dev *dev,
	char text[8192])
{
	guest_rig_attach(r, t, dev);
	guest_disk_script(&r->g);
	memcpy(text, r->g.text, 8192);
	guest_driver_fini(&r->g);
	device_free(r->device);
	if (r->root)
		device_free(pci_root_device(r->root));
}

static void in_process(bool packed, char text[8192])
{
	struct virtio_blk_opts o = {.serial = "served elsewhere"};
	char path[] = "/tmp/polyvisor-transcript-XXXXXX";
	struct block_opts bo = {.path = path, .fd = -1, .flag = "--disk", .id = "_disk0"};
	int fd = mkstemp(path);
	struct virtio_dev *dev;
	struct guest_rig r;
	struct block *b;

	cr_assert(fd >= 0 && ftruncate(fd, 1 * MIB) == 0);
	close(fd);
	cr_assert_eq(block_open(&bo, &b, NULL), 0);
	guest_rig_init(&r, 4 * MIB);
	cr_assert_eq(virtio_blk_new(&r.f.host, "_disk0", b, &o, &dev), 0);
	dev->no_packed = !packed;
	run_script(&r, &guest_mmio, dev, text);
	fake_host_fini(&r.f);
	block_free(b);
	unlink(path);
}

static void share_memory(struct fake_host *f)
{
	struct mem_range ram = {0, 4 * MIB};
	struct mem_opts o = {.shared = true, .numa_node = -1};

	guest_mem_fini(&f->mem);
	cr_assert_eq(guest_mem_init(&f->mem, &ram, 1, &o, NULL), 0);
}

static void offloaded(const struct guest_transport *t, bool packed, char text[8192])
{
	struct vu_peer_opts o;
	struct virtio_dev *dev;
	struct vu_peer *peer;
	struct guest_rig r;
	struct backend b;
	struct err e = {0};

	backend_init(&b);
	vu_peer_opts_blk(&o);
	o.socket = b.path;
	o.queue_size = 256;
	o.flag = "--disk";
	o.id = "_disk0";
	cr_assert_eq(vu_peer_open(&o, &peer, &e), 0, "%s", e.text);
	guest_rig_init(&r, 4 * MIB);
	share_memory(&r.f);
	cr_assert_eq(vu_proxy_new(&r.f.host, "_disk0", peer, &dev), 0);
	dev->no_packed = !packed;
	run_script(&r, t, dev, text);
	vu_peer_close(peer);
	fake_host_fini(&r.f);
	backend_fini(&b);
}

static void compare(const struct guest_transport *t, bool packed)
{
	static char first[8192], other[8192];

	in_process(packed, first);
	offloaded(t, packed, other);
	cr_expect_gt(strlen(first), 1000u);
	for (char *a = first, *b = other, *sa, *sb; *a || *b;) { /* the first line that differs */
		a = strtok_r(a, "\n", &sa);
		b = strtok_r(b, "\n", &sb);
		cr_assert(a && b && !strcmp(a, b), "%s: \"%s\", in process \"%s\"", t->name,
			b ? b : "", a ? a : "");
		a = sa;
		b = sb;
	}
}

Test(transcript, mmio_split)
{
	compare(&guest_mmio, false);
}

Test(transcript, pci_msix_split)
{
	compare(&guest_pci_msix, false);
}

Test(transcript, pci_intx_split)
{
	compare(&guest_pci_intx, false);
}

Test(transcript, mmio_packed)
{
	compare(&guest_mmio, true);
}

Test(transcript, pci_msix_packed)
{
	compare(&guest_pci_msix, true);
}

Test(transcript, pci_intx_packed)
{
	compare(&guest_pci_intx, true);
}
