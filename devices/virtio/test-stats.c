/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/stats.h"

#include <criterion/criterion.h>
#include <string.h>

static struct histogram h;

static uint64_t bound_of(uint64_t ns)
{
	memset(&h, 0, sizeof(h));
	histogram_add(&h, ns);
	cr_assert_eq(histogram_count(&h), 1u);
	return histogram_quantile(&h, 500);
}

Test(stats, empty)
{
	memset(&h, 0, sizeof(h));
	cr_expect_eq(histogram_count(&h), 0u);
	cr_expect_eq(histogram_quantile(&h, 500), 0u);
	cr_expect_eq(histogram_quantile(&h, 999), 0u);
}

Test(stats, small_values_are_exact)
{
	for (uint64_t v = 0; v < 16; v++)
		cr_expect_eq(bound_of(v), v);
}

/* The bound is never below the value, and at most an eighth above. */
Test(stats, known_to_an_eighth)
{
	for (uint64_t v = 8; v < UINT64_C(1) << 42; v += v / 7 + 1) {
		cr_expect_geq(bound_of(v), v);
		cr_expect_lt(bound_of(v) - v, v / 8 + 1, "%llu", (unsigned long long)v);
	}
}

Test(stats, neighbours_at_a_power_of_two)
{
	for (unsigned bit = 4; bit < 42; bit++) {
		uint64_t v = UINT64_C(1) << bit;

		cr_expect_eq(bound_of(v - 1), v - 1, "2^%u - 1 ends its bucket", bit);
		cr_expect_eq(bound_of(v), v + v / 8 - 1);
	}
}

Test(stats, the_last_bucket_holds_the_rest)
{
	cr_expect_eq(bound_of(UINT64_MAX), (UINT64_C(1) << 42) - 1);
	cr_expect_eq(bound_of(UINT64_C(1) << 42), (UINT64_C(1) << 42) - 1);
}

Test(stats, quantiles)
{
	memset(&h, 0, sizeof(h));
	for (int i = 0; i < 990; i++)
		histogram_add(&h, 7);
	for (int i = 0; i < 9; i++)
		histogram_add(&h, 15);
	histogram_add(&h, 1 << 20);
	cr_expect_eq(histogram_count(&h), 1000u);
	cr_expect_eq(histogram_quantile(&h, 0), 7u);
	cr_expect_eq(histogram_quantile(&h, 500), 7u);
	cr_expect_eq(histogram_quantile(&h, 990), 7u, "the 990th of 1000");
	cr_expect_eq(histogram_quantile(&h, 991), 15u);
	cr_expect_eq(histogram_quantile(&h, 999), 15u);
	cr_expect_eq(histogram_quantile(&h, 1000), (1u << 20) + (1u << 17) - 1);
}

/* One value among few is not lost to rounding. */
Test(stats, few_values)
{
	memset(&h, 0, sizeof(h));
	histogram_add(&h, 1);
	histogram_add(&h, 2);
	histogram_add(&h, 3);
	cr_expect_eq(histogram_quantile(&h, 333), 1u);
	cr_expect_eq(histogram_quantile(&h, 334), 2u);
	cr_expect_eq(histogram_quantile(&h, 999), 3u);
}
