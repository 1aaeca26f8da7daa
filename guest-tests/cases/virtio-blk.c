/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (§5.2): capacity, read and write, flush, the serial number, requests past the end,
 * unknown requests, discard and write-zeroes where offered; with split rings, then with packed
 * ones. Overwrites sectors 8 to 15.
 */
#include "case.h"
#include "driver.h"

#define SECTOR 512u

static uint8_t out[8 * SECTOR] __attribute__((aligned(4096)));
static uint8_t in[8 * SECTOR] __attribute__((aligned(4096)));

static void read_write(struct drv *d)
{
	for (unsigned i = 0; i < sizeof(out); i += 8)
		*(uint64_t *)(out + i) = clock_ticks() + i;
	CHECK(blk_request(d, BLK_OUT, 8, out, sizeof(out)) == BLK_S_OK, "write failed");
	if (d->dev.features & BLK_F_FLUSH)
		CHECK(blk_request(d, BLK_FLUSH, 0, NULL, 0) == BLK_S_OK, "flush failed");
	CHECK(blk_request(d, BLK_IN, 8, in, sizeof(in)) == BLK_S_OK, "read failed");
	CHECK(!memcmp(in, out, sizeof(in)), "what was read is not what was written");
	CHECK(blk_request(d, BLK_IN, 9, in, SECTOR) == BLK_S_OK, "read of one sector failed");
	CHECK(!memcmp(in, out + SECTOR, SECTOR), "sector 9 is not the second of the eight");
}

static void past_the_end(struct drv *d, uint64_t capacity)
{
	static const uint64_t far[] = {0, 1ull << 40, 1ull << 55, UINT64_MAX - 1};

	for (unsigned i = 0; i < ARRAY_SIZE(far); i++)
		CHECK(blk_request(d, BLK_IN, MAX(capacity, far[i]), in, SECTOR) == BLK_S_IOERR,
			"a read at sector 0x%lx of 0x%lx gave no IOERR", far[i], capacity);
	CHECK(blk_request(d, BLK_IN, capacity - 1, in, 2 * SECTOR) == BLK_S_IOERR,
		"a read across the end gave no IOERR");
	CHECK(blk_request(d, BLK_OUT, capacity, out, SECTOR) != BLK_S_OK,
		"a write past the end succeeded");
}

static void discard(struct drv *d, uint32_t type, const char *name)
{
	struct {
		uint64_t sector;
		uint32_t count, flags;
	} range = {8, 4, 0};
	uint8_t zero = 0;

	CHECK(blk_request(d, type, 0, &range, sizeof(range)) == BLK_S_OK, "%s failed", name);
	CHECK(blk_request(d, BLK_IN, 8, in, sizeof(in)) == BLK_S_OK, "read after %s failed", name);
	CHECK(!memcmp(in + 4 * SECTOR, out + 4 * SECTOR, 4 * SECTOR), "%s took too much", name);
	if (type == BLK_WRITE_ZEROES) {
		for (unsigned i = 0; i < 4 * SECTOR; i += 64)
			zero |= in[i];
		CHECK(!zero, "%s left data", name);
	}
	range.sector = ~0ull - 2;
	CHECK(blk_request(d, type, 0, &range, sizeof(range)) != BLK_S_OK,
		"%s past the end succeeded", name);
	range.sector = 8;
	range.flags = 0xfffe; /* reserved, §5.2.6.2 */
	CHECK(blk_request(d, type, 0, &range, sizeof(range)) != BLK_S_OK,
		"%s with unknown flags succeeded", name);
}

static void test(const struct vdev *dev, uint64_t kind)
{
	struct drv d;
	uint64_t capacity;
	const char *reason = "";

	CHECK(!drv_open(&d, dev,
		      kind | BLK_F_FLUSH | BLK_F_DISCARD | BLK_F_WRITE_ZEROES | BLK_F_BLK_SIZE, 16),
		"%s does not start", dev->name);
	capacity = vdev_config64(&d.dev, 0);
	memset(in, 0, 20);
	CHECK(blk_request(&d, BLK_GET_ID, 0, in, 20) == BLK_S_OK, "%s: no serial", dev->name);
	in[20] = 0;
	note("%s: %lu sectors, serial '%s', features 0x%lx\n", dev->name, capacity, (char *)in,
		d.dev.features);
	CHECK(blk_request(&d, BLK_IN, 0, in, SECTOR) == BLK_S_OK, "%s: no read", dev->name);
	CHECK(blk_request(&d, 0x4321, 0, in, SECTOR) == BLK_S_UNSUPP, "unknown request accepted");
	past_the_end(&d, capacity);
	if (blk_check_writable(&d, &reason)) {
		note("%s: %s, nothing written\n", dev->name, reason);
		CHECK(blk_request(&d, BLK_OUT, 0, in, SECTOR) != BLK_S_OK || capacity < 64,
			"a write to a read-only disk succeeded");
		return;
	}
	read_write(&d);
	if (d.dev.features & BLK_F_DISCARD)
		discard(&d, BLK_DISCARD, "discard");
	if (d.dev.features & BLK_F_WRITE_ZEROES)
		discard(&d, BLK_WRITE_ZEROES, "write-zeroes");
}

static void run(void)
{
	static struct vdev v[MAX_VDEVS];
	unsigned n = vdev_find(VIRTIO_BLK, v);

	if (!n)
		case_skip("no virtio-blk device");
	for (unsigned i = 0; i < n; i++) {
		test(&v[i], 0);
		if (vdev_offered(&v[i]) & F_PACKED)
			test(&v[i], F_PACKED);
	}
}

const struct guest_case this_case = {"virtio-blk", run, .no_irqs = true};
