/* SPDX-License-Identifier: Apache-2.0 */
/* Stays until it is killed: for tests of what ends a VM from outside. Not a case of the manifest.
 */
#include "case.h"

static void run(void)
{
	say("spinning\n");
	for (;;)
		__asm__ volatile("" ::: "memory");
}

const struct guest_case this_case = {"spin", run, .no_irqs = true};
