/* SPDX-License-Identifier: Apache-2.0 */
/* The test-exit device: value 0x2a ends the VMM with status (0x2a << 1) | 1 = 85. */
#include "case.h"

static void run(void)
{
	say("case test-exit: PASS\n"); /* if the exit status is 85 */
	test_exit(0x2a);
	case_skip("no test-exit device");
}

const struct guest_case this_case = {"test-exit", run, .no_irqs = true};
