/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/queue_poll.h"

#include "vmm/base/num.h"

#define FILL_MAX (INT64_C(1000) * 1000 * 1000) /* a pause longer than that is none the better */

void poll_budget_init(struct poll_budget *p, unsigned percent, uint64_t now)
{
	*p = (struct poll_budget){.percent = MIN(percent, 100u),
		.window = POLL_WINDOW_MAX / 4,
		.account = POLL_WINDOW_MAX,
		.filled_at = now};
}

static void grow(struct poll_budget *p)
{
	p->window = MIN(MAX(2 * p->window, (uint64_t)POLL_WINDOW_MIN), (uint64_t)POLL_WINDOW_MAX);
}

void poll_budget_woke(struct poll_budget *p, uint64_t now)
{
	if (!p->slept_at)
		return;
	if (now - p->slept_at <= POLL_WINDOW_MAX)
		grow(p);
	else
		p->window = p->window > POLL_WINDOW_MIN ? p->window / 2 : 0;
	p->slept_at = 0;
}

uint64_t poll_budget_window(struct poll_budget *p, uint64_t now)
{
	int64_t passed = MIN(now - p->filled_at, (uint64_t)FILL_MAX);

	p->account = MIN(p->account + passed * p->percent / 100, (int64_t)POLL_WINDOW_MAX);
	p->filled_at = now;
	return p->account >= (int64_t)p->window ? p->window : 0;
}

void poll_budget_spent(struct poll_budget *p, uint64_t ns, bool found)
{
	p->account -= (int64_t)ns;
	if (found && 2 * ns > p->window)
		grow(p);
}

void poll_budget_sleeps(struct poll_budget *p, uint64_t now)
{
	p->slept_at = now;
}
