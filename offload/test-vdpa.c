/* SPDX-License-Identifier: Apache-2.0 */
/* A driver at a vDPA device, whose kernel is the test's. */
#include <criterion/criterion.h>
#include <linux/vhost_types.h>
#include <linux/virtio_blk.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "devices/testing/guest_driver.h"
#include "offload/vdpa.h"
#include "offload/vhost_fake.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/num.h"

#define BIT(b) (UINT64_C(1) << (b))
#define DEVICE                                                                                     \
	(VIRTIO_BIT_VERSION_1 | VIRTIO_BIT_INDIRECT_DESC | VIRTIO_BIT_EVENT_IDX |                  \
		BIT(VIRTIO_BLK_F_FLUSH) | VIRTIO_BIT_ACCESS_PLATFORM)
#define V2	BIT(VHOST_BACKEND_F_IOTLB_MSG_V2)
#define SUSPEND BIT(VHOST_BACKEND_F_SUSPEND)
#define PERSIST BIT(8)
#define BATCH	BIT(VHOST_BACKEND_F_IOTLB_BATCH)

#define MAP	   "MAP:0+400000 MAP:40000000+100000 "
#define UNMAP	   "UNMAP:0 UNMAP:40000000 "
#define NEGOTIATE  "STATUS=3 SET_FEATURES STATUS=11 GET_STATUS "
#define RING(base) "NUM:0=16 BASE:0=" base " ADDR:0 CALL:0 KICK:0 ENABLE:0=1 "
#define GO	   "STATUS=15 GET_CONFIG "

static const struct guest_transport *const transports[] = {
	&guest_mmio, &guest_pci_msix, &guest_pci_intx};

TestSuite(vdpa, .timeout = 60);

struct rig {
	struct guest_rig r;
	struct vdpa *v;
	uint64_t heap;
};

static void device(uint64_t features, uint64_t backend_features)
{
	vhost_fake_reset();
	vhost_fake.type = VIRTIO_TYPE_BLOCK;
	vhost_fake.features = features;
	vhost_fake.backend_features = backend_features;
	vhost_fake.config_len = 60;
	vhost_fake.config[1] = 8; /* 2048 sectors */
}

static struct vdpa *open_it(void)
{
	const struct vdpa_opts o = {
		.path = "/dev/vhost-vdpa-0", .fd = -1, .flag = "--vdpa", .id = "_vdpa0"};
	struct err e = {0};
	struct vdpa *v;

	cr_assert_eq(vdpa_open(&o, &v, &e), 0, "%s", e.text);
	return v;
}

static void memory(struct fake_host *f, bool shared)
{
	struct mem_range ram[] = {{0, 4 * MIB}, {GIB, MIB}};
	struct mem_opts o = {.shared = shared, .numa_node = -1};

	guest_mem_fini(&f->mem);
	cr_assert_eq(guest_mem_init(&f->mem, ram, 2, &o, NULL), 0);
	f->log = (struct log){memfd_create("log", MFD_CLOEXEC), LOG_DEBUG};
}

static void rig_init(struct rig *r, const struct guest_transport *t)
{
	struct virtio_dev *dev;

	r->v = open_it();
	guest_rig_init(&r->r, 4 * MIB);
	memory(&r->r.f, true);
	cr_assert_eq(vdpa_proxy_new(&r->r.f.host, "_vdpa0", r->v, &dev), 0);
	guest_rig_attach(&r->r, t, dev);
	r->heap = r->r.g.heap;
}

static void rig_fini(struct rig *r)
{
	close(r->r.f.log.fd);
	r->r.f.log.fd = -1;
	guest_rig_fini(&r->r);
	vdpa_close(r->v);
}

#define START(base) "GET_CONFIG " NEGOTIATE "CONFIG_CALL " RING(base) GO

static void run_driver(struct rig *r)
{
	struct guest_driver *g = &r->r.g;

	g->heap = r->heap;
	memset(guest_ptr(g, r->heap, 64 * KIB), 0, 64 * KIB);
	cr_assert_eq(guest_negotiate(g, UINT64_MAX), 11);
	guest_queue_init(g, 0, 16);
	guest_driver_ok(g);
}

/* The fake's own, while a device runs. */
static void set(uint8_t *at, uint8_t value)
{
	LOCK_SCOPE(&vhost_fake.lock);
	*at = value;
}

static bool becomes(const uint8_t *at, uint8_t value)
{
	for (unsigned i = 0; i < 5000; i++) {
		pthread_mutex_lock(&vhost_fake.lock);
		bool is = *at == value;
		pthread_mutex_unlock(&vhost_fake.lock);
		if (is)
			return true;
		usleep(1000);
	}
	return false;
}

static bool logged(struct fake_host *f, const char *what)
{
	char text[8192] = {0};

	return pread(f->log.fd, text, sizeof(text) - 1, 0) >= 0 && strstr(text, what);
}

Test(vdpa, is_asked_for_what_it_is)
{
	struct vdpa *v;

	device(DEVICE, V2 | BATCH | PERSIST | BIT(3));
	v = open_it();
	cr_expect_eq(vdpa_type(v), VIRTIO_TYPE_BLOCK);
	cr_expect(vhost_fake_said(
		"OWNER DEVICE_ID GET_FEATURES GET_BACKEND_FEATURES SET_BACKEND_FEATURES:106 "
		"IOVA_RANGE VQS_COUNT VRING_NUM CONFIG_SIZE "));
	vdpa_close(v);
}

Test(vdpa, starts_resets_and_starts)
{
	for (unsigned t = 0; t < ARRAY_SIZE(transports); t++) {
		struct rig r;

		device(DEVICE, V2 | BATCH | PERSIST);
		rig_init(&r, transports[t]);
		vhost_fake_forget();
		cr_expect_eq(r.r.g.t->config(&r.r.g, 0, 4), 2048u);
		cr_expect_not(r.r.g.t->features(&r.r.g) & VIRTIO_BIT_ACCESS_PLATFORM);
		for (unsigned n = 0; n < 3; n++) {
			run_driver(&r);
			cr_assert(vhost_fake_said(START("0")));
			cr_expect_eq(vhost_fake.driver_features, DEVICE);
			cr_expect_eq(vhost_fake.desc[0], r.r.g.q[0].desc);
			cr_expect_eq(vhost_fake.memory, 5 * MIB);
			eventfd_write(vhost_fake.call[0], 1);
			cr_expect(guest_wait_interrupt(&r.r.g, 0), "%s", transports[t]->name);
			cr_assert(guest_reset(&r.r.g));
			cr_assert(vhost_fake_said("STATUS=0 "));
		}
		rig_fini(&r);
		cr_assert(vhost_fake_said("STATUS=0 BEGIN " UNMAP "END "));
		cr_expect_eq(vhost_fake.memory, 0u);
	}
}

/* Where a reset may take the memory map away, it is made again. */
Test(vdpa, maps_again_after_a_reset)
{
	struct rig r;

	device(DEVICE, V2);
	rig_init(&r, &guest_pci_msix);
	vhost_fake_forget();
	run_driver(&r);
	cr_assert(vhost_fake_said(START("0")));
	cr_assert(guest_reset(&r.r.g));
	cr_assert(vhost_fake_said("STATUS=0 "));
	run_driver(&r);
	cr_assert(vhost_fake_said("GET_CONFIG " NEGOTIATE UNMAP MAP "CONFIG_CALL " RING("0") GO));
	cr_expect_eq(vhost_fake.memory, 5 * MIB);
	rig_fini(&r);
}

Test(vdpa, suspends_and_goes_on_where_it_stood)
{
	struct rig r;

	device(DEVICE, V2 | SUSPEND | PERSIST);
	rig_init(&r, &guest_mmio);
	vhost_fake_forget();
	run_driver(&r);
	cr_assert(vhost_fake_said(START("0")));
	vhost_fake.moved = 7;
	guest_rig_pause(&r.r);
	cr_assert(vhost_fake_said("SUSPEND GET_BASE:0 STATUS=0 "));
	guest_rig_resume(&r.r);
	cr_assert(vhost_fake_said(NEGOTIATE "CONFIG_CALL " RING("7") GO));
	rig_fini(&r);
}

/* One that cannot be suspended: the used ring's index, after the disk had time to complete. */
Test(vdpa, the_used_ring_says_where_it_stood)
{
	uint16_t *avail, *used;
	struct rig r;

	device(DEVICE, V2 | PERSIST);
	rig_init(&r, &guest_mmio);
	cr_expect_not(r.r.g.t->features(&r.r.g) & VIRTIO_BIT_RING_PACKED);
	vhost_fake_forget();
	run_driver(&r);
	cr_assert(vhost_fake_said(START("0")));
	avail = guest_ptr(&r.r.g, r.r.g.q[0].avail, 4);
	used = guest_ptr(&r.r.g, r.r.g.q[0].used, 4);
	__atomic_store_n(avail + 1, 5, __ATOMIC_RELEASE);
	r.r.device->ops->pause(r.r.device);
	usleep(20000);
	cr_expect_not(r.r.device->ops->paused(r.r.device));
	__atomic_store_n(used + 1, 5, __ATOMIC_RELEASE);
	guest_rig_pause(&r.r);
	cr_assert(vhost_fake_said("STATUS=0 "));
	guest_rig_resume(&r.r);
	cr_assert(vhost_fake_said(NEGOTIATE "CONFIG_CALL " RING("5") GO));
	rig_fini(&r);
}

Test(vdpa, packed_rings_of_one_that_can_be_suspended)
{
	struct rig r;

	device(DEVICE | VIRTIO_BIT_RING_PACKED, V2 | SUSPEND | PERSIST);
	rig_init(&r, &guest_pci_msix);
	vhost_fake_forget();
	run_driver(&r);
	cr_assert(vhost_fake_said(START("80008000")));
	vhost_fake.moved = 0x80050007;
	guest_rig_pause(&r.r);
	cr_assert(vhost_fake_said("SUSPEND GET_BASE:0 STATUS=0 "));
	guest_rig_resume(&r.r);
	cr_assert(vhost_fake_said(NEGOTIATE "CONFIG_CALL " RING("58007") GO));
	rig_fini(&r);
}

/* All queues are made ready, then the device is told once. */
Test(vdpa, many_queues_one_driver_ok)
{
	struct rig r;

	device(DEVICE, V2 | PERSIST);
	vhost_fake.queues = 4;
	rig_init(&r, &guest_pci_msix);
	for (unsigned n = 0; n < 20; n++) {
		r.r.g.heap = r.heap;
		guest_negotiate(&r.r.g, UINT64_MAX);
		for (unsigned i = 0; i < 4; i++)
			guest_queue_init(&r.r.g, i, 16);
		vhost_fake_forget();
		guest_driver_ok(&r.r.g);
		cr_assert(vhost_fake_said(NEGOTIATE "CONFIG_CALL " RING(
			"0") "NUM:1=16 BASE:1=0 ADDR:1 CALL:1 KICK:1 ENABLE:1=1 "
			     "NUM:2=16 BASE:2=0 ADDR:2 CALL:2 KICK:2 ENABLE:2=1 "
			     "NUM:3=16 BASE:3=0 ADDR:3 CALL:3 KICK:3 ENABLE:3=1 " GO));
		cr_assert(guest_reset(&r.r.g));
	}
	rig_fini(&r);
}

Test(vdpa, config_changes_reach_the_driver)
{
	struct rig r;
	uint64_t end = ev_now_ns() + GUEST_WAIT_NS;

	device(DEVICE, V2 | PERSIST);
	rig_init(&r, &guest_mmio);
	run_driver(&r);
	cr_assert(becomes(&vhost_fake.status, 15));
	set(&vhost_fake.config[0], 1);
	eventfd_write(vhost_fake.config_call, 1);
	while (r.r.g.t->config(&r.r.g, 0, 4) != 2049 && ev_now_ns() < end)
		guest_sleep_little();
	cr_expect_eq(r.r.g.t->config(&r.r.g, 0, 4), 2049u);
	while (!(fake_read(&r.r.f, r.r.g.base + 0x60, 4) & 2) && ev_now_ns() < end)
		guest_sleep_little();
	cr_expect_eq(fake_read(&r.r.f, r.r.g.base + 0xfc, 4), 1u); /* generation */
	/* And what the driver writes reaches the device. */
	fake_write(&r.r.f, r.r.g.base + 0x100 + 32, 1, 1);
	cr_expect(becomes(&vhost_fake.config[32], 1));
	/* It asks for a reset. */
	set(&vhost_fake.status, 15 | 64);
	eventfd_write(vhost_fake.config_call, 1);
	cr_expect(guest_wait_status(&r.r.g, 64));
	rig_fini(&r);
}

Test(vdpa, each_call_may_fail)
{
	static const char *const names[] = {"VHOST_VDPA_SET_STATUS", "VHOST_SET_FEATURES",
		"VHOST_VDPA_SET_STATUS", "VHOST_VDPA_GET_STATUS", "VHOST_VDPA_SET_CONFIG_CALL",
		"VHOST_SET_VRING_NUM", "VHOST_SET_VRING_BASE", "VHOST_SET_VRING_ADDR",
		"VHOST_SET_VRING_CALL", "VHOST_SET_VRING_KICK", "VHOST_VDPA_SET_VRING_ENABLE",
		"VHOST_VDPA_SET_STATUS"};

	for (unsigned i = 0; i <= ARRAY_SIZE(names); i++) {
		bool refused = i == ARRAY_SIZE(names);
		const char *name = refused ? "FEATURES_OK refused" : names[i];
		struct rig r;

		device(DEVICE, V2 | PERSIST);
		rig_init(&r, transports[i % 3]);
		cr_assert_eq(guest_negotiate(&r.r.g, UINT64_MAX), 11);
		guest_queue_init(&r.r.g, 0, 16);
		vhost_fake.fail_at = refused ? 0 : i + 1;
		vhost_fake.refuse_features = refused;
		guest_driver_ok(&r.r.g);
		cr_expect(guest_wait_status(&r.r.g, 64), "%s", name);
		cr_expect(logged(&r.r.f, name), "%s", name);
		cr_expect(becomes(&vhost_fake.status, 0));
		cr_expect(guest_reset(&r.r.g));
		vhost_fake.refuse_features = false;
		vhost_fake_forget();
		run_driver(&r);
		cr_expect(vhost_fake_said(START("0")), "%s", name);
		rig_fini(&r);
	}
}

static int try_new(uint64_t backend_features, int fail_at, bool shared, const char *says)
{
	struct fake_host f;
	struct virtio_dev *dev;
	struct vdpa *v = open_it();
	int r;

	cr_assert_eq(fake_host_init(&f, 2 * MIB, true), 0);
	memory(&f, shared);
	vhost_fake.fail_at = fail_at;
	r = vdpa_proxy_new(&f.host, "_vdpa0", v, &dev);
	vhost_fake.fail_at = 0;
	cr_expect(logged(&f, says), "%s", says);
	cr_expect_eq(f.mem.pinned, r ? 0u : 1u);
	if (r == 0)
		virtio_dev_free(dev);
	cr_expect_eq(f.mem.pinned, 0u);
	cr_expect_eq(vhost_fake.memory, 0u);
	vdpa_close(v);
	close(f.log.fd);
	f.log.fd = -1;
	fake_host_fini(&f);
	return r;
}

Test(vdpa, memory_that_cannot_be_mapped)
{
	device(DEVICE, V2 | BATCH);
	cr_expect_eq(try_new(0, 0, true, ""), 0);
	cr_expect_eq(try_new(0, 0, false, ""), -ENOTSUP);
	vhost_fake.error = -ENOMEM;
	cr_expect_eq(try_new(0, 1, true, "VHOST_IOTLB_BATCH_BEGIN"), -ENOMEM);
	cr_expect_eq(try_new(0, 2, true, "VHOST_IOTLB_UPDATE"), -ENOMEM);
	cr_expect_eq(try_new(0, 3, true, "VHOST_IOTLB_UPDATE"), -ENOMEM);
	cr_expect_eq(try_new(0, 4, true, "VHOST_IOTLB_BATCH_END"), -ENOMEM);
	vhost_fake.iova_last = GIB + MIB - 2;
	cr_expect_eq(try_new(0, 0, true, "VHOST_VDPA_GET_IOVA_RANGE"), -ERANGE);
	vhost_fake.iova_last++;
	cr_expect_eq(try_new(0, 0, true, ""), 0);
	vhost_fake.iova_first = 1;
	cr_expect_eq(try_new(0, 0, true, "VHOST_VDPA_GET_IOVA_RANGE"), -ERANGE);
}

static int try_open(int fail_at, int error, const char *says)
{
	const struct vdpa_opts o = {
		.path = "/dev/vhost-vdpa-0", .fd = -1, .flag = "--vdpa", .id = "_vdpa0"};
	struct err e = {0};
	struct vdpa *v = NULL;
	int r;

	vhost_fake.fail_at = fail_at;
	vhost_fake.error = error;
	r = vdpa_open(&o, &v, &e);
	cr_expect(strstr(e.text, says), "%s", e.text);
	vdpa_close(v);
	return r;
}

Test(vdpa, what_is_missing_is_named)
{
	device(DEVICE, V2);
	vhost_fake.open_error = -ENOENT;
	cr_expect_eq(try_open(0, 0, "modprobe vhost_vdpa"), -ENOENT);
	vhost_fake.open_error = -EACCES;
	cr_expect_eq(try_open(0, 0, "no permission"), -EACCES);
	vhost_fake.open_error = -EBUSY;
	cr_expect_eq(try_open(0, 0, "used by another process"), -EBUSY);
	vhost_fake.open_error = 0;
	cr_expect_eq(try_open(1, -ENOTTY, "no vhost device"), -ENOTTY);
	cr_expect_eq(try_open(2, -ENOTTY, "no vhost-vdpa device"), -ENOTTY);
	for (int i = 2; i <= 9; i++)
		cr_expect_eq(try_open(i, -EIO, "/dev/vhost-vdpa-0: VHOST_"), -EIO);
	vhost_fake.queues = 18;
	cr_expect_eq(try_open(0, 0, "18 queues"), -ENOTSUP);
	vhost_fake.queues = 1;
	vhost_fake.features = 0;
	cr_expect_eq(try_open(0, 0, "VIRTIO_F_VERSION_1"), -ENOTSUP);
	vhost_fake.features = DEVICE;
	vhost_fake.backend_features = 0;
	cr_expect_eq(try_open(0, 0, "IOTLB_MSG_V2"), -ENOTSUP);
	vhost_fake.backend_features = V2;
	cr_expect_eq(try_open(0, 0, ""), 0);
}
