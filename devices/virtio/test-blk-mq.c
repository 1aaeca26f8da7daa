/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-blk with several queues, with workers that poll, and with a disk that changes its size;
 * on both register transports. */
#include <criterion/criterion.h>
#include <linux/virtio_blk.h>
#include <string.h>
#include <unistd.h>
#include "devices/backend/block.h"
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "devices/virtio/stats.h"
#include "vmm/base/num.h"

#define DISK_BYTES (1 * MIB)
#define RING	   64
#define BLOCK	   4096

static const struct guest_transport *const transports[] = {&guest_pci_msix, &guest_mmio};

static struct guest_rig rig;
static struct guest_driver *g;
static struct virtio_dev *dev;
static struct block *block;
static char path[64];
static bool no_file;
static uint64_t hdr, status, data; /* each queue has a part of these */

TestSuite(blk_mq, .timeout = 60);

static void start(uint64_t features, unsigned queues)
{
	cr_assert_eq(guest_negotiate(g, features) & 8, 8);
	for (unsigned i = 0; i < queues; i++)
		guest_queue_init(g, i, RING);
	guest_driver_ok(g);
}

static void make(const struct guest_transport *t, const struct virtio_blk_opts *o,
	uint64_t features, unsigned queues)
{
	struct block_opts b = {.path = path, .fd = -1, .flag = "--disk", .id = "_disk0"};
	int fd;

	strcpy(path, "/tmp/polyvisor-blk-mq-XXXXXX");
	fd = mkstemp(path);
	cr_assert(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	close(fd);
	guest_rig_init(&rig, 8 * MIB);
	if (no_file)
		cr_assert_eq(block_null_new(DISK_BYTES, false, &block), 0);
	else
		cr_assert_eq(block_open(&b, &block, NULL), 0);
	cr_assert_eq(virtio_blk_new(&rig.f.host, "_disk0", block, o, &dev), 0);
	guest_rig_attach(&rig, t, dev);
	g = &rig.g;
	start(features, queues);
	hdr = guest_alloc(g, GUEST_QUEUES * 64, 64);
	status = guest_alloc(g, GUEST_QUEUES, 1);
	data = guest_alloc(g, GUEST_QUEUES * BLOCK, BLOCK);
}

static void unmake(void)
{
	guest_rig_fini(&rig);
	block_free(block);
	unlink(path);
}

static uint8_t *data_of(unsigned q)
{
	return guest_ptr(g, data + q * BLOCK, BLOCK);
}

static void add(unsigned q, uint32_t type, uint64_t sector, uint32_t len)
{
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};
	struct guest_buf b[3] = {{hdr + 64 * q, sizeof(h), false},
		{data + q * BLOCK, len, type == VIRTIO_BLK_T_IN}, {status + q, 1, true}};

	if (!len)
		b[1] = b[2];
	memcpy(guest_ptr(g, b[0].gpa, sizeof(h)), &h, sizeof(h));
	*(uint8_t *)guest_ptr(g, status + q, 1) = 0xff;
	guest_add(g, q, b, len ? 3 : 2);
}

static int finish(unsigned q)
{
	cr_assert(guest_wait_used(g, q, NULL, NULL));
	return *(uint8_t *)guest_ptr(g, status + q, 1);
}

static int request(unsigned q, uint32_t type, uint64_t sector, uint32_t len)
{
	add(q, type, sector, len);
	g->t->kick(g, q);
	return finish(q);
}

static const struct queue_stats *stats(unsigned q)
{
	return dev->ops->stats(dev, q);
}

/* ---- several queues ---- */

static void each_queue_has_its_own(const struct guest_transport *t)
{
	make(t, &(struct virtio_blk_opts){.queues = 4}, UINT64_MAX, 4);
	cr_expect(g->negotiated & 1ull << VIRTIO_BLK_F_MQ);
	cr_expect_eq(t->config(g, offsetof(struct virtio_blk_config, num_queues), 2), 4u);
	for (int round = 0; round < 50; round++) {
		for (unsigned q = 0; q < 4; q++) {
			memset(data_of(q), 16 * round + q, BLOCK);
			add(q, VIRTIO_BLK_T_OUT, 8 * q, BLOCK);
			t->kick(g, q);
		}
		for (unsigned q = 0; q < 4; q++)
			cr_assert_eq(finish(q), VIRTIO_BLK_S_OK);
		cr_assert_eq(request(round % 4, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
		for (unsigned q = 0; q < 4; q++) { /* what another has written */
			unsigned other = (q + 1) % 4;

			cr_assert_eq(request(q, VIRTIO_BLK_T_IN, 8 * other, BLOCK), 0);
			cr_assert_eq(data_of(q)[BLOCK - 1], (uint8_t)(16 * round + other));
		}
	}
	for (unsigned q = 0; q < 4; q++) {
		const struct queue_stats *s = stats(q);

		cr_expect_eq(count_get(&s->writes), 50u);
		cr_expect_eq(count_get(&s->reads), 50u);
		cr_expect_eq(count_get(&s->written_bytes), 50u * BLOCK);
		cr_expect_eq(count_get(&s->read_bytes), 50u * BLOCK);
		cr_expect_eq(count_get(&s->in_flight), 0u);
		cr_expect_eq(count_get(&s->errors), 0u);
		cr_expect_eq(histogram_count(&s->latency), count_get(&s->requests));
		cr_expect_gt(count_get(&s->kicks), 0u);
		cr_expect_leq(count_get(&s->interrupts), count_get(&s->requests));
		cr_expect_gt(dev->ops->cpu_ns(dev, q), 0u);
	}
	cr_expect_eq(guest_rig_counter(&rig, "write_ops"), 200u);
	cr_expect_eq(guest_rig_counter(&rig, "flush_ops"), 50u);
	unmake();
}

Test(blk_mq, each_queue_has_its_own)
{
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++)
		each_queue_has_its_own(transports[i]);
}

/* A driver that knows one queue only, as firmware does. */
Test(blk_mq, one_of_several)
{
	make(&guest_pci_msix, &(struct virtio_blk_opts){.queues = 16}, ~(1ull << VIRTIO_BLK_F_MQ),
		1);
	cr_expect_eq(request(0, VIRTIO_BLK_T_IN, 0, BLOCK), VIRTIO_BLK_S_OK);
	cr_expect_eq(dev->ops->cpu_ns(dev, 15), 0u, "no worker before the first start");
	cr_assert(guest_reset(g));
	start(UINT64_MAX, 4);
	for (unsigned q = 0; q < 4; q++)
		cr_expect_eq(request(q, VIRTIO_BLK_T_IN, 0, BLOCK), VIRTIO_BLK_S_OK);
	unmake();
}

Test(blk_mq, one_is_not_many)
{
	make(&guest_pci_msix, &(struct virtio_blk_opts){0}, UINT64_MAX, 1);
	cr_expect_not(g->negotiated & 1ull << VIRTIO_BLK_F_MQ);
	cr_expect_not(g->negotiated & VIRTIO_BIT_IN_ORDER);
	unmake();
}

Test(blk_mq, too_many)
{
	struct virtio_blk_opts o = {.queues = VIRTIO_QUEUES};

	guest_rig_init(&rig, 1 * MIB);
	cr_assert_eq(block_null_new(DISK_BYTES, false, &block), 0);
	cr_expect_lt(virtio_blk_new(&rig.f.host, "_disk0", block, &o, &dev), 0);
	block_free(block);
	fake_host_fini(&rig.f);
}

/* Resets while all queues are busy. No io_uring here: one worker's may lie where another's lay just
 * before, which ThreadSanitizer, not seeing liburing's munmap(), takes for a race. */
Test(blk_mq, resets)
{
	no_file = true;
	make(&guest_mmio, &(struct virtio_blk_opts){.queues = 4, .poll = 20}, UINT64_MAX, 4);
	for (int round = 0; round < 20; round++) {
		for (unsigned q = 0; q < 4; q++) {
			add(q, VIRTIO_BLK_T_IN, 8 * q, BLOCK);
			g->t->kick(g, q);
		}
		cr_assert(guest_reset(g));
		start(UINT64_MAX, 4);
	}
	for (unsigned q = 0; q < 4; q++)
		cr_expect_eq(request(q, VIRTIO_BLK_T_IN, 0, BLOCK), VIRTIO_BLK_S_OK);
	unmake();
}

/* ---- polling ---- */

/* §2.7.10, §2.8.10: does the device want to be told of what was added to queue 0 since `old`? */
static bool kick_is_wanted(uint16_t old)
{
	struct guest_queue *q = &g->q[0];

	__sync_synchronize();
	if (q->packed) {
		uint32_t *event = guest_ptr(g, q->used, 4);

		return __atomic_load_n(event, __ATOMIC_RELAXED) >> 16 == 0;
	}
	if (g->negotiated & VIRTIO_BIT_EVENT_IDX) {
		uint16_t *event = guest_ptr(g, q->used + 4 + 8 * q->size, 2);
		uint16_t at = __atomic_load_n(event, __ATOMIC_RELAXED);

		return (uint16_t)(q->avail_idx - at - 1) < (uint16_t)(q->avail_idx - old);
	}
	return !__atomic_load_n((uint16_t *)guest_ptr(g, q->used, 2), __ATOMIC_RELAXED);
}

/* Without sleeping, if it comes at once: then the worker is about to fall asleep. */
static void finish_fast(void)
{
	for (int i = 0; i < 3000; i++)
		if (guest_take_used(g, 0, NULL, NULL))
			return;
	cr_assert(guest_wait_used(g, 0, NULL, NULL));
}

/* Single requests as fast as they come back, kicked only when that is asked for: the worker falls
 * asleep now and then, and a wake-up that is lost stalls the disk. */
static void polite_driver(uint64_t features, unsigned percent)
{
	make(&guest_pci_msix, &(struct virtio_blk_opts){.poll = percent}, features, 1);
	for (int i = 0; i < 5000; i++) {
		uint16_t old = g->q[0].avail_idx;

		add(0, VIRTIO_BLK_T_IN, 0, 512);
		if (kick_is_wanted(old))
			g->t->kick(g, 0);
		finish_fast();
		if (i % 512 == 0)
			usleep(200);
	}
	cr_expect_eq(count_get(&stats(0)->requests), 5000u);
	cr_expect_eq(count_get(&stats(0)->reads), 5000u);
	cr_expect(percent || !count_get(&stats(0)->poll_ns));
	unmake();
}

Test(blk_mq, no_wake_up_is_lost)
{
	const unsigned percents[] = {0, 3, 100};

	for (unsigned i = 0; i < ARRAY_SIZE(percents); i++) {
		polite_driver(~VIRTIO_BIT_EVENT_IDX, percents[i]);
		polite_driver(~VIRTIO_BIT_RING_PACKED, percents[i]);
	}
}

/* However much it may poll, a worker without work sleeps. */
Test(blk_mq, an_idle_disk_costs_nothing)
{
	uint64_t before = UINT64_MAX;
	int i;

	make(&guest_pci_msix, &(struct virtio_blk_opts){.poll = 100}, UINT64_MAX, 1);
	for (i = 0; i < 200; i++)
		cr_assert_eq(request(0, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	for (i = 0; i < 250 && count_get(&stats(0)->poll_ns) != before; i++) {
		before = count_get(&stats(0)->poll_ns);
		usleep(20000);
	}
	cr_expect_lt(i, 250, "it polls for ever");
	unmake();
}

/* ---- another size ---- */

static bool has_capacity(void *arg)
{
	return g->t->config(g, 0, 4) == *(uint32_t *)arg;
}

static void resize(uint64_t size)
{
	uint32_t sectors = size / 512;

	cr_assert_eq(block_resize(block, size), 0);
	virtio_blk_resize(dev, size);
	cr_expect(has_capacity(&sectors));
}

/* Control calls virtio_blk_resize(): the test is control here, as the driver's pump is not at it.
 */
static void sizes(const struct guest_transport *t)
{
	uint64_t end = DISK_BYTES / 512;

	make(t, &(struct virtio_blk_opts){.queues = 2}, UINT64_MAX, 2);
	cr_expect_eq(request(0, VIRTIO_BLK_T_OUT, end, 512), VIRTIO_BLK_S_IOERR);
	resize(2 * DISK_BYTES);
	for (unsigned q = 0; q < 2; q++) {
		cr_expect_eq(request(q, VIRTIO_BLK_T_OUT, end, 512), VIRTIO_BLK_S_OK);
		cr_expect_eq(request(q, VIRTIO_BLK_T_IN, 2 * end - 1, 512), VIRTIO_BLK_S_OK);
		cr_expect_eq(request(q, VIRTIO_BLK_T_IN, 2 * end, 512), VIRTIO_BLK_S_IOERR);
	}
	resize(DISK_BYTES / 2);
	for (unsigned q = 0; q < 2; q++) {
		cr_expect_eq(request(q, VIRTIO_BLK_T_OUT, end / 2, 512), VIRTIO_BLK_S_IOERR);
		cr_expect_eq(request(q, VIRTIO_BLK_T_IN, end / 2 - 1, 1024), VIRTIO_BLK_S_IOERR);
		cr_expect_eq(request(q, VIRTIO_BLK_T_IN, end / 2 - 1, 512), VIRTIO_BLK_S_OK);
	}
	cr_expect_eq(count_get(&stats(0)->errors), 4u);
	cr_expect_eq(count_get(&stats(1)->errors), 3u);
	unmake();
}

Test(blk_mq, sizes)
{
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++)
		sizes(transports[i]);
}
