/* SPDX-License-Identifier: Apache-2.0 */
/* Pausing a device whose driver is busy: while it is paused nothing in guest memory changes,
 * whatever arrives from outside; when it goes on, nothing was lost and nothing comes twice. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "devices/backend/block.h"
#include "devices/backend/chr.h"
#include "devices/backend/netdev.h"
#include "devices/testing/guest_driver.h"
#include "devices/virtio/devs.h"
#include "vmm/base/num.h"

#define RAM   (4 * MIB)
#define BATCH 20 /* requests of three descriptors in a ring of 64 */

static const struct guest_transport *const transports[] = {
	&guest_mmio, &guest_pci_msix, &guest_pci_intx};

TestSuite(pause, .timeout = 120);

/* Guest memory must be the same at the end of `meanwhile` as at its start. */
static void expect_still(struct guest_rig *r, void (*meanwhile)(void *arg), void *arg)
{
	uint8_t *ram = guest_mem_ptr(&r->f.mem, 0, RAM), *copy = malloc(RAM);

	cr_assert(copy);
	memcpy(copy, ram, RAM);
	meanwhile(arg);
	cr_expect_eq(memcmp(copy, ram, RAM), 0);
	free(copy);
}

static void just_wait(void *arg)
{
	usleep(2000);
}

struct disk {
	struct guest_rig r;
	struct block *block;
	char path[64];
	uint64_t hdr, status, data;
	uint64_t sector; /* the next to write */
	uint64_t heap;
};

static void disk_run(struct disk *d, uint64_t features)
{
	struct guest_driver *g = &d->r.g;

	cr_assert_eq(guest_negotiate(g, features) & 8, 8);
	g->heap = d->heap;
	memset(guest_ptr(g, g->heap, 64 * KIB), 0, 64 * KIB);
	guest_queue_init(g, 0, GUEST_RING);
	guest_driver_ok(g);
	d->hdr = guest_alloc(g, BATCH * 16, 16);
	d->status = guest_alloc(g, BATCH, 1);
	d->data = guest_alloc(g, BATCH * 512, 512);
}

static void disk_start(struct disk *d, const struct guest_transport *t, uint64_t features)
{
	struct block_opts o = {.path = d->path, .fd = -1, .flag = "--disk", .id = "_disk0"};
	struct virtio_blk_opts v = {.poll = 20};
	struct virtio_dev *dev;
	int fd;

	*d = (struct disk){.path = "/tmp/polyvisor-pause-XXXXXX"};
	fd = mkstemp(d->path);
	cr_assert(fd >= 0 && ftruncate(fd, 8 * MIB) == 0);
	close(fd);
	cr_assert_eq(block_open(&o, &d->block, NULL), 0);
	guest_rig_init(&d->r, RAM);
	cr_assert_eq(virtio_blk_new(&d->r.f.host, "_disk0", d->block, &v, &dev), 0);
	guest_rig_attach(&d->r, t, dev);
	d->heap = d->r.g.heap;
	disk_run(d, features);
}

static void disk_stop(struct disk *d)
{
	guest_rig_fini(&d->r);
	block_free(d->block);
	unlink(d->path);
}

/* Each sector gets its own number. */
static void write_batch(struct disk *d)
{
	struct guest_driver *g = &d->r.g;

	for (unsigned i = 0; i < BATCH; i++, d->sector++) {
		struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_OUT, .sector = d->sector};
		struct guest_buf b[] = {{d->hdr + 16 * i, 16, false},
			{d->data + 512 * i, 512, false}, {d->status + i, 1, true}};

		memcpy(guest_ptr(g, b[0].gpa, 16), &h, 16);
		memcpy(guest_ptr(g, b[1].gpa, 8), &d->sector, 8);
		*(uint8_t *)guest_ptr(g, b[2].gpa, 1) = 0xff;
		guest_add(g, 0, b, 3);
		if (i == BATCH / 2)
			g->t->kick(g, 0);
	}
	g->t->kick(g, 0);
}

/* Each request of the batch is answered once. */
static void expect_batch(struct disk *d)
{
	struct guest_driver *g = &d->r.g;
	uint64_t seen = 0;

	for (unsigned i = 0; i < BATCH; i++) {
		uint32_t id = 64, len = 0;

		cr_assert(guest_wait_used(g, 0, &id, &len), "request %u of %u", i, BATCH);
		cr_assert_lt(id, 64u);
		cr_expect_not(seen & 1ull << id, "twice");
		seen |= 1ull << id;
	}
	for (unsigned i = 0; i < BATCH; i++)
		cr_expect_eq(*(uint8_t *)guest_ptr(g, d->status + i, 1), VIRTIO_BLK_S_OK);
	cr_expect_eq(guest_used_idx(g, 0), g->q[0].seen, "no answer too many");
}

static void expect_written(struct disk *d)
{
	int fd = open(d->path, O_RDONLY | O_CLOEXEC);
	uint64_t v;

	for (uint64_t s = 0; s < d->sector; s++) {
		cr_assert_eq(pread(fd, &v, 8, s * 512), 8);
		cr_assert_eq(v, s);
	}
	close(fd);
}

static void pause_busy_disk(const struct guest_transport *t, uint64_t features)
{
	struct disk d;

	disk_start(&d, t, features);
	for (int i = 0; i < 20; i++) {
		write_batch(&d);
		guest_rig_pause(&d.r);
		expect_still(&d.r, just_wait, NULL);
		guest_rig_resume(&d.r);
		expect_batch(&d);
	}
	expect_written(&d);
	disk_stop(&d);
}

Test(pause, busy_disk)
{
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++) {
		pause_busy_disk(transports[i], UINT64_MAX);
		pause_busy_disk(transports[i], ~VIRTIO_BIT_EVENT_IDX);
	}
}

Test(pause, a_thousand_times)
{
	struct disk d;

	disk_start(&d, &guest_pci_msix, UINT64_MAX);
	for (int i = 0; i < 1000; i++) {
		if (i % 5 == 0)
			write_batch(&d);
		guest_rig_pause(&d.r);
		guest_rig_resume(&d.r);
		if (i % 5 == 4)
			expect_batch(&d);
	}
	expect_written(&d);
	disk_stop(&d);
}

static void kick_it(void *arg)
{
	struct disk *d = arg;

	d->r.g.t->kick(&d->r.g, 0); /* written before the world stopped, seen late */
	usleep(20000);
}

/* A kick and an interrupt that are on their way when the world stops are not lost. */
Test(pause, kick_waits_and_interrupt_comes)
{
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++) {
		struct disk d;

		disk_start(&d, transports[i], ~VIRTIO_BIT_EVENT_IDX);
		write_batch(&d);
		expect_batch(&d);
		guest_rig_pause(&d.r);
		usleep(10000);
		d.r.g.t->interrupted(&d.r.g, 0);
		expect_still(&d.r, kick_it, &d);
		cr_expect_not(d.r.g.t->interrupted(&d.r.g, 0));
		guest_rig_resume(&d.r);
		cr_expect(guest_wait_interrupt(&d.r.g, 0), "%s", transports[i]->name);
		disk_stop(&d);
	}
}

static void save(struct guest_rig *r, struct visit_buf *buf)
{
	struct visitor *v;

	cr_assert_eq(visitor_new_save(buf, &v), 0);
	cr_expect_eq(r->device->ops->visit(r->device, v), 0, "%s", visit_error_path(v));
	visitor_free(v);
}

static int compare(struct guest_rig *r, const struct visit_buf *buf)
{
	struct visitor *v;
	int ret;

	cr_assert_eq(visitor_new_compare(buf->data, buf->len, &v), 0);
	ret = r->device->ops->visit(r->device, v);
	visitor_free(v);
	return ret;
}

static int load(struct guest_rig *r, const struct visit_buf *buf)
{
	struct visitor *v;
	int ret;

	cr_assert_eq(visitor_new_load(buf->data, buf->len, &v), 0);
	ret = r->device->ops->visit(r->device, v);
	visitor_free(v);
	return ret;
}

/* The state of a paused device is the whole of it: one that loads it goes on where it stood. */
Test(pause, state_is_true)
{
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++) {
		struct visit_buf first = {0}, later = {0};
		struct disk d;

		disk_start(&d, transports[i], UINT64_MAX);
		write_batch(&d);
		expect_batch(&d);
		guest_rig_pause(&d.r);
		save(&d.r, &first);
		guest_rig_resume(&d.r);
		write_batch(&d);
		expect_batch(&d);
		guest_rig_pause(&d.r);
		cr_expect_eq(compare(&d.r, &first), -ENOTUNIQ, "the ring has moved on");
		d.r.g.t->interrupted(&d.r.g, 0);
		save(&d.r, &later);
		d.r.device->ops->reset(d.r.device);
		cr_expect_eq(load(&d.r, &later), 0);
		cr_expect_eq(compare(&d.r, &later), 0);
		guest_rig_resume(&d.r);
		write_batch(&d);
		expect_batch(&d);
		expect_written(&d);
		visit_buf_fini(&first);
		visit_buf_fini(&later);
		disk_stop(&d);
	}
}

/* A driver's reset and the pause meet: whichever comes first, both end. */
Test(pause, meets_a_reset)
{
	for (unsigned i = 0; i < ARRAY_SIZE(transports); i++) {
		struct disk d;

		disk_start(&d, transports[i], UINT64_MAX);
		for (int k = 0; k < 50; k++) {
			write_batch(&d);
			d.r.g.t->set_status(&d.r.g, 0);
			guest_rig_pause(&d.r);
			cr_expect_eq(d.r.g.t->status(&d.r.g), 0);
			guest_rig_resume(&d.r);
			disk_run(&d, UINT64_MAX);
		}
		write_batch(&d);
		expect_batch(&d);
		disk_stop(&d);
	}
}

/* The machine is reset, or ends, while it is paused. */
Test(pause, then_power_on)
{
	struct disk d;

	disk_start(&d, &guest_pci_msix, UINT64_MAX);
	write_batch(&d);
	guest_rig_pause(&d.r);
	d.r.device->ops->reset(d.r.device);
	cr_expect(d.r.device->ops->paused(d.r.device), "still");
	write_batch(&d);
	d.r.device->ops->pause(d.r.device); /* free it while it stops */
	disk_stop(&d);
}

struct nic {
	struct guest_rig r;
	struct netdev *net;
	int wire;
	uint64_t buf;
	uint32_t next;
};

static void wire_send(struct nic *n)
{
	uint32_t msg[2] = {htonl(4), n->next++};

	cr_assert_eq(write(n->wire, msg, sizeof(msg)), (ssize_t)sizeof(msg));
}

static void frames_arrive(void *arg)
{
	for (int i = 0; i < 5; i++)
		wire_send(arg);
	usleep(10000);
}

static void nic_start(struct nic *n)
{
	struct virtio_net_opts o = {.mac = {0x52, 0x54, 0, 1, 2, 3}};
	struct virtio_dev *dev;
	int pair[2];

	*n = (struct nic){0};
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	n->wire = pair[0];
	guest_rig_init(&n->r, RAM);
	cr_assert_eq(netdev_stream_new(pair[1], &n->net), 0);
	cr_assert_eq(virtio_net_new(&n->r.f.host, "_net0", &n->net, &o, &dev), 0);
	guest_rig_attach(&n->r, &guest_mmio, dev);
	cr_assert_eq(guest_negotiate(&n->r.g, UINT64_MAX) & 8, 8);
	guest_queue_init(&n->r.g, 0, GUEST_RING);
	guest_queue_init(&n->r.g, 1, GUEST_RING);
	guest_driver_ok(&n->r.g);
	n->buf = guest_alloc(&n->r.g, GUEST_RING * 2048, 4096);
}

static void nic_stop(struct nic *n)
{
	guest_rig_fini(&n->r);
	netdev_free(n->net);
	close(n->wire);
}

/* Frames wait outside; buffers that were taken ahead go back to the ring and are used in order. */
Test(pause, frames_wait)
{
	struct nic n;
	uint32_t want = 0;

	nic_start(&n);
	for (unsigned i = 0; i < 16; i++) {
		struct guest_buf b = {n.buf + i * 2048, 2048, true};

		guest_add(&n.r.g, 0, &b, 1);
	}
	n.r.g.t->kick(&n.r.g, 0);
	for (int i = 0; i < 2; i++)
		wire_send(&n);
	guest_rig_pause(&n.r);
	expect_still(&n.r, frames_arrive, &n);
	guest_rig_resume(&n.r);
	for (; want < n.next; want++) {
		uint32_t id, got;

		cr_assert(guest_wait_used(&n.r.g, 0, &id, NULL));
		cr_expect_eq(id, want);
		memcpy(&got, guest_ptr(&n.r.g, n.buf + id * 2048 + 12, 4), 4);
		cr_expect_eq(got, want);
	}
	nic_stop(&n);
}

static void person_types(void *arg)
{
	cr_assert_eq(write(*(int *)arg, "typed", 5), 5);
	usleep(10000);
}

Test(pause, input_waits)
{
	struct virtio_dev *dev;
	struct guest_rig r;
	struct chr *chr;
	uint32_t len = 0;
	int user;

	guest_rig_init(&r, RAM);
	cr_assert_eq(chr_open(CHR_PTY, NULL, "--console", &chr, NULL), 0);
	user = open(chr_pty_path(chr), O_RDWR | O_NOCTTY | O_CLOEXEC);
	cr_assert_geq(user, 0);
	cr_assert_eq(virtio_console_new(&r.f.host, "_console", chr, &dev), 0);
	guest_rig_attach(&r, &guest_mmio, dev);
	cr_assert_eq(guest_negotiate(&r.g, UINT64_MAX) & 8, 8);
	guest_queue_init(&r.g, 0, GUEST_RING);
	guest_driver_ok(&r.g);
	struct guest_buf b = {guest_alloc(&r.g, 64, 64), 64, true};
	guest_add(&r.g, 0, &b, 1);
	r.g.t->kick(&r.g, 0);
	guest_rig_pause(&r);
	expect_still(&r, person_types, &user);
	guest_rig_resume(&r);
	cr_assert(guest_wait_used(&r.g, 0, NULL, &len));
	cr_expect_eq(len, 5u);
	cr_expect_eq(memcmp(guest_ptr(&r.g, b.gpa, 5), "typed", 5), 0);
	guest_rig_fini(&r);
	chr_free(chr);
	close(user);
}
