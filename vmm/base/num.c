/* SPDX-License-Identifier: Apache-2.0 */
/* strtoull() takes blanks, signs, octal and trailing text; what people type for a VM should mean
 * one thing or be refused, so the digits are read here. */
#include "vmm/base/num.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

/* Reads digits up to the first byte that is none; *ret_end points there. */
static int parse_digits(const char *p, uint64_t *ret_value, const char **ret_end)
{
	unsigned base = 10;
	uint64_t v = 0;
	bool overflow = false;

	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		base = 16;
		p += 2;
	}
	if (digit_value(*p) >= base)
		return -EINVAL;
	for (; digit_value(*p) < base; p++)
		overflow |= __builtin_mul_overflow(v, base, &v) ||
			    __builtin_add_overflow(v, (uint64_t)digit_value(*p), &v);
	*ret_end = p;
	*ret_value = v;
	return overflow ? -ERANGE : 0;
}

int num_parse(const char *text, uint64_t *ret_value)
{
	const char *end = text;
	uint64_t v;
	int r = parse_digits(text, &v, &end);

	if (r == -EINVAL || *end)
		return -EINVAL;
	if (r < 0)
		return r;
	*ret_value = v;
	return 0;
}

static int suffix_shift(char c)
{
	switch (c) {
	case 'k':
	case 'K':
		return 10;
	case 'm':
	case 'M':
		return 20;
	case 'g':
	case 'G':
		return 30;
	case 't':
	case 'T':
		return 40;
	default:
		return -1;
	}
}

int num_parse_size(const char *text, uint64_t *ret_bytes)
{
	const char *end = text;
	uint64_t v;
	int r = parse_digits(text, &v, &end);
	int shift = 0;

	if (r == -EINVAL)
		return r;
	if (*end) {
		shift = suffix_shift(*end);
		if (shift < 0 || end[1])
			return -EINVAL;
	}
	if (r < 0)
		return r;
	if (v > UINT64_MAX >> shift)
		return -ERANGE;
	*ret_bytes = v << shift;
	return 0;
}

const char *num_format_size(uint64_t bytes, char buf[24])
{
	static const char suffix[] = "KMGT";
	unsigned i = 0;

	while (bytes && bytes % 1024 == 0 && i < 4) {
		bytes /= 1024;
		i++;
	}
	snprintf(buf, 24, "%" PRIu64 "%.1s", bytes, i ? &suffix[i - 1] : "");
	return buf;
}

int num_parse_mac(const char *text, uint8_t ret_mac[6])
{
	uint8_t mac[6];

	for (unsigned i = 0; i < 6; i++, text += 3) {
		int hi = digit_value(text[0]);
		int lo = hi < 16 ? digit_value(text[1]) : 16;

		if (lo >= 16 || text[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		mac[i] = (uint8_t)(hi << 4 | lo);
	}
	memcpy(ret_mac, mac, 6);
	return 0;
}
