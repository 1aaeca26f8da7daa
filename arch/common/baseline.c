/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. */
#include "arch/common/baseline.h"

#include <stdio.h>
#include <string.h>

int baseline_error(const struct baseline *b, struct err *e, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(
		e, ERR_USAGE, -EINVAL, "--cpus model=baseline:FILE, line %u: %s", b->line, text);
}

static int cut(struct baseline *b, struct err *e)
{
	char *save = NULL;

	b->buf[strcspn(b->buf, "#")] = 0;
	b->nword = 0;
	for (char *w = strtok_r(b->buf, " \t\r", &save); w; w = strtok_r(NULL, " \t\r", &save)) {
		if (b->nword == BASELINE_WORDS)
			return baseline_error(b, e, "at most %d words a line", BASELINE_WORDS);
		b->word[b->nword++] = w;
	}
	return 0;
}

int baseline_next(struct baseline *b, struct err *e)
{
	while (b->next && *b->next) {
		size_t len = strcspn(b->next, "\n");
		int r;

		b->line++;
		if (len >= sizeof(b->buf))
			return baseline_error(
				b, e, "at most %d characters a line", BASELINE_LINE_MAX - 1);
		memcpy(b->buf, b->next, len);
		b->buf[len] = 0;
		b->next += len + (b->next[len] == '\n');
		r = cut(b, e);
		if (r < 0)
			return r;
		if (b->nword)
			return 1;
	}
	return 0;
}
