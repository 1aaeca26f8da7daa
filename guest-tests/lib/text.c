/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory, strings and printf, as small as they can be: on a host whose KVM emulates kernel-mode
 * code every instruction costs half a microsecond, so the block operations use one string
 * instruction where the chip has it (copy_bytes and fill_bytes come from the chip's io.h).
 */
#include "text.h"

#include "chip.h"
#include "io.h"

void *memset(void *p, int c, size_t n)
{
	fill_bytes(p, c, n);
	return p;
}

void *memcpy(void *to, const void *from, size_t n)
{
	copy_bytes(to, from, n);
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	if (t <= f || t >= f + n)
		return memcpy(to, from, n);
	while (n--) {
		t[n] = f[n];
		__asm__ volatile("" ::: "memory"); /* or the compiler calls memmove here */
	}
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (READ_ONCE(s[n]))
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (uint8_t)*a - (uint8_t)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	while (n && *a && *a == *b)
		a++, b++, n--;
	return n ? (uint8_t)*a - (uint8_t)*b : 0;
}

static void put_string(const char *s)
{
	while (*s)
		console_putc(*s++);
}

static void put_number(uint64_t v, unsigned base, unsigned width, char pad, bool negative)
{
	char buf[24];
	unsigned n = 0;

	do {
		buf[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (negative)
		buf[n++] = '-';
	for (; width > n; width--)
		console_putc(pad);
	while (n)
		console_putc(buf[--n]);
}

void vsay(const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		unsigned width = 0, longs = 0;
		char pad = ' ';
		int64_t d;

		if (*fmt != '%') {
			console_putc(*fmt);
			continue;
		}
		fmt++;
		if (*fmt == '0')
			pad = '0';
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + (*fmt - '0');
		for (; *fmt == 'l' || *fmt == 'z'; fmt++)
			longs++;
		switch (*fmt) {
		case 'c':
			console_putc((char)va_arg(ap, int));
			break;
		case 's':
			put_string(va_arg(ap, const char *));
			break;
		case 'd':
			d = longs ? va_arg(ap, int64_t) : va_arg(ap, int);
			put_number(d < 0 ? -(uint64_t)d : (uint64_t)d, 10, width, pad, d < 0);
			break;
		case 'u':
		case 'x':
			put_number(longs ? va_arg(ap, uint64_t) : va_arg(ap, unsigned),
				*fmt == 'u' ? 10 : 16, width, pad, false);
			break;
		default:
			console_putc(*fmt);
		}
	}
}

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay(fmt, ap);
	va_end(ap);
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

uint64_t parse_number(const char **s)
{
	const char *p = *s;
	uint64_t v = 0;
	int base = 10;

	if (p[0] == '0' && (p[1] | 0x20) == 'x') {
		base = 16;
		p += 2;
	}
	for (; digit_value(*p) < base; p++)
		v = v * base + digit_value(*p);
	switch (*p | 0x20) {
	case 'g':
		v <<= 10;
		__attribute__((fallthrough));
	case 'm':
		v <<= 10;
		__attribute__((fallthrough));
	case 'k':
		v <<= 10;
		p++;
	}
	*s = p;
	return v;
}

const char *word_value(const char *line, const char *key, unsigned nth)
{
	size_t n = strlen(key);

	while (*line) {
		while (*line == ' ')
			line++;
		if (!strncmp(line, key, n) && line[n] == '=' && nth-- == 0)
			return line + n + 1;
		while (*line && *line != ' ')
			line++;
	}
	return NULL;
}

bool word_is(const char *value, const char *text)
{
	size_t n = strlen(text);

	return !strncmp(value, text, n) && (value[n] == ' ' || !value[n]);
}
