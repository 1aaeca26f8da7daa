/* SPDX-License-Identifier: Apache-2.0 */
/* polyvisor-offload killed under load, behind the proxy: no write that was completed is lost, none
 * is torn, none completes twice, and none is done again after its completion was seen. Each slot of
 * the load writes 4 KiB of its own over and over, one at a time, and each time it completes the
 * file must hold just what it wrote. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "devices/testing/guest_driver.h"
#include "offload/vu_proxy.h"
#include "vmm/base/num.h"

#define SLOTS 16
#define RING  64
#define PIECE 4096u
#define KILLS 12

TestSuite(vu_kill, .timeout = 120);

struct slot {
	uint64_t at;	  /* guest-physical: header, status, and data at +PIECE */
	uint64_t written; /* what its last request writes, over and over */
	uint64_t number;  /* of that request among all */
	bool busy;
};

struct load {
	char dir[40], socket[60], disk[60];
	pid_t pid;
	int file;
	struct guest_rig r;
	struct vu_peer *peer;
	uint64_t seed, submitted;
	struct slot slot[SLOTS];
	int slot_of[RING]; /* by id of the chain; -1: nothing is in flight there */
};

/* ---- the process ---- */

static void start(struct load *l)
{
	const char *program = getenv("POLYVISOR_OFFLOAD");
	char device[100], *argv[] = {(char *)"polyvisor-offload", (char *)"--device", device,
				  (char *)"--socket", l->socket, NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	cr_assert(program, "POLYVISOR_OFFLOAD names the program");
	snprintf(device, sizeof(device), "virtio-blk,path=%s", l->disk);
	l->pid = fork();
	cr_assert(null >= 0 && l->pid >= 0);
	if (l->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
		dup2(null, 1);
		dup2(null, 2);
		execv(program, argv);
		_exit(127);
	}
	close(null);
}

static void stop(struct load *l, int sig)
{
	kill(l->pid, sig);
	cr_assert_eq(waitpid(l->pid, NULL, 0), l->pid);
	unlink(l->socket);
}

static void wait_for_socket(const struct load *l)
{
	uint64_t end = ev_now_ns() + 10 * GUEST_WAIT_NS;

	while (access(l->socket, F_OK) < 0) {
		cr_assert(ev_now_ns() < end, "it does not listen");
		guest_sleep_little();
	}
}

/* ---- the machine ---- */

static void open_peer(struct load *l)
{
	struct err e = {0};
	struct vu_peer_opts o;
	int r = -1;

	vu_peer_opts_blk(&o);
	o.socket = l->socket;
	o.queue_size = RING;
	o.flag = "--disk";
	o.id = "_disk0";
	o.retry_ms = 20;
	/* a socket is there before somebody listens at it */
	for (unsigned i = 0; i < 1000 && r < 0; i++, guest_sleep_little())
		r = vu_peer_open(&o, &l->peer, &e);
	cr_assert_eq(r, 0, "%s", e.text);
}

static void machine(struct load *l, bool packed)
{
	struct mem_range ram = {0, 4 * MIB};
	struct mem_opts shared = {.shared = true, .numa_node = -1};
	struct virtio_dev *dev;

	guest_rig_init(&l->r, 4 * MIB);
	guest_mem_fini(&l->r.f.mem);
	cr_assert_eq(guest_mem_init(&l->r.f.mem, &ram, 1, &shared, NULL), 0);
	cr_assert_eq(vu_proxy_new(&l->r.f.host, "_disk0", l->peer, &dev), 0);
	dev->no_packed = !packed;
	guest_rig_attach(&l->r, &guest_pci_msix, dev);
	cr_assert_eq(guest_negotiate(&l->r.g, UINT64_MAX), 11);
	cr_assert_eq(!!(l->r.g.negotiated & VIRTIO_BIT_RING_PACKED), packed);
	guest_queue_init(&l->r.g, 0, RING);
	guest_driver_ok(&l->r.g);
	for (unsigned i = 0; i < RING; i++)
		l->slot_of[i] = -1;
	for (unsigned i = 0; i < SLOTS; i++)
		l->slot[i].at = guest_alloc(&l->r.g, 2 * PIECE, PIECE);
}

static void begin(struct load *l, bool packed)
{
	*l = (struct load){.dir = "/tmp/polyvisor-kill-XXXXXX", .seed = 88172645463325252ull};
	cr_assert(mkdtemp(l->dir));
	snprintf(l->socket, sizeof(l->socket), "%s/socket", l->dir);
	snprintf(l->disk, sizeof(l->disk), "%s/disk", l->dir);
	l->file = open(l->disk, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	cr_assert(l->file >= 0 && ftruncate(l->file, 1 * MIB) == 0);
	start(l);
	wait_for_socket(l);
	open_peer(l);
	machine(l, packed);
}

static void end(struct load *l)
{
	guest_driver_fini(&l->r.g);
	device_free(l->r.device);
	device_free(pci_root_device(l->r.root));
	vu_peer_close(l->peer);
	fake_host_fini(&l->r.f);
	stop(l, SIGTERM);
	close(l->file);
	unlink(l->disk);
	cr_expect_eq(rmdir(l->dir), 0);
}

/* ---- the load ---- */

static uint32_t chance(struct load *l, uint32_t below)
{
	l->seed ^= l->seed << 13;
	l->seed ^= l->seed >> 7;
	l->seed ^= l->seed << 17;
	return (uint32_t)(l->seed >> 32) % below;
}

/* The test's driver goes round its descriptors: none may be in flight for a whole round. */
static bool too_old(const struct load *l)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (l->slot[i].busy && l->submitted - l->slot[i].number >= RING - SLOTS)
			return true;
	return false;
}

static void submit(struct load *l, unsigned i)
{
	struct guest_driver *g = &l->r.g;
	struct slot *s = &l->slot[i];
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_OUT, .sector = i * (PIECE / 512)};
	struct guest_buf b[] = {
		{s->at, 16, false}, {s->at + PIECE, PIECE, false}, {s->at + 16, 1, true}};
	uint64_t *data = guest_ptr(g, s->at + PIECE, PIECE);
	uint16_t id;

	s->number = l->submitted++;
	s->written = s->number << 8 | i;
	s->busy = true;
	for (unsigned k = 0; k < PIECE / 8; k++)
		data[k] = s->written;
	memcpy(guest_ptr(g, s->at, 16), &h, 16);
	*(uint8_t *)guest_ptr(g, s->at + 16, 1) = 0xff;
	id = guest_add_indirect(g, 0, b, 3);
	cr_assert(id < RING && l->slot_of[id] < 0);
	l->slot_of[id] = (int)i;
}

/* The file holds what the slot wrote, all of it. */
static void check(struct load *l, unsigned i)
{
	uint64_t data[PIECE / 8];

	cr_assert_eq(pread(l->file, data, PIECE, i * PIECE), PIECE);
	for (unsigned k = 0; k < PIECE / 8; k++)
		cr_assert_eq(data[k], l->slot[i].written, "slot %u: %#lx at %u, not %#lx", i,
			(unsigned long)data[k], k, (unsigned long)l->slot[i].written);
}

static bool complete(struct load *l)
{
	uint32_t id;
	int i;

	if (!guest_take_used(&l->r.g, 0, &id, NULL))
		return false;
	i = id < RING ? l->slot_of[id] : -1;
	cr_assert_geq(i, 0, "chain %u completed without being in flight", id);
	l->slot_of[id] = -1;
	cr_assert_eq(*(uint8_t *)guest_ptr(&l->r.g, l->slot[i].at + 16, 1), 0, "an I/O error");
	check(l, (unsigned)i);
	l->slot[i].busy = false;
	return true;
}

/* Keeps every slot busy until n requests more have completed. */
static void run(struct load *l, unsigned n)
{
	uint64_t end = ev_now_ns() + 4 * GUEST_WAIT_NS;

	while (n) {
		bool did = false;

		for (unsigned i = 0; i < SLOTS; i++) {
			if (l->slot[i].busy || too_old(l))
				continue;
			submit(l, i);
			did = true;
		}
		if (did)
			l->r.g.t->kick(&l->r.g, 0);
		for (; n && complete(l); n--)
			did = true;
		if (!did)
			guest_sleep_little();
		cr_assert(ev_now_ns() < end, "%u requests do not complete", n);
	}
}

static void drain(struct load *l)
{
	uint64_t end = ev_now_ns() + 4 * GUEST_WAIT_NS;

	for (unsigned i = 0; i < SLOTS; i++)
		while (l->slot[i].busy) {
			if (!complete(l))
				guest_sleep_little();
			cr_assert(ev_now_ns() < end, "slot %u does not complete", i);
		}
	for (unsigned i = 0; i < SLOTS; i++)
		check(l, i);
	cr_expect(!complete(l), "something completed twice");
}

static void kill_under_load(bool packed)
{
	static struct load l;

	begin(&l, packed);
	for (unsigned k = 0; k < KILLS; k++) {
		run(&l, 50 + chance(&l, 400));
		stop(&l, SIGKILL);
		/* a driver may pause or begin anew meanwhile */
		if (k % 4 == 2) {
			guest_rig_pause(&l.r);
			guest_rig_resume(&l.r);
		}
		start(&l);
	}
	run(&l, 200);
	drain(&l);
	cr_expect_geq(guest_rig_counter(&l.r, "reconnects"), KILLS - 1);
	end(&l);
}

Test(vu_kill, split)
{
	kill_under_load(false);
}

Test(vu_kill, packed)
{
	kill_under_load(true);
}
