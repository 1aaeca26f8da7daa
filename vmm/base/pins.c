/* SPDX-License-Identifier: Apache-2.0 */
/* The cursor stands on the sign before an entry, "[" or ",", or on the "]" that ends the list. */
#include "vmm/base/pins.h"

#include <errno.h>

/* Digits at *at, a number below CPU_SETSIZE. */
static int take_number(const char **at, unsigned *ret)
{
	const char *p = *at;
	unsigned v = 0;

	while (*p >= '0' && *p <= '9' && v < CPU_SETSIZE)
		v = v * 10 + (unsigned)(*p++ - '0');
	if (p == *at || v >= CPU_SETSIZE)
		return -EINVAL;
	*at = p;
	*ret = v;
	return 0;
}

/* "2" or "2-5". */
static int take_range(const char **at, cpu_set_t *cpus)
{
	unsigned first, last;
	int r = take_number(at, &first);

	last = first;
	if (!r && **at == '-') {
		(*at)++;
		r = take_number(at, &last);
	}
	if (r < 0 || last < first)
		return -EINVAL;
	for (unsigned i = first; i <= last; i++)
		CPU_SET(i, cpus);
	return 0;
}

int pins_next(const char **at, unsigned *ret_who, cpu_set_t *ret_cpus)
{
	const char *p = *at;
	unsigned who;

	if (*p == ']')
		return p[1] ? -EINVAL : 0;
	if (*p != '[' && *p != ',')
		return -EINVAL;
	p++;
	if (take_number(&p, &who) < 0 || *p++ != '@' || *p != '[')
		return -EINVAL;
	CPU_ZERO(ret_cpus);
	do {
		p++; /* the bracket, or a comma */
		if (take_range(&p, ret_cpus) < 0)
			return -EINVAL;
	} while (*p == ',');
	if (*p++ != ']')
		return -EINVAL;
	*at = p;
	*ret_who = who;
	return 1;
}

int pins_check(const char *text)
{
	cpu_set_t seen, cpus;
	unsigned who;
	int r;

	if (*text != '[')
		return -EINVAL;
	CPU_ZERO(&seen);
	while ((r = pins_next(&text, &who, &cpus)) > 0) {
		if (CPU_ISSET(who, &seen))
			return -EINVAL;
		CPU_SET(who, &seen);
	}
	return r;
}

int pins_find(const char *text, unsigned who, cpu_set_t *ret_cpus)
{
	cpu_set_t cpus;
	unsigned n;

	while (text && pins_next(&text, &n, &cpus) > 0) {
		if (n != who)
			continue;
		*ret_cpus = cpus;
		return 1;
	}
	return 0;
}

void pins_write(FILE *out, unsigned who, const cpu_set_t *cpus)
{
	const char *sep = "";

	fprintf(out, "%u@[", who);
	for (unsigned i = 0; i < CPU_SETSIZE; i++) {
		unsigned first = i;
		if (!CPU_ISSET(i, cpus))
			continue;
		while (i + 1 < CPU_SETSIZE && CPU_ISSET(i + 1, cpus))
			i++;
		fprintf(out, i > first ? "%s%u-%u" : "%s%u", sep, first, i);
		sep = ",";
	}
	fputc(']', out);
}
