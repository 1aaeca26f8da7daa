/* SPDX-License-Identifier: Apache-2.0 */
/* A driver whose disk is served by polyvisor-offload, and that kills it: SIGKILL at moments drawn
 * from a seed, a successor, and never an excuse for what was completed. For tools/soak
 * offload-kill.
 *
 *   offload-kill-front DIR PROGRAM packed|split inflight|order QUEUES [FLAG...]
 *
 * reads a line "kill SEED" from stdin for each step, and answers "ok COUNTS" or "failed WHY". A
 * step is: load, a kill (some while it is starting: then there are two), a look at the disk while
 * nobody serves it, a successor, and progress. Every eighth, and at the end of stdin, what is in
 * flight is waited for, and then every byte of the disk must be as the completions said.
 *
 * At most one request is in flight for a block, as no file system does otherwise. When a write's
 * completion is visible, its buffer is poisoned at once: done again, it would put poison on the
 * disk. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "offload/kill_link.h"
#include "offload/kill_model.h"
#include "offload/kill_ring.h"
#include "vmm/base/num.h"

#define SLOTS	    64 /* requests, all queues together */
#define SLOT_BLOCKS 8
#define SLOT_BYTES  (SLOT_BLOCKS * KILL_BLOCK + 4096)
#define AT_RINGS    0x10000
#define AT_SLOTS    (AT_RINGS + KILL_QUEUES * KILL_RING_BYTES)
#define MEM	    (AT_SLOTS + SLOTS * SLOT_BYTES)
#define STALL_S	    60

struct slot {
	bool used;
	uint32_t type, block, n; /* n: blocks */
	uint64_t write;
};

struct front {
	struct kill_link link;
	struct kill_model model;
	struct kill_ring ring[KILL_QUEUES];
	struct slot slot[SLOTS];
	int by_id[KILL_QUEUES][KILL_RING]; /* slot, or -1 */
	uint8_t *mem;
	int disk;
	uint64_t rng, writes, completed, kills, in_flight_at_kill, interrupts;
	unsigned in_flight, depth, steps;
	char why[240];

	/* The killer thread's. */
	pthread_t killer;
	uint64_t delay_us;
};

static int failed(struct front *f, const char *why)
{
	snprintf(f->why, sizeof(f->why), "%s", why);
	return -1;
}

/* splitmix64 */
static uint64_t draw(struct front *f, uint64_t below)
{
	uint64_t x = f->rng += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return (x ^ x >> 31) % below;
}

/* ---- requests ---- */

static uint64_t slot_gpa(unsigned s)
{
	return AT_SLOTS + (uint64_t)s * SLOT_BYTES;
}

/* Where in a slot, after its blocks. */
#define HEADER (SLOT_BLOCKS * KILL_BLOCK)
#define STATUS (HEADER + 16)
#define TABLE  (HEADER + 64)

static bool choose(struct front *f, struct slot *t)
{
	t->n = 1 + draw(f, SLOT_BLOCKS);
	t->block = draw(f, KILL_BLOCKS - t->n);
	t->type = draw(f, 4) ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
	if (!draw(f, 32)) {
		t->type = VIRTIO_BLK_T_FLUSH;
		t->n = 0;
	}
	for (unsigned i = 0; i < t->n; i++)
		if (f->model.busy[t->block + i])
			return false;
	return true;
}

/* Header, data in one to four pieces, status. */
static unsigned describe(struct front *f, const struct slot *t, unsigned s, struct kill_buf b[8])
{
	uint64_t gpa = slot_gpa(s);
	uint32_t len = t->n * KILL_BLOCK, at = 0;
	unsigned n = 0, pieces = 1 + draw(f, 4);

	b[n++] = (struct kill_buf){gpa + HEADER, 16, false};
	while (at < len) {
		uint32_t piece = 512 * (1 + draw(f, len / 512));

		piece = --pieces ? MIN(piece, len - at) : len - at;
		b[n++] = (struct kill_buf){gpa + at, piece, t->type == VIRTIO_BLK_T_IN};
		at += piece;
	}
	b[n++] = (struct kill_buf){gpa + STATUS, 1, true};
	return n;
}

static bool submit(struct front *f, unsigned s)
{
	struct slot *t = &f->slot[s], want = {.used = true};
	struct virtio_blk_outhdr *h = (void *)(f->mem + slot_gpa(s) + HEADER);
	unsigned q = draw(f, f->link.queues), n;
	struct kill_buf b[8];
	int id;

	if (!choose(f, &want))
		return false;
	want.write = want.type == VIRTIO_BLK_T_OUT ? f->writes + 1 : 0;
	*h = (struct virtio_blk_outhdr){.type = want.type, .sector = want.block * 8ull};
	f->mem[slot_gpa(s) + STATUS] = 0xff;
	for (unsigned i = 0; i < want.n && want.write; i++)
		kill_fill(f->mem + slot_gpa(s) + i * KILL_BLOCK, want.block + i, want.write);
	n = describe(f, &want, s, b);
	id = kill_ring_add(&f->ring[q], b, n, draw(f, 2) ? slot_gpa(s) + TABLE : 0);
	if (id < 0)
		return false;
	*t = want;
	f->by_id[q][id] = s;
	f->writes += !!want.write;
	f->in_flight++;
	for (unsigned i = 0; i < want.n; i++)
		f->model.busy[want.block + i] = true;
	return true;
}

static void fill(struct front *f)
{
	for (unsigned s = 0; s < SLOTS && f->in_flight < f->depth; s++)
		if (!f->slot[s].used)
			submit(f, s);
	for (unsigned q = 0; q < f->link.queues; q++)
		if (kill_ring_wants_kick(&f->ring[q]))
			eventfd_write(f->link.queue[q].kick, 1);
}

static int complete(struct front *f, unsigned s, uint32_t len)
{
	struct slot *t = &f->slot[s];
	uint8_t *p = f->mem + slot_gpa(s);
	uint32_t want = 1 + (t->type == VIRTIO_BLK_T_IN ? t->n * KILL_BLOCK : 0);

	if (p[STATUS] != VIRTIO_BLK_S_OK || len != want) {
		snprintf(f->why, sizeof(f->why),
			"a request of type %u: status %u, %u bytes written", t->type, p[STATUS],
			len);
		return -1;
	}
	for (unsigned i = 0; i < t->n; i++) {
		f->model.busy[t->block + i] = false;
		if (t->write)
			f->model.made_by[t->block + i] = t->write;
		else if (!kill_block_ok(&f->model, t->block + i, p + i * KILL_BLOCK))
			return failed(f, f->model.why);
	}
	memset(p, KILL_POISON, HEADER);
	t->used = false;
	f->in_flight--;
	f->completed++;
	return 0;
}

/* Takes all that is visible, or what is left of `limit`. Returns how many, or -1. */
static int take(struct front *f, uint64_t limit)
{
	uint64_t from = f->completed;

	for (unsigned q = 0; q < f->link.queues; q++) {
		uint32_t len;
		uint16_t id;
		int r;

		while (f->completed - from < limit &&
			(r = kill_ring_take(&f->ring[q], &id, &len)) != 0) {
			int s = r < 0 ? -1 : f->by_id[q][id];

			if (s < 0)
				return failed(f,
					"a completion of what is not in flight: completed twice");
			f->by_id[q][id] = -1;
			if (complete(f, s, len) < 0)
				return -1;
		}
	}
	return f->completed - from;
}

/* ---- the other process ---- */

static void *kill_later(void *arg)
{
	struct front *f = arg;

	usleep(f->delay_us);
	kill(f->link.pid, SIGKILL);
	return NULL;
}

static void killer_start(struct front *f, uint64_t delay_us)
{
	f->delay_us = delay_us;
	if (pthread_create(&f->killer, NULL, kill_later, f))
		abort();
}

static bool hung_up(struct front *f)
{
	struct pollfd p = {.fd = f->link.fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Nothing visible: waits for an interrupt, a hangup, or a moment. */
static int wait_a_little(struct front *f)
{
	struct pollfd p[KILL_QUEUES + 1];
	unsigned n = f->link.queues;
	eventfd_t v;

	for (unsigned q = 0; q < n; q++) {
		if (kill_ring_arm(&f->ring[q]))
			return 0;
		p[q] = (struct pollfd){.fd = f->link.queue[q].call, .events = POLLIN};
	}
	p[n] = (struct pollfd){.fd = f->link.fd, .events = POLLIN};
	if (poll(p, n + 1, STALL_S * 1000) == 0)
		return failed(f, "stalled: no completion, no interrupt");
	for (unsigned q = 0; q < n; q++)
		if (eventfd_read(f->link.queue[q].call, &v) == 0)
			f->interrupts++;
	return 0;
}

/* Load until so many are completed; FOREVER: until it hangs up. */
#define FOREVER UINT64_MAX
static int load(struct front *f, uint64_t completions)
{
	uint64_t until = completions == FOREVER ? FOREVER : f->completed + completions;

	while (f->completed < until) {
		int n;

		fill(f);
		n = take(f, until - f->completed);
		if (n < 0)
			return -1;
		if (n == 0 && hung_up(f))
			return until == FOREVER ? 0 : failed(f, "it hung up, and was not killed");
		if (n == 0 && wait_a_little(f) < 0)
			return -1;
	}
	return 0;
}

static int up(struct front *f)
{
	int r;

	/* Where it goes on: after all that was visible, and taken. */
	for (unsigned q = 0; q < f->link.queues; q++)
		f->link.queue[q].base = kill_ring_base(&f->ring[q]);
	r = kill_link_up(&f->link);
	return r < 0 && r != -EPIPE ? failed(f, f->link.why) : r;
}

/* It was killed, or will be at once. */
static int bury(struct front *f)
{
	if (kill_link_down(&f->link) < 0)
		return failed(f, f->link.why);
	f->kills++;
	if (take(f, UINT64_MAX) < 0)
		return -1;
	f->in_flight_at_kill += f->in_flight;
	return 0;
}

static int spawn(struct front *f)
{
	return kill_link_spawn(&f->link) < 0 ? failed(f, f->link.why) : 0;
}

/* A successor; it may be killed while it starts, and then there is another. */
static int succeed(struct front *f, bool killed_too)
{
	int r = spawn(f);

	if (r < 0)
		return r;
	if (killed_too) {
		killer_start(f, draw(f, 15000));
		r = up(f);
		if (r == 0)
			r = load(f, FOREVER);
		pthread_join(f->killer, NULL);
		if ((r < 0 && r != -EPIPE) || bury(f) < 0 || spawn(f) < 0)
			return -1;
	}
	return up(f) < 0 ? -1 : 0;
}

/* ---- steps ---- */

static int all_done(struct front *f)
{
	while (f->in_flight) {
		int n = take(f, UINT64_MAX);

		if (n < 0 || (n == 0 && wait_a_little(f) < 0))
			return -1;
	}
	return kill_disk_ok(&f->model, f->disk) ? 0 : failed(f, f->model.why);
}

static int step(struct front *f, uint64_t seed)
{
	unsigned how;
	int r;

	f->rng = seed;
	f->depth = 1 + draw(f, SLOTS);
	how = draw(f, 3);
	if (how == 0) { /* at a time */
		killer_start(f, draw(f, 8000));
		r = load(f, FOREVER);
		pthread_join(f->killer, NULL);
	} else { /* upon a completion */
		r = load(f, 1 + draw(f, 300));
		kill(f->link.pid, SIGKILL);
	}
	if (r < 0 || bury(f) < 0)
		return -1;
	if (!kill_disk_ok(&f->model, f->disk))
		return failed(f, f->model.why);
	fill(f); /* the driver does not know */
	if (succeed(f, draw(f, 4) == 0) < 0 || load(f, 1 + draw(f, 64)) < 0)
		return -1;
	return ++f->steps % 8 ? 0 : all_done(f);
}

static int open_all(struct front *f, const char *dir, char *disk, char *socket)
{
	snprintf(disk, 200, "%s/disk", dir);
	snprintf(socket, 100, "%s/socket", dir);
	f->disk = open(disk, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	f->link.memfd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (f->disk < 0 || f->link.memfd < 0 ||
		ftruncate(f->disk, (off_t)KILL_BLOCKS * KILL_BLOCK) < 0 ||
		ftruncate(f->link.memfd, MEM) < 0 ||
		fcntl(f->link.memfd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		return -errno;
	f->mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, f->link.memfd, 0);
	return f->mem == MAP_FAILED ? -errno : 0;
}

static void make_rings(struct front *f)
{
	for (unsigned q = 0; q < f->link.queues; q++) {
		struct kill_ring *r = &f->ring[q];

		kill_ring_init(r, f->mem, AT_RINGS + q * KILL_RING_BYTES, f->link.packed,
			f->link.event_idx);
		memset(f->by_id[q], 0xff, sizeof(f->by_id[q]));
		f->link.queue[q].desc = r->desc;
		f->link.queue[q].avail = r->avail;
		f->link.queue[q].used = r->used;
		f->link.queue[q].kick = eventfd(0, EFD_CLOEXEC);
		f->link.queue[q].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
}

static int answer(struct front *f, int r)
{
	if (r < 0)
		printf("failed %s (after %llu kills)\n", f->why, (unsigned long long)f->kills);
	else
		printf("ok kills=%llu in_flight=%llu completed=%llu writes=%llu\n",
			(unsigned long long)f->kills, (unsigned long long)f->in_flight_at_kill,
			(unsigned long long)f->completed, (unsigned long long)f->writes);
	fflush(stdout);
	return r;
}

static int serve_stdin(struct front *f)
{
	char line[64];
	int r = 0;

	if (spawn(f) < 0 || up(f) < 0)
		return answer(f, -1);
	while (r == 0 && fgets(line, sizeof(line), stdin))
		r = answer(f, step(f, strtoull(line + strcspn(line, "0123456789"), NULL, 10)));
	if (r == 0 && (load(f, 1) < 0 || all_done(f) < 0))
		r = answer(f, -1);
	if (f->link.pid)
		kill(f->link.pid, SIGKILL);
	return r;
}

int main(int argc, char **argv)
{
	static struct front f;
	char disk[200], socket[100], device[300],
		*words[32] = {argc > 2 ? argv[2] : NULL, "--device", device, "--socket", socket};
	int r;

	if (argc < 6 || argc > 20) {
		fprintf(stderr, "usage: offload-kill-front DIR PROGRAM packed|split inflight|order "
				"QUEUES [FLAG...]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	f.link = (struct kill_link){.argv = words,
		.socket = socket,
		.queues = atoi(argv[5]),
		.ring = KILL_RING,
		.packed = !strcmp(argv[3], "packed"),
		.inflight = !strcmp(argv[4], "inflight"),
		.event_idx = true,
		.mem_size = MEM,
		.fd = -1,
		.area_fd = -1};
	if (f.link.queues < 1 || f.link.queues > KILL_QUEUES)
		return 2;
	r = open_all(&f, argv[1], disk, socket);
	if (r < 0) {
		printf("failed cannot prepare in %s: %s\n", argv[1], strerrordesc_np(-r));
		return 1;
	}
	snprintf(device, sizeof(device), "virtio-blk,path=%s%s", disk,
		f.link.queues > 1 ? ",queues=4" : "");
	for (int i = 6; i < argc; i++)
		words[i - 1] = argv[i];
	make_rings(&f);
	return serve_stdin(&f) < 0;
}
