/* SPDX-License-Identifier: Apache-2.0 */
/* See manifest.h. The file comes with the program, so that an unknown word is an error: this runner
 * and the guest-tests are not of the same version. */
#include "manifest.h"

#include <string.h>
#include "vmm/base/num.h"

static const char *const needs[] = {"blk", "net", "rng", "console", "vsock"};

static int parse_number(const char *text, uint64_t max, unsigned *ret)
{
	uint64_t v;

	if (num_parse(text, &v) < 0 || v > max)
		return -EINVAL;
	*ret = (unsigned)v;
	return 0;
}

static int parse_needs(char *text, unsigned *ret)
{
	char *save = NULL;

	*ret = 0;
	for (char *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		unsigned i = 0;
		while (i < ARRAY_SIZE(needs) && strcmp(w, needs[i]))
			i++;
		if (i == ARRAY_SIZE(needs))
			return -EINVAL;
		*ret |= 1u << i;
	}
	return 0;
}

static int parse_key(struct test_case *t, const char *key, char *value)
{
	unsigned n;

	if (!strcmp(key, "cpus"))
		return parse_number(value, 512, &t->cpus);
	if (!strcmp(key, "timeout"))
		return parse_number(value, 3600, &t->timeout_s);
	if (!strcmp(key, "needs"))
		return parse_needs(value, &t->needs);
	if (!strcmp(key, "expect") && !parse_number(value, 255, &n)) {
		t->expect = (int)n;
		return 0;
	}
	if (!strcmp(key, "transport") && (!strcmp(value, "pci") || !strcmp(value, "mmio"))) {
		strcpy(t->transport, value);
		return 0;
	}
	return -EINVAL;
}

/* A name is a file's name and nothing that leaves its folder. */
static bool good_name(const char *name)
{
	return strlen(name) < sizeof(((struct test_case *)0)->image) &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name);
}

static int parse_line(char *line, struct test_case *t)
{
	char *save = NULL, *word = strtok_r(line, " \t\r", &save), *value;

	if (!word || !good_name(word))
		return -EINVAL;
	*t = (struct test_case){.cpus = 1, .expect = 33, .timeout_s = 20};
	strcpy(t->image, word);
	while ((word = strtok_r(NULL, " \t\r", &save))) {
		value = strchr(word, '=');
		if (!value)
			return -EINVAL;
		*value++ = '\0';
		if (parse_key(t, word, value) < 0)
			return -EINVAL;
	}
	strcpy(t->name, t->image);
	if (*t->transport) {
		strcat(t->name, "/");
		strcat(t->name, t->transport);
	}
	return 0;
}

int manifest_parse(char *text, struct manifest *ret, struct err *e)
{
	unsigned number = 0;
	char *next;

	ret->n = 0;
	for (char *line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		number++;
		if (!line[strspn(line, " \t\r")] || *line == '#')
			continue;
		if (ret->n == MANIFEST_CASES)
			return err_set(e, ERR_HOST, -EINVAL, "cases.txt: more than %d tests",
				MANIFEST_CASES);
		if (parse_line(line, &ret->test[ret->n]) < 0)
			return err_set(e, ERR_HOST, -EINVAL,
				"cases.txt line %u: not a line that this program knows", number);
		ret->n++;
	}
	return 0;
}
