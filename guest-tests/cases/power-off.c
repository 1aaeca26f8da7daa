/* SPDX-License-Identifier: Apache-2.0 */
/* Power-off by the firmware's way, from the last CPU: the VMM ends with status 0. */
#include "case.h"
#include "wait.h"

static void halt(void *arg)
{
	(void)arg;
	halt_forever();
}

static void off(void *arg)
{
	(void)arg;
	power_off();
}

static void run(void)
{
	say("case power-off: PASS\n"); /* unless a second verdict follows */
	if (machine.cpu_count == 1)
		power_off();
	for (unsigned i = 1; i < machine.cpu_count; i++)
		CHECK(!cpu_start(i, i + 1 < machine.cpu_count ? halt : off, NULL),
			"CPU %u did not start", i);
	WAIT_POLL(false, 10000);
	case_fail("still running after the power-off");
}

const struct guest_case this_case = {"power-off", run, false};
