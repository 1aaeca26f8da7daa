/* SPDX-License-Identifier: Apache-2.0 */
/* What is packed comes back the same, zeros cost nothing, and nothing that a peer sends gets
 * further than a refusal. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cloud/base/packed.h"
#include "vmm/base/num.h"

struct packed {
	uint8_t *bytes;
	uint64_t n;
	char digest[DIGEST_LEN];
};

static struct packed pack_bytes(const uint8_t *p, uint64_t size, size_t step)
{
	struct packed ret = {0};
	struct pack *k;
	int fd = memfd_create("packed", MFD_CLOEXEC);

	cr_assert_eq(pack_new(fd, size, &k), 0);
	for (uint64_t at = 0; at < size; at += step)
		cr_assert_eq(pack_put(k, at, p + at, MIN(step, size - at)), 0);
	cr_assert_eq(pack_end(k, ret.digest, &ret.n), 0);
	pack_free(k);
	ret.bytes = malloc(ret.n);
	cr_assert_eq(pread(fd, ret.bytes, ret.n, 0), (ssize_t)ret.n);
	close(fd);
	return ret;
}

/* Unpacks in steps; returns the first error or the size. */
static int64_t unpack_bytes(const struct packed *in, uint64_t n, size_t step, uint64_t max, int fd)
{
	struct unpack *u;
	uint64_t size = 0;
	int r = 0;

	cr_assert_eq(unpack_new(fd, max, &u), 0);
	for (uint64_t at = 0; at < n && !r; at += step)
		r = unpack_feed(u, in->bytes + at, MIN(step, n - at));
	if (!r)
		r = unpack_end(u, in->digest, &size);
	unpack_free(u);
	return r < 0 ? r : (int64_t)size;
}

static uint8_t *sample(uint64_t size)
{
	uint8_t *p = calloc(1, size);
	uint32_t x = 1;

	for (uint64_t i = 0; i < size / 8; i++) /* noise, then a hole, then text */
		p[i] = (x = x * 1664525u + 1013904223u) >> 24;
	for (uint64_t i = size / 2; i < size / 2 + size / 8; i++)
		p[i] = "many chips"[i % 10];
	p[size - 1] = 7;
	return p;
}

Test(packed, comes_back_the_same)
{
	static const size_t steps[] = {1000, 65536, 300000, 5000000};
	uint64_t size = 3000001;
	uint8_t *p = sample(size), *back = malloc(size);
	char first[DIGEST_LEN] = "";

	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		struct packed k = pack_bytes(p, size, steps[i]);
		int fd = memfd_create("file", MFD_CLOEXEC);

		cr_assert(digest_ok(k.digest));
		if (!first[0])
			memcpy(first, k.digest, sizeof(first));
		cr_assert_str_eq(k.digest, first, "the steps must not matter");
		cr_assert_eq(unpack_bytes(&k, k.n, steps[i], size, fd), (int64_t)size);
		cr_assert_eq(pread(fd, back, size, 0), (ssize_t)size);
		cr_assert_eq(memcmp(p, back, size), 0);
		close(fd);
		free(k.bytes);
	}
	free(back);
	free(p);
}

Test(packed, zeros_cost_nothing)
{
	uint64_t size = 64 * MIB;
	uint8_t *p = calloc(1, size);
	struct packed k = pack_bytes(p, size, MIB);
	int fd = memfd_create("file", MFD_CLOEXEC);
	struct stat st;

	cr_assert_eq(k.n, 32, "a header and an end, not %llu bytes", (unsigned long long)k.n);
	cr_assert_eq(unpack_bytes(&k, k.n, 5, size, fd), (int64_t)size);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_size, (off_t)size);
	cr_assert_eq(st.st_blocks, 0);
	close(fd);
	free(k.bytes);
	free(p);
}

Test(packed, refuses_what_is_wrong)
{
	uint64_t size = 600000;
	uint8_t *p = sample(size);
	struct packed k = pack_bytes(p, size, size);
	int fd = memfd_create("file", MFD_CLOEXEC);

	cr_assert_eq(unpack_bytes(&k, k.n - 1, 4096, size, fd), -EBADMSG, "truncated");
	cr_assert_eq(unpack_bytes(&k, 0, 4096, size, fd), -EBADMSG, "nothing");
	cr_assert_eq(unpack_bytes(&k, k.n, 4096, size - 1, fd), -EFBIG);
	k.digest[10] ^= 1;
	cr_assert_eq(unpack_bytes(&k, k.n, 4096, size, fd), -EILSEQ);
	k.digest[10] ^= 1;
	k.bytes[16 + 8 + 2] = 0xff; /* a piece longer than a piece may be */
	cr_assert_eq(unpack_bytes(&k, k.n, 4096, size, fd), -EBADMSG);
	k.bytes[0] = 'Q';
	cr_assert_eq(unpack_bytes(&k, k.n, 4096, size, fd), -EBADMSG);
	close(fd);
	free(k.bytes);
	free(p);
}

Test(packed, digests_as_text)
{
	char d[DIGEST_LEN];

	cr_assert_eq(digest_bytes("abc", 3, d), 0); /* FIPS 180-4's example */
	cr_assert_str_eq(
		d, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	cr_assert(digest_ok(d));
	d[8] = 'A';
	cr_assert(!digest_ok(d));
	cr_assert(!digest_ok("sha256:../../../../../etc/passwd"));
	cr_assert(!digest_ok("sha256:"));
	cr_assert(!digest_ok(NULL));
}
