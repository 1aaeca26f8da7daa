/* SPDX-License-Identifier: Apache-2.0 */
/* A value below 8 has a bucket of its own. From there on each power of two is cut into 8 buckets of
 * equal width, so that a value's top four bits name its bucket. */
#include "devices/virtio/stats.h"

#define SUB_BITS 3
_Static_assert(HISTOGRAM_SUB == 1 << SUB_BITS, "a bucket is named by whole bits");

static unsigned bucket_of(uint64_t ns)
{
	unsigned shift, i;

	if (ns < HISTOGRAM_SUB)
		return ns;
	shift = 63 - SUB_BITS - __builtin_clzll(ns);
	i = (shift + 1) * HISTOGRAM_SUB + (ns >> shift) % HISTOGRAM_SUB;
	return MIN(i, HISTOGRAM_BUCKETS - 1u);
}

uint64_t histogram_bound(unsigned i)
{
	uint64_t top = HISTOGRAM_SUB + i % HISTOGRAM_SUB;

	return i < HISTOGRAM_SUB ? i : ((top + 1) << (i / HISTOGRAM_SUB - 1)) - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	count_add(&h->bucket[bucket_of(ns)], 1);
}

uint64_t histogram_count(const struct histogram *h)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		n += count_get(&h->bucket[i]);
	return n;
}

/* The worker adds meanwhile: values that come after the count has been taken make the answer at
 * most a little too small. */
uint64_t histogram_quantile(const struct histogram *h, unsigned per_mille)
{
	uint64_t n = histogram_count(h), seen = 0;
	uint64_t rank = n / 1000 * per_mille + (n % 1000 * per_mille + 999) / 1000;

	if (!n)
		return 0;
	rank = MAX(rank, UINT64_C(1));
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += count_get(&h->bucket[i]);
		if (seen >= rank)
			return histogram_bound(i);
	}
	return histogram_bound(HISTOGRAM_BUCKETS - 1);
}
