/* SPDX-License-Identifier: Apache-2.0 */
/* Every CPU that the tables list starts, takes an IPI while asleep, and sends one back. */
#include "case.h"
#include "wait.h"

static unsigned got[MAX_CPUS];
static bool leave;

static void on_ipi(void *arg)
{
	unsigned i = cpu_self();

	(void)arg;
	WRITE_ONCE(got[i], got[i] + 1);
	if (i)
		ipi_send(0);
}

static void sleep_until_told(void *arg)
{
	(void)arg;
	while (!READ_ONCE(leave))
		cpu_wait();
}

static void run(void)
{
	ipi_attach(on_ipi, NULL);
	if (machine.cpu_count < 2)
		case_skip("one CPU");
	for (unsigned i = 1; i < machine.cpu_count; i++)
		CHECK(!cpu_start(i, sleep_until_told, NULL), "CPU %u (id 0x%lx) did not start", i,
			machine.cpu_hwid[i]);
	for (unsigned i = 1; i < machine.cpu_count; i++) {
		for (unsigned round = 1; round <= 3; round++) {
			unsigned before = got[0];

			ipi_send(i);
			CHECK(WAIT_IRQ(READ_ONCE(got[i]) == round, 10000), "CPU %u took no IPI", i);
			CHECK(WAIT_IRQ(READ_ONCE(got[0]) == before + 1, 10000),
				"CPU %u sent no IPI back", i);
		}
	}
	WRITE_ONCE(leave, true);
	note("%u CPUs\n", machine.cpu_count);
}

const struct guest_case this_case = {"smp", run, false};
