/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/num.h"

#include <criterion/criterion.h>
#include <errno.h>

static void number(const char *text, int code, uint64_t want)
{
	uint64_t v = 0;
	int r = num_parse(text, &v);

	cr_assert_eq(r, code, "\"%s\" gives %d", text, r);
	cr_assert_eq(v, want, "\"%s\" is %llu", text, (unsigned long long)v);
}

Test(num, whole_numbers_only)
{
	number("0", 0, 0);
	number("18446744073709551615", 0, UINT64_MAX);
	number("0x1f", 0, 31);
	number("0XFFFFFFFFFFFFFFFF", 0, UINT64_MAX);
	number("010", 0, 10); /* no octal */
	number("18446744073709551616", -ERANGE, 0);
	number("0x10000000000000000", -ERANGE, 0);
	number("99999999999999999999999999", -ERANGE, 0);
	number("", -EINVAL, 0);
	number("0x", -EINVAL, 0);
	number("-1", -EINVAL, 0);
	number("+1", -EINVAL, 0);
	number(" 1", -EINVAL, 0);
	number("1 ", -EINVAL, 0);
	number("1K", -EINVAL, 0);
	number("99999999999999999999999999x", -EINVAL, 0);
}

static void size(const char *text, int code, uint64_t want)
{
	uint64_t v = 0;
	int r = num_parse_size(text, &v);

	cr_assert_eq(r, code, "\"%s\" gives %d", text, r);
	cr_assert_eq(v, want, "\"%s\" is %llu", text, (unsigned long long)v);
}

Test(num, sizes_have_a_suffix)
{
	size("512M", 0, 512 * MIB);
	size("2g", 0, 2 * GIB);
	size("1T", 0, 1024 * GIB);
	size("3k", 0, 3 * KIB);
	size("4096", 0, 4096);
	size("16777215T", 0, 16777215ull << 40);
	size("16777216T", -ERANGE, 0);
	size("18446744073709551616", -ERANGE, 0);
	size("12Q", -EINVAL, 0);
	size("1KB", -EINVAL, 0);
	size("K", -EINVAL, 0);
	size("", -EINVAL, 0);
}

static void formatted(uint64_t bytes, const char *want)
{
	char buf[24];

	cr_assert_str_eq(num_format_size(bytes, buf), want);
}

Test(num, sizes_are_shown_exactly)
{
	formatted(0, "0");
	formatted(17, "17");
	formatted(1536 * KIB, "1536K");
	formatted(512 * MIB, "512M");
	formatted(2048 * GIB, "2T");
	formatted(2048ull * 1024 * GIB, "2048T");
	formatted(UINT64_MAX, "18446744073709551615");
}

Test(num, mac)
{
	static const char *const bad[] = {"", "52", "52:54:00:12:34", "52:54:00:12:34:5",
		"52:54:00:12:34:56:", "52:54:00:12:34:56:78", "52-54-00-12-34-56",
		"5:54:00:12:34:56", "52:54:00:12:34:5g"};
	uint8_t mac[6] = {0};

	cr_assert_eq(num_parse_mac("52:54:00:aB:34:5f", mac), 0);
	cr_assert_arr_eq(mac, ((uint8_t[]){0x52, 0x54, 0, 0xab, 0x34, 0x5f}), 6);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(num_parse_mac(bad[i], mac), -EINVAL, "%s", bad[i]);
	cr_assert_eq(mac[0], 0x52); /* not written on error */
}

Test(num, helpers)
{
	uint8_t b[8] = {1, 2, 3, 4, 5, 6, 7, 8};

	cr_assert_eq(load_le(b, 2), 0x0201);
	cr_assert_eq(load_le(b, 8), 0x0807060504030201ull);
	store_le(b + 1, 4, 0xa1a2a3a4);
	cr_assert_arr_eq(b, ((uint8_t[]){1, 0xa4, 0xa3, 0xa2, 0xa1, 6, 7, 8}), 8);
	cr_assert_eq(align_up(4097, 4096), 8192);
	cr_assert_eq(align_down(4097, 4096), 4096);
	cr_assert(is_pow2(1) && is_pow2(1ull << 63) && !is_pow2(0) && !is_pow2(6));
}
