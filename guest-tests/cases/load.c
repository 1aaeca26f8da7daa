/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load on the first disk, or the first network: load.count=N requests (0, or not given: for ever)
 * in rounds of load.depth=D (at most 32), by message interrupts unless load.wait=poll. A round
 * writes 4 KiB blocks, the next reads and compares them; a network is sent frames. Says every
 * second how far it is, unless load.quiet=yes. For tests and benchmarks from outside; not a case of
 * the manifest.
 */
#include "alarm.h"
#include "case.h"
#include "io.h"

#define DEPTH 32u
#define BLOCK 4096u

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header[DEPTH] __attribute__((aligned(16)));
static uint8_t status[DEPTH];
static uint64_t data[DEPTH][BLOCK / 8] __attribute__((aligned(4096)));
static struct alarm alarm;
static uint64_t count, done, next_word;
static bool quiet; /* and what it says is as long, whatever the count */

static uint64_t option(const char *name, uint64_t otherwise)
{
	const char *s = word_value(machine.cmdline, name, 0);

	return s ? parse_number(&s) : otherwise;
}

static bool is(const char *name, const char *what)
{
	const char *s = word_value(machine.cmdline, name, 0);

	return s && word_is(s, what);
}

static uint64_t word(uint64_t round, unsigned i, unsigned at)
{
	return (round * DEPTH + i) * 0x9e3779b97f4a7c15u + at;
}

static void blk_prepare(struct drv *d, unsigned i, uint64_t round)
{
	bool read = round & 1;
	struct vq_buf b[3] = {
		{&header[i], 16, false}, {data[i], BLOCK, read}, {&status[i], 1, true}};

	header[i].type = read ? BLK_IN : BLK_OUT;
	header[i].sector = i * (BLOCK / 512);
	status[i] = 0xee;
	for (unsigned at = 0; at < BLOCK / 8; at += 64)
		data[i][at] = read ? 0 : word(round, i, at);
	vq_add(&d->q, b, 3);
}

static void blk_check(unsigned i, uint64_t round)
{
	CHECK(READ_ONCE(status[i]) == BLK_S_OK, "request %lu: status %u", done, status[i]);
	for (unsigned at = 0; at < BLOCK / 8 && round & 1; at += 64)
		CHECK(data[i][at] == word(round - 1, i, at),
			"request %lu: not what was written before", done);
}

/* To the broadcast address, of an experimental type, after the 12 bytes of §5.1.6. */
static void net_prepare(struct drv *d, unsigned i)
{
	static const uint8_t start[26] = {
		[12] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};

	memcpy(data[i], start, sizeof(start));
	vq_add(&d->q, (struct vq_buf[]){{data[i], 12 + 60, false}}, 1);
}

static void take_one(struct drv *d, bool poll)
{
	while (!vq_take(&d->q, NULL, NULL)) {
		if (poll)
			cpu_relax();
		else
			cpu_wait();
	}
}

static void say_so(void)
{
	if (quiet || !deadline_passed(next_word))
		return;
	say("load %lu\n", done);
	next_word = deadline_ms(1000);
}

static void rounds(struct drv *d, unsigned depth, bool poll)
{
	bool disk = d->dev.type == VIRTIO_BLK;

	next_word = deadline_ms(1000);
	for (uint64_t round = 0; !count || done < count; round++) {
		for (unsigned i = 0; i < depth; i++) {
			if (disk)
				blk_prepare(d, i, round);
			else
				net_prepare(d, i);
		}
		vq_kick(&d->q);
		for (unsigned i = 0; i < depth; i++)
			take_one(d, poll);
		for (unsigned i = 0; i < depth; i++, done++)
			if (disk)
				blk_check(i, round);
		say_so();
	}
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	static struct drv d;
	unsigned depth = (unsigned)MIN(option("load.depth", 8), DEPTH);
	bool poll = is("load.wait", "poll");
	uint64_t kind = is("load.ring", "packed") ? F_PACKED : 0;

	quiet = is("load.quiet", "yes");
	count = option("load.count", 0);
	CHECK(depth, "load.depth is 0");
	if (!vdev_find(VIRTIO_BLK, v) && !vdev_find(VIRTIO_NET, v))
		case_skip("no disk and no network");
	CHECK(!drv_prepare(&d, &v[0], kind, 128), "%s does not start", v[0].name);
	CHECK(d.q.size >= 3 * depth, "%s: the ring is too small", v[0].name);
	if (!poll)
		CHECK(!alarm_by_message(&alarm, &d), "%s cannot interrupt", v[0].name);
	vq_want_interrupts(&d.q, !poll);
	vdev_driver_ok(&d.dev);
	say("load on %s\n", v[0].name);
	rounds(&d, depth, poll);
	if (!quiet)
		note("%lu requests, %u interrupts\n", done, alarm.count);
}

const struct guest_case this_case = {"load", run, false};
