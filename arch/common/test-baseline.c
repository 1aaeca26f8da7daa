/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting the text of --cpus model=baseline:FILE. */
#include "arch/common/baseline.h"

#include <criterion/criterion.h>
#include <string.h>

Test(baseline, directives)
{
	struct baseline b = {.next = "# all of it\n\n reg\t0x10 0xff # why\r\nisa zba off"};
	struct err e = {0};

	cr_assert_eq(baseline_next(&b, &e), 1);
	cr_assert_eq(b.line, 3);
	cr_assert_eq(b.nword, 3);
	cr_assert_str_eq(b.word[0], "reg");
	cr_assert_str_eq(b.word[2], "0xff");
	cr_assert_eq(baseline_next(&b, &e), 1);
	cr_assert_eq(b.line, 4);
	cr_assert_str_eq(b.word[2], "off");
	cr_assert_eq(baseline_next(&b, &e), 0);
	cr_assert_eq(baseline_next(&b, &e), 0);
	cr_assert_eq(e.kind, ERR_NONE);
}

static void expect_refused(const char *text, const char *says)
{
	struct baseline b = {.next = text};
	struct err e = {0};
	int r;

	while ((r = baseline_next(&b, &e)) > 0)
		;
	cr_assert_eq(r, -EINVAL);
	cr_assert_eq(e.kind, ERR_USAGE);
	cr_assert(strstr(e.text, "--cpus model=baseline:FILE, line 2: ") == e.text, "%s", e.text);
	cr_assert(strstr(e.text, says), "%s", e.text);
}

Test(baseline, refused)
{
	char long_line[2 + BASELINE_LINE_MAX + 1] = "a\n";

	memset(long_line + 2, 'x', BASELINE_LINE_MAX);
	expect_refused(long_line, "characters");
	expect_refused("a\n1 2 3 4 5 6 7", "words");
}

Test(baseline, none)
{
	struct baseline b = {.next = NULL};

	cr_assert_eq(baseline_next(&b, NULL), 0);
}
