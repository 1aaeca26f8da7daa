/* SPDX-License-Identifier: Apache-2.0 */
/* See guest_out.h. Lines end with \n or \r\n; a line is "case NAME: WORD[ reason]" or
 * "metric NAME VALUE UNIT", spelled exactly so by guest-tests/lib/case.c. */
#include "guest_out.h"

#include <string.h>
#include "vmm/base/num.h"

static const char *const names[] = {"none", "pass", "fail", "skip"};

const char *verdict_name(enum verdict v)
{
	return names[v];
}

void copy_printable(char *dst, size_t room, const char *src, size_t len)
{
	size_t n = MIN(len, room - 1);

	for (size_t i = 0; i < n; i++)
		dst[i] = src[i] < ' ' || src[i] > '~' ? '?' : src[i];
	while (n && dst[n - 1] == ' ')
		n--;
	dst[n] = '\0';
}

/* One line, cut into it: fields are separated by single spaces. */
struct line {
	const char *at;
	size_t left;
};

static struct line take_word(struct line *l, char end)
{
	const char *stop = memchr(l->at, end, l->left);
	size_t n = stop ? (size_t)(stop - l->at) : l->left;
	struct line word = {l->at, n};
	size_t used = MIN(n + 1, l->left);

	l->at += used;
	l->left -= used;
	return word;
}

static bool is(struct line word, const char *text)
{
	return word.left == strlen(text) && !memcmp(word.at, text, word.left);
}

static void parse_case(struct line l, struct guest_out *o)
{
	struct line name = take_word(&l, ':');
	enum verdict v;

	if (!l.left || *l.at != ' ')
		return;
	take_word(&l, ' ');
	struct line word = take_word(&l, ' ');
	if (is(word, "PASS"))
		v = VERDICT_PASS;
	else if (is(word, "FAIL"))
		v = VERDICT_FAIL;
	else if (is(word, "SKIP"))
		v = VERDICT_SKIP;
	else
		return;
	o->verdict = v;
	copy_printable(o->name, sizeof(o->name), name.at, name.left);
	copy_printable(o->reason, sizeof(o->reason), l.at, l.left);
}

static void parse_metric(struct line l, struct guest_out *o)
{
	struct line name = take_word(&l, ' '), value = take_word(&l, ' ');
	char digits[24];
	struct guest_metric m;

	if (o->nmetrics == GUEST_METRICS || !name.left || !l.left || value.left >= sizeof(digits))
		return;
	copy_printable(digits, sizeof(digits), value.at, value.left);
	if (num_parse(digits, &m.value) < 0)
		return;
	copy_printable(m.name, sizeof(m.name), name.at, name.left);
	copy_printable(m.unit, sizeof(m.unit), l.at, l.left);
	o->metric[o->nmetrics++] = m;
}

void guest_out_parse(const char *text, size_t len, struct guest_out *ret)
{
	struct line rest = {text, len};

	*ret = (struct guest_out){0};
	while (rest.left) {
		struct line l = take_word(&rest, '\n');
		if (l.left && l.at[l.left - 1] == '\r')
			l.left--;
		struct line kind = take_word(&l, ' ');
		if (is(kind, "case"))
			parse_case(l, ret);
		else if (is(kind, "metric"))
			parse_metric(l, ret);
	}
}
