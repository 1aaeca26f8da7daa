/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/queue_poll.h"

#include <criterion/criterion.h>

#define MS 1000000ull

static struct poll_budget p;

/* Looks in vain at every opportunity, for as long as it may, and sleeps for `pause` between two. */
static uint64_t spend(unsigned percent, uint64_t pause, uint64_t total)
{
	uint64_t now = 1, spent = 0;

	poll_budget_init(&p, percent, now);
	while (now < total) {
		uint64_t w;

		poll_budget_woke(&p, now);
		w = poll_budget_window(&p, now);
		poll_budget_spent(&p, w, false);
		spent += w;
		now += w;
		poll_budget_sleeps(&p, now);
		now += pause;
	}
	return spent;
}

Test(queue_poll, never_over_its_percent)
{
	const unsigned percents[] = {1, 5, 25, 50, 99};

	for (unsigned i = 0; i < 5; i++)
		for (uint64_t pause = 1000; pause < 60000; pause += 9000) {
			uint64_t spent = spend(percents[i], pause, 100 * MS);

			cr_expect_leq(spent, percents[i] * MS + POLL_WINDOW_MAX, "%u, %llu",
				percents[i], (unsigned long long)pause);
			cr_expect_gt(spent, 0u);
		}
}

Test(queue_poll, nothing_for_nothing)
{
	poll_budget_init(&p, 0, 1);
	poll_budget_spent(&p, POLL_WINDOW_MAX, false);
	cr_expect_eq(poll_budget_window(&p, 1000 * MS), 0u);
}

/* Long sleeps teach that looking is in vain, short ones that it would have paid. */
Test(queue_poll, the_window_learns)
{
	uint64_t now = MS, before;

	poll_budget_init(&p, 100, now);
	before = poll_budget_window(&p, now);
	cr_expect_gt(before, 0u);
	for (int i = 0; i < 20; i++) {
		poll_budget_sleeps(&p, now);
		now += 10 * MS;
		poll_budget_woke(&p, now);
		cr_expect_leq(poll_budget_window(&p, now), before);
		before = poll_budget_window(&p, now);
	}
	cr_expect_eq(before, 0u, "an idle device is left alone");
	for (int i = 0; i < 20; i++) {
		poll_budget_sleeps(&p, now);
		now += 30000;
		poll_budget_woke(&p, now);
	}
	cr_expect_eq(poll_budget_window(&p, now), (uint64_t)POLL_WINDOW_MAX);
}

Test(queue_poll, late_hits_want_more)
{
	uint64_t w;

	poll_budget_init(&p, 100, 1);
	w = poll_budget_window(&p, 1);
	poll_budget_spent(&p, w / 4, true);
	cr_expect_eq(p.window, w, "early ones do not");
	poll_budget_spent(&p, w * 3 / 4, true);
	cr_expect_eq(p.window, 2 * w);
}

/* A sleep of a week fills the account no further than a short one. */
Test(queue_poll, no_saving_up)
{
	poll_budget_init(&p, 25, 1);
	cr_expect_gt(poll_budget_window(&p, 7 * 86400 * 1000 * MS), 0u);
	cr_expect_leq(p.account, POLL_WINDOW_MAX);
	poll_budget_spent(&p, POLL_WINDOW_MAX, false);
	cr_expect_eq(poll_budget_window(&p, 7 * 86400 * 1000 * MS), 0u);
}
