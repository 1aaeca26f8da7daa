/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/pins.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include "vmm/base/num.h"

Test(pins, finds_who_is_named)
{
	const char *text = "[0@[0,2-3],1@[4],1023@[1023]]";
	cpu_set_t cpus;

	cr_assert_eq(pins_check(text), 0);
	cr_assert_eq(pins_find(text, 0, &cpus), 1);
	cr_assert(CPU_COUNT(&cpus) == 3 && CPU_ISSET(0, &cpus) && !CPU_ISSET(1, &cpus) &&
		  CPU_ISSET(3, &cpus));
	cr_assert_eq(pins_find(text, 1023, &cpus), 1);
	cr_assert(CPU_COUNT(&cpus) == 1 && CPU_ISSET(1023, &cpus));
	cr_assert_eq(pins_find(text, 2, &cpus), 0);
	cr_assert_eq(pins_find(NULL, 0, &cpus), 0);
}

Test(pins, refuses)
{
	static const char *const bad[] = {"", "0", "[]", "[0]", "[0@]", "[0@[]]", "[0@[1]", "[0@1]",
		"[0@[1]]]", "[0@[3-2]]", "[0@[1-]]", "[0@[,1]]", "[0@[1,]]", "[0@[1024]]",
		"[1024@[0]]", "[0@[1],0@[2]]", "[0@[1],]", ",0@[1]]", "[ 0@[1]]", "[-1@[0]]",
		"[99999999999999999999@[0]]"};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_expect_eq(pins_check(bad[i]), -EINVAL, "%s", bad[i]);
}

Test(pins, writes_ranges)
{
	cpu_set_t cpus;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	cr_assert_eq(pins_find("[7@[0,1,2,5,1022-1023]]", 7, &cpus), 1);
	pins_write(f, 7, &cpus);
	fclose(f);
	cr_assert_str_eq(text, "7@[0-2,5,1022-1023]");
	free(text);
}
